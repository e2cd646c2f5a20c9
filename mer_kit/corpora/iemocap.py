"""IEMOCAP as its makers release it: acted dialogues of ten speakers in five sessions.

Busso et al., "IEMOCAP: interactive emotional dyadic motion capture database", 2008. One looks for
`Session{1..5}/dialog/{EmoEvaluation,transcriptions}/<dialogue>.txt` and `Session*/sentences/wav/<dialogue>/<id>.wav`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from mer_kit.corpora.audio import fault
from mer_kit.corpora.corpus import Corpus, make_table
from mer_kit.corpora.intake import Intake
from mer_kit.corpora.rows import read_lines
from mer_kit.errors import Missing
from mer_kit.labels import label_set

LICENCE = ("Licensed by the University of Southern California to those who sign its release form; sound and "
           "transcripts may not be passed on.")

_ID = r"Ses0[1-5][MF]_(?:impro|script)0[1-9](?:_\d[ab]?)?[ab]?(?:_\d)?_[MF]"
_TIME = r"(\d+\.\d+)"
TURN = re.compile(rf"\[{_TIME} - {_TIME}\]\t({_ID}\d{{3}})\t(\S+)\t\[.*\]")
RATER = re.compile(r"[CA]-[EFM]\w*:")
SPOKEN = re.compile(rf"({_ID}(?:\d{{3}}|XX\d+)) \[{_TIME}-{_TIME}\]:(.*)")

LABELS = ("ang", "hap", "exc", "sad", "neu", "fru", "xxx", "sur", "fea", "dis", "oth")
# Utterances of the full release, per session, in the order of LABELS.
RELEASE = {
    "Session1": (229, 135, 143, 194, 384, 280, 415, 25, 12, 1, 1),
    "Session2": (137, 117, 210, 197, 362, 325, 436, 17, 9, 0, 1),
    "Session3": (240, 135, 151, 305, 320, 382, 572, 28, 2, 1, 0),
    "Session4": (327, 65, 238, 143, 258, 481, 564, 19, 7, 0, 1),
    "Session5": (170, 143, 299, 245, 384, 381, 520, 18, 10, 0, 0),
}


def load(folder: Path, on_error: str = "raise", check: str = "header") -> Corpus:
    """The corpus in `folder` (or its IEMOCAP_full_release), classes angry, happy (with excited), sad and neutral.

    The talker is named by the end of an utterance's id ("…_F019": the session's woman), "Ses01F"; turns follow their
    start times. All other labels stay as history. A release without any sentences/wav is read as text alone.
    `corpus.notes` says which counts differ from those of the full release. Raises Missing where no session is found.
    """
    folder = Path(folder)
    root = next((r for r in (folder, folder / "IEMOCAP_full_release") if any(r.glob("Session[1-5]/dialog"))), None)
    if root is None:
        raise Missing(f"no Session1/dialog … Session5/dialog in {folder}; expected an unpacked IEMOCAP release")
    intake, passed_over = Intake(on_error), Counter()
    check = check if any(root.glob("Session[1-5]/sentences/wav")) else None
    if check is None:
        intake.note("no sentences/wav: read as text alone")
    rows = [row for session in sorted(root.glob("Session[1-5]")) for dialogue in _dialogues(session)
            for row in _rows(session, dialogue, check, intake, passed_over)]
    for what, count in sorted(passed_over.items()):
        intake.note(f"{count} transcription lines without {what} were passed over")
    classes = label_set("iemocap-4")
    table = make_table(rows, classes)
    for difference in _differences(table):
        intake.note(difference)
    return Corpus("iemocap", classes, table, LICENCE, skipped=intake.skipped, notes=tuple(intake.notes))


def _dialogues(session: Path) -> list[str]:
    """Names of the dialogues that have an evaluation or a transcription; macOS's `._` files are none."""
    files = [*session.glob("dialog/EmoEvaluation/*.txt"), *session.glob("dialog/transcriptions/*.txt")]
    return sorted({f.stem for f in files if not f.name.startswith("._")})


def _rows(session: Path, dialogue: str, check: str | None, intake: Intake, passed_over: Counter) -> Iterator[dict]:
    evaluation, transcription = (session / "dialog" / kind / f"{dialogue}.txt"
                                 for kind in ("EmoEvaluation", "transcriptions"))
    if not evaluation.is_file():
        intake.reject(str(evaluation), dialogue, "expected an evaluation file beside the transcription")
        return
    texts = _texts(transcription, intake, passed_over)
    labelled = set()
    for where, utterance, start, end, raw_label in _turns(evaluation, intake):
        audio = session / "sentences" / "wav" / dialogue / f"{utterance}.wav"
        if utterance in labelled or utterance.rpartition("_")[0] != dialogue or utterance[4] != session.name[-1]:
            intake.reject(where, utterance, f"expected every id once, in its own {dialogue}.txt and session", utterance)
        elif utterance not in texts:
            intake.reject(where, utterance, f"expected its transcription in {transcription}", utterance)
        elif check and (why := fault(audio, check)):
            intake.reject(str(audio), audio.name, why, utterance)
        else:
            yield {"id": utterance, "dialogue": dialogue, "speaker": utterance[:5] + utterance[-4],
                   "session": session.name, "text": texts[utterance], "audio": str(audio) if check else None,
                   "start": start, "end": end, "raw_label": raw_label}
        labelled.add(utterance)
    if unlabelled := texts.keys() - labelled:
        passed_over["a label"] += len(unlabelled)


def _turns(path: Path, intake: Intake) -> Iterator[tuple[str, str, float, float, str]]:
    """(place, id, start, end, label) of each summary line; the header and the raters' lines are passed over."""
    for where, line in read_lines(path, intake):
        line = line.strip()
        if line.startswith("%") or RATER.match(line):
            continue
        if not (found := TURN.fullmatch(line)):
            intake.reject(where, line, "expected '[start - end]⇥id⇥label⇥[V, A, D]' or a rater's line")
            continue
        start, end, utterance, raw_label = float(found[1]), float(found[2]), found[3], found[4]
        if raw_label not in LABELS:
            intake.reject(where, raw_label, f"expected a label of: {', '.join(LABELS)}", utterance)
        elif start > end:
            intake.reject(where, line, "expected a start before the end", utterance)
        else:
            yield where, utterance, start, end, raw_label


def _texts(path: Path, intake: Intake, passed_over: Counter) -> dict[str, str]:
    """Id -> words; lines that open with no id are counted in `passed_over`."""
    texts = {}
    for where, line in read_lines(path, intake) if path.is_file() else ():
        line = line.strip()
        found = SPOKEN.fullmatch(line)
        if not line.startswith("Ses"):
            passed_over["an id"] += 1
        elif not found:
            intake.reject(where, line, "expected 'id [start-end]: words'")
        elif found[1] in texts:
            intake.reject(where, line, "expected one transcription an utterance", found[1])
        else:
            texts[found[1]] = found[4].strip()
    return texts


def _differences(table: pd.DataFrame) -> Iterator[str]:
    """One sentence for each session whose counts are not those of the full release: which label, got, expected."""
    classes = label_set("iemocap-4").class_of
    for session, counts in RELEASE.items():
        got = Counter(table.loc[table["session"] == session, "raw_label"])
        expected = Counter(dict(zip(LABELS, counts, strict=True)))
        if not got:
            yield f"{session} is absent; the full release has {expected.total()} utterances in it"
            continue
        for count in (got, expected):
            total, scored = count.total(), sum(n for label, n in count.items() if label in classes)
            count.update({"all": total, "4-class": scored})
        if wrong := [c for c in ("all", "4-class", *LABELS) if got[c] != expected[c]]:
            differences = "; ".join(f"{c} got {got[c]}, expected {expected[c]}" for c in wrong)
            yield f"{session} differs from the full release: {differences}"
