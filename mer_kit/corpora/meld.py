"""MELD: multi-party dialogues from the television series Friends, text alone or with the sound of its clips.

Poria et al., "MELD: a multimodal multi-party dataset for emotion recognition in conversations", ACL 2019. One looks for
`{train,dev,test}_sent_emo.csv` in a folder or up to two below it; for sound, for what prepare.py made of the clips.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from mer_kit.corpora.audio import duration, fault
from mer_kit.corpora.corpus import Corpus, make_table
from mer_kit.corpora.intake import Intake
from mer_kit.corpora.rows import read_rows
from mer_kit.errors import Missing
from mer_kit.labels import label_set

LICENCE = ("The MELD repository is under the GPL-3.0; words and sound are from the series Friends, whose rights "
           "remain with their owners.")
CLIPS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
COLUMNS = ("Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "Season", "Episode",
           "StartTime", "EndTime")
UNUSABLE = {"train_dia125_utt3": "broken", "dev_dia110_utt7": "missing"}  # clips of the release itself
OVERLONG = 0.5  # s that a clip may be longer than its row
USUAL = (0.05, 40.0)  # s; rows of another duration are listed

CLASSES = label_set("meld-7").classes
# Utterances of the full release, per split, in the order of CLASSES.
RELEASE = {
    "train": (1109, 271, 268, 1743, 4710, 683, 1205),
    "dev": (153, 22, 40, 163, 470, 111, 150),
    "test": (345, 68, 50, 402, 1256, 208, 281),
}

_NUMBER, _TIME = r"\d{1,9}", r"(\d{1,9}):(\d\d):(\d\d),(\d{1,9})"
GRAMMAR = {
    "Speaker": (r".*\S.*", "a name"),
    "Emotion": ("|".join(CLASSES), "one of: " + ", ".join(CLASSES)),
    **dict.fromkeys(("Dialogue_ID", "Utterance_ID", "Season", "Episode"), (_NUMBER, "a whole number")),
    **dict.fromkeys(("StartTime", "EndTime"), (_TIME, "a time as HH:MM:SS,mmm")),
}


def load(folder: Path, on_error: str = "raise", check: str = "header") -> Corpus:
    """The corpus in `folder`, seven classes, with a column `split`; turns follow Utterance_ID, as times run backwards.

    Sound is taken from `folder/wav/<split>/dia<D>_utt<U>.wav`, made by `prepare_meld`; without that folder the corpus
    is text alone. Two clips of the release cannot be used: their turns stay as history, without a label.
    `corpus.notes` names odd durations, repeats, clips without a row or longer than it, and counts that differ from the
    full release. Raises Missing where a CSV is not found.
    """
    folder, intake = Path(folder), Intake(on_error)
    rows = list(read_utterances(folder, intake))
    if rows:
        _note_oddities(pd.DataFrame(rows), intake)
        _note_differences(pd.DataFrame(rows), intake)
    usable = rows
    if (folder / "wav").is_dir():
        usable = [row for row in rows if _add_audio(row, folder, intake, check)]
        _note_clips(rows, folder, intake, check)
    elif any(find(folder, clips) for clips in CLIPS.values()):
        intake.note(f"text alone: the clips are not yet wav files; run: mer-kit prepare meld {folder}")
    else:
        intake.note("text alone: no clips and no wav files beside the CSV files")
    classes = label_set("meld-7")
    table = make_table(usable, classes, order="turn")
    return Corpus("meld", classes, table, LICENCE, skipped=intake.skipped, notes=tuple(intake.notes))


def find(folder: Path, name: str) -> Path | None:
    """A file or folder by its name in `folder` or up to two folders below it, the nearest first."""
    return next((hit for depth in ("", "*/", "*/*/") for hit in sorted(folder.glob(depth + name))), None)


def wav_path(folder: Path, split: str, clip: str) -> Path:
    """Where the sound of a clip ("dia0_utt3") stands once prepared."""
    return folder / "wav" / split / f"{clip}.wav"


def clip_names(folder: Path | None) -> set[str]:
    """Names without ".mp4" of the clips in a folder; macOS's `._` files are none."""
    return {f.stem for f in folder.glob("*.mp4") if not f.name.startswith("._")} if folder else set()


def read_utterances(folder: Path, intake: Intake) -> Iterator[dict]:
    """The rows of the three CSV files, as `make_table` wants them, and the name of each one's clip."""
    paths = {split: find(folder, f"{split}_sent_emo.csv") for split in CLIPS}
    if absent := [f"{split}_sent_emo.csv" for split, path in paths.items() if path is None]:
        raise Missing(f"{', '.join(absent)} not found in {folder} or two folders below; expected MELD's three CSV "
                      "files")
    for split, path in paths.items():
        seen = set()
        for where, cells in read_rows(path, COLUMNS, intake, fallback="cp1252"):
            row = _utterance(split, where, cells, intake)
            if row and row["id"] in seen:
                intake.reject(where, row["clip"], "expected every Dialogue_ID and Utterance_ID once a split", row["id"])
            elif row:
                seen.add(row["id"])
                yield row


def _utterance(split: str, where: str, cells: dict[str, str], intake: Intake) -> dict | None:
    for column, (pattern, expected) in GRAMMAR.items():
        if not re.fullmatch(pattern, cells[column]):
            intake.reject(where, cells[column], f"column {column}: expected {expected}")
            return None
    dialogue, turn, season, episode = (int(cells[c]) for c in ("Dialogue_ID", "Utterance_ID", "Season", "Episode"))
    start, end = _seconds(cells["StartTime"]), _seconds(cells["EndTime"])
    clip = f"dia{dialogue}_utt{turn}"
    utterance = f"{split}_{clip}"
    if start > end:
        times = f"{cells['StartTime']} - {cells['EndTime']}"
        intake.reject(where, times, "expected a start before the end", utterance)
        return None
    return {"id": utterance, "dialogue": f"{split}_dia{dialogue}", "turn": turn, "speaker": cells["Speaker"],
            "session": f"S{season:02}E{episode:02}", "text": cells["Utterance"], "audio": None, "start": start,
            "end": end, "raw_label": cells["Emotion"], "split": split, "clip": clip}


def _seconds(time: str) -> float:
    """Seconds of HH:MM:SS,mmm; the milliseconds are a decimal fraction: ",28" is 0.28 s."""
    hours, minutes, seconds, fraction = re.fullmatch(_TIME, time).groups()
    return round(int(hours) * 3600 + int(minutes) * 60 + float(f"{seconds}.{fraction}"), 3)


def _note_oddities(table: pd.DataFrame, intake: Intake) -> None:
    """Notes on durations, times that run backwards and repeated rows."""
    seconds = table["end"] - table["start"]
    if len(odd := table.assign(seconds=seconds)[(seconds < USUAL[0]) | (seconds > USUAL[1])]):
        listed = ", ".join(f"{row.id} {row.seconds:.3f} s" for row in odd.itertuples())
        intake.note(f"{len(odd)} rows of odd duration were kept: {listed}")
    by_turn = table.sort_values(["dialogue", "turn"])
    if backwards := by_turn.loc[by_turn.groupby("dialogue")["start"].diff() < 0, "dialogue"].nunique():
        intake.note(f"start times run backwards in {backwards} dialogues; turns follow Utterance_ID")
    said = ["text", "speaker", "raw_label", "session", "start", "end"]
    within = table.duplicated([*said, "split"])
    if repeated := table.duplicated(said).sum():
        intake.note(f"repeated rows were kept: {within.sum()} within a split, {repeated - within.sum()} across splits")


def _note_differences(table: pd.DataFrame, intake: Intake) -> None:
    """Notes on splits whose counts are not those of the full release: which class, got, expected."""
    for split, counts in RELEASE.items():
        got = table.loc[table["split"] == split, "raw_label"].value_counts().reindex(CLASSES, fill_value=0)
        expected = pd.Series(counts, CLASSES)
        if wrong := [f"{c} got {got[c]}, expected {expected[c]}" for c in CLASSES if got[c] != expected[c]]:
            intake.note(f"{split} differs from the full release: all got {got.sum()}, expected {expected.sum()}; "
                        + "; ".join(wrong))


def _add_audio(row: dict, folder: Path, intake: Intake, check: str) -> bool:
    """Gives a row its wav; whether the row can stay."""
    wav = wav_path(folder, row["split"], row["clip"])
    if row["id"] in UNUSABLE and fault(wav):
        intake.note(f"{row['id']}: its clip is {UNUSABLE[row['id']]} in the release; it stays as history, unlabelled")
        row["raw_label"] = None
    elif why := fault(wav, check):
        intake.reject(str(wav), wav.name, f"{why}; after an interrupted or older preparation, run: "
                      f"mer-kit prepare meld {folder}", row["id"])
        return False
    else:
        row["audio"] = str(wav)
    return True


def _note_clips(rows: list[dict], folder: Path, intake: Intake, check: str) -> None:
    """Notes on clips that no row names, and on those much longer than their row."""
    for split, clips in CLIPS.items():
        of_split = [row for row in rows if row["split"] == split]
        stray = sorted(clip_names(find(folder, clips)) - {row["clip"] for row in of_split})
        if stray:
            intake.note(f"{split}: {len(stray)} clips have no row and are not used: {', '.join(stray[:5])}"
                        + (" …" if len(stray) > 5 else ""))
        if check == "none":
            continue
        excess = {row["id"]: duration(row["audio"]) - (row["end"] - row["start"]) for row in of_split if row["audio"]}
        if overlong := sorted((i for i, s in excess.items() if s > OVERLONG), key=excess.get, reverse=True):
            longest = ", ".join(f"{i} by {excess[i]:.1f} s" for i in overlong[:5])
            intake.note(f"{split}: {len(overlong)} clips are over {OVERLONG} s longer than their row, most: {longest}")
