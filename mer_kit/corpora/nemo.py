"""nEMO: Polish sentences acted by nine speakers under six emotions, each recording a dialogue of its own.

Christop, "nEMO: dataset of emotional speech in Polish", LREC-COLING 2024. One looks for `data.tsv` and `samples/`.
"""

from __future__ import annotations

from pathlib import Path

from mer_kit.corpora.audio import fault
from mer_kit.corpora.corpus import Corpus, make_table
from mer_kit.corpora.intake import Intake
from mer_kit.corpora.rows import read_rows
from mer_kit.errors import Missing
from mer_kit.labels import label_set

LICENCE = "nEMO (Iwona Christop, 2024) is under CC BY-NC-SA 4.0: name the author, no commercial use, share alike."
COLUMNS = ("file_id", "emotion", "raw_text", "speaker_id")
LABELS = label_set("nemo-6").classes
ENDINGS = (".wav", ".opus")


def load(folder: Path, on_error: str = "raise", check: str = "header") -> Corpus:
    """The corpus in `folder`, four classes; fear and surprise have no label in them. The session is the speaker.

    Recordings may be the original wav files or Opus copies, whichever of the two data.tsv names. Raises Missing where
    data.tsv is not there.
    """
    folder, intake = Path(folder), Intake(on_error)
    path = folder / "data.tsv"
    if not path.is_file():
        raise Missing(f"no data.tsv in {folder}; expected nEMO's data.tsv beside its folder samples")
    files = {f.name for f in (folder / "samples").glob("[!.]*")}
    rows = {}
    for where, cells in read_rows(path, COLUMNS, intake, separator="\t"):
        name = _file_name(cells["file_id"], files, intake)
        audio, utterance = folder / "samples" / name, Path(name).stem
        if cells["emotion"] not in LABELS:
            intake.reject(where, cells["emotion"], f"expected an emotion of: {', '.join(LABELS)}", utterance)
        elif not utterance or not (speaker := cells["speaker_id"].strip()):
            intake.reject(where, [*cells.values()], "expected a file_id and a speaker_id", utterance)
        elif utterance in rows:
            intake.reject(where, cells["file_id"], "expected every file_id once", utterance)
        elif why := fault(audio, check):
            intake.reject(where, str(audio), why, utterance)
        else:
            rows[utterance] = {"id": utterance, "dialogue": utterance, "speaker": speaker, "session": speaker,
                               "text": cells["raw_text"], "audio": str(audio), "start": None, "end": None,
                               "raw_label": cells["emotion"]}
    classes = label_set("nemo-4")
    return Corpus("nemo", classes, make_table(list(rows.values()), classes), LICENCE, skipped=intake.skipped,
                  notes=tuple(intake.notes))


def _file_name(file_id: str, files: set[str], intake: Intake) -> str:
    """The recording that data.tsv means, in whichever of ENDINGS it is there."""
    name = Path(file_id)
    for ending in ENDINGS:
        if file_id not in files and name.stem + ending in files:
            intake.note(f"data.tsv names {name.suffix} files; the recordings are {ending} files of the same names")
            return name.stem + ending
    return file_id
