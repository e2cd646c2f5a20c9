"""Bring your own: a corpus from a CSV or TSV manifest, every damaged row named by file, line, column and value.

One record stands on one physical line, in UTF-8 (a byte order mark and CRLF are fine). A cell that holds the separator
or a quote is quoted, with quotes doubled; a cell cannot hold a line break. So damage never spreads to the next line.

    audio,text,speaker,label,dialogue
    clips/a1.wav,"Well, you came!",Ann,joy,d1
    clips/b1.wav,Did you doubt it?,Ben,surprise,d1

`speaker`, `label` and one of `audio`, `text` are needed; `id`, `session`, `dialogue`, `turn`, `start`, `end` (s) and
`split` (train, dev, test) are optional. `audio` is relative to the manifest's folder, or absolute. A row with audio and
with `start` and `end` is that part of the file. Within a dialogue, rows are ordered by turn, then start, then line.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from mer_kit.corpora.audio import CHECKS, fault
from mer_kit.corpora.corpus import Corpus, make_table
from mer_kit.corpora.intake import Intake
from mer_kit.errors import BadInput, Missing, pick, unknown
from mer_kit.labels import LabelSet, emotion_of

COLUMNS = ("audio", "text", "speaker", "label", "id", "session", "dialogue", "turn", "start", "end", "split")
SEPARATORS = MappingProxyType({".csv": ",", ".tsv": "\t"})
SPLITS = ("train", "dev", "test")


class Damaged(Exception):
    """One row that cannot be used: the value that was found, and what was expected instead."""

    def __init__(self, value: object, reason: str):
        super().__init__(reason)
        self.value, self.reason = value, reason


def load(path: str | Path, on_error: str = "raise", check: str = "samples") -> Corpus:
    """The corpus that a manifest describes.

    path: a .csv or .tsv file; its stem names the corpus, and with the number of classes the label set ("mine-4").
    on_error: "raise" names the first damaged row, "skip" leaves damaged rows out, listed in `corpus.skipped`. Damage
        of the whole file (a missing column, a wrong separator, one class only) always raises.
    check: "none", "header" or "samples": how closely audio files are looked at (`audio.fault`).
    """
    path = Path(path)
    if check not in CHECKS:
        raise unknown("check", check, CHECKS)
    intake = Intake(on_error)
    separator = pick("manifest extension", path.suffix.lower(), SEPARATORS)
    (top, header), *records = _lines(path)
    reader = _RowReader(path, separator, _columns(f"{path}:{top}", header, separator, intake), check)
    rows = []
    for line, raw in records:
        try:
            rows.append(reader.row(line, raw))
        except Damaged as damage:
            intake.reject(f"{path}:{line}", damage.value, damage.reason, reader.utterance)
    if not rows:
        first = f" (first: line {records[0][0]}: {intake.rows[0]['reason']})" if records else ""
        raise BadInput(f"{path}:{top}: {len(records)} rows follow, none of them usable{first}; expected at least one")
    labels = _label_set(path, [row["raw_label"] for row in rows], intake)
    return Corpus(path.stem, labels, make_table(_in_order(rows), labels, order="place"), "not stated in the manifest",
                  skipped=intake.skipped, notes=tuple(intake.notes))


def _lines(path: Path) -> list[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers from 1."""
    if not path.is_file():
        raise Missing(f"the manifest {path} is not there; expected a .csv or .tsv file")
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise BadInput(f"{path}:1: the file is in UTF-16 (its first bytes are {content[:2]!r}); save it as UTF-8")
    lines = content.removeprefix(b"\xef\xbb\xbf").splitlines()
    kept = [(number, raw) for number, raw in enumerate(lines, 1) if raw.strip()]
    if not kept:
        raise BadInput(f"{path}:1: the manifest is empty ({len(content)} bytes); expected a header with the columns "
                       f"{', '.join(COLUMNS[:4])}")
    return kept


def _fields(raw: bytes, separator: str) -> list[str]:
    """The cells of one line, which is parsed alone."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Damaged(raw[max(0, error.start - 12) : error.end + 12],
                      f"byte {error.start + 1} of the line is not UTF-8; save the manifest as UTF-8") from None
    if "\0" in text:
        raise Damaged(text[:60], "the line holds a NUL byte; expected text")
    try:
        return next(csv.reader([text], delimiter=separator, strict=True))
    except csv.Error as error:
        raise Damaged(text[:60], f"the quotes or the length of a cell are wrong ({error}); expected one record on one "
                                 "line, quotes inside a quoted cell doubled") from None


def _columns(where: str, header: bytes, separator: str, intake: Intake) -> list[str]:
    """The header's names; refuses a wrong separator, a repeated, missing or misspelt column. `where`: file and line."""
    _check_separator(where, header.decode(errors="replace"), separator)
    try:
        columns = [name.strip().lower() for name in _fields(header, separator)]
    except Damaged as damage:
        raise BadInput(f"{where}: the header is damaged: {damage.reason}; got {damage.value!r}") from None
    got = f"got {len(columns)} columns ({', '.join(columns)})"
    if twice := [name for name in columns if columns.count(name) > 1 and name in COLUMNS]:
        raise BadInput(f"{where}: column {twice[0]!r} stands there twice; {got}; remove or rename one")
    absent = [name for name in COLUMNS if name not in columns]
    extra = [name for name in columns if name not in COLUMNS]
    for name in extra:
        if near := get_close_matches(name, absent, n=1, cutoff=0.75):
            raise BadInput(f"{where}: unknown column {name!r}; did you mean {near[0]!r}? Rename or remove it; {got}, "
                           f"known are {', '.join(COLUMNS)}")
    needed = [n for n in ("speaker", "label") if n in absent] + ["audio or text"] * ({"audio", "text"} <= {*absent})
    if needed:
        raise BadInput(f"{where}: missing column: {', '.join(needed)}; {got}, expected audio, text, speaker, label "
                       "(one of audio and text may be left out); add or rename columns")
    if extra:
        intake.note(f"{where}: columns that mean nothing here were not read: {', '.join(map(repr, extra))}")
    return columns


def _check_separator(where: str, header: str, separator: str) -> None:
    def known(by: str) -> int:
        return sum(name.strip(' "').lower() in COLUMNS for name in header.split(by))

    best = max((separator, ",", ";", "\t", "|"), key=known)
    if best != separator:
        raise BadInput(f"{where}: the columns are separated by {best!r}, expected {separator!r} for this extension "
                       f"(.csv: comma, .tsv: tab); got {header[:60]!r}; save it anew or rename it")


@dataclass
class _RowReader:
    """Lines of one manifest -> rows for `make_table`; `utterance` is the id in hand, once it is known."""

    path: Path
    separator: str
    columns: list[str]
    check: str
    utterance: str | None = None
    line_of: dict[str, int] = field(default_factory=dict)  # id -> the line that holds it
    session_of: dict[str, str] = field(default_factory=dict)  # dialogue -> session

    def row(self, line: int, raw: bytes) -> dict:
        """One line as a row, or Damaged."""
        self.utterance = None
        fields = _fields(raw, self.separator)
        if len(fields) != len(self.columns):
            raise Damaged(fields if len(fields) < 20 else len(fields),
                          f"{len(fields)} fields, expected {len(self.columns)} ({', '.join(self.columns)}); quote a "
                          "cell that holds the separator")
        cells = dict.fromkeys(COLUMNS, "") | {c: f.strip() for c, f in zip(self.columns, fields, strict=True)}
        self.utterance = cells["id"] or f"{self.path.stem}_{line:05d}"
        row = {"id": self.utterance, "line": line, **self._names(cells), **_times(cells), "turn": _turn(cells["turn"])}
        row |= {"text": cells["text"], "audio": self._audio(cells, row)}
        row["segment"] = row["audio"] is not None and row["start"] is not None
        if "split" in self.columns:
            row["split"] = _split(cells["split"])
        self.line_of[row["id"]] = line
        self.session_of[row["dialogue"]] = row["session"]
        return row

    def _names(self, cells: dict[str, str]) -> dict[str, str]:
        if first := self.line_of.get(self.utterance):
            raise Damaged(self.utterance, f"column id: this id already stands in line {first}; ids must differ")
        if not cells["speaker"]:
            raise Damaged("", "column speaker: it is empty; expected a name, since folds are cut between speakers")
        try:
            emotion_of(cells["label"])
        except BadInput as error:
            raise Damaged(cells["label"], f"column label: {error}") from None
        session, dialogue = cells["session"] or cells["speaker"], cells["dialogue"] or self.utterance
        if "session" in self.columns and self.session_of.get(dialogue, session) != session:
            raise Damaged(session, f"column session: dialogue {dialogue!r} began in session "
                                   f"{self.session_of[dialogue]!r}; name dialogues apart, or give it one session")
        return {"speaker": cells["speaker"], "raw_label": cells["label"], "session": session, "dialogue": dialogue}

    def _audio(self, cells: dict[str, str], row: dict) -> str | None:
        if not cells["audio"]:
            if not cells["text"]:
                raise Damaged("", "columns audio and text: both are empty; expected at least one")
            return None
        audio = self.path.parent / cells["audio"]
        if why := fault(audio, self.check, None if row["start"] is None else (row["start"], row["end"])):
            raise Damaged(cells["audio"], f"column audio: {why}")
        return str(audio)


def _times(cells: dict[str, str]) -> dict[str, float | None]:
    """`start` and `end` in seconds: both or neither."""
    times = {}
    for column in ("start", "end"):
        try:
            times[column] = float(cells[column]) if cells[column] else None
        except ValueError:
            times[column] = math.nan
        if times[column] is not None and not 0 <= times[column] < math.inf:
            raise Damaged(cells[column], f"column {column}: expected seconds, a number from 0 with a decimal point")
    start, end = times.values()
    if (start is None) != (end is None):
        raise Damaged("", f"column {'start' if start is None else 'end'}: it is empty; give both start and end, "
                          "or neither")
    if start is not None and end <= start:
        raise Damaged(cells["end"], f"column end: it must come after the start, {cells['start']} s")
    return times


def _turn(cell: str) -> int | None:
    if cell and not (cell.isascii() and cell.isdigit() and len(cell) < 10):
        raise Damaged(cell, "column turn: expected a whole number from 0")
    return int(cell) if cell else None


def _split(cell: str) -> str | None:
    if cell and cell not in SPLITS:
        raise Damaged(cell, f"column split: {unknown('split', cell, SPLITS)}")
    return cell or None


def _in_order(rows: list[dict]) -> list[dict]:
    """Rows with their `place`; text is None, not "", where no row has any."""
    if not any(row["text"] for row in rows):
        rows = [row | {"text": None} for row in rows]

    def place(row: dict) -> tuple[float, float, int]:
        return *(math.inf if row[k] is None else row[k] for k in ("turn", "start")), row["line"]

    return [row | {"place": i} for i, row in enumerate(sorted(rows, key=place))]


def _label_set(path: Path, raw_labels: list[str], intake: Intake) -> LabelSet:
    """The classes that occur, sorted; two spellings of one emotion are one class, named by the emotion, and noted."""
    spellings: dict[str, list[str]] = {}
    for raw in sorted(set(raw_labels)):
        spellings.setdefault(emotion_of(raw), []).append(raw)
    if len(spellings) < 2:
        raise BadInput(f"{path}: column label holds one class only, {raw_labels[0]!r}; expected at least two")
    class_of = {}
    for emotion, raws in spellings.items():
        class_of |= dict.fromkeys(raws, emotion if len(raws) > 1 else raws[0])
        if len(raws) > 1:
            intake.note(f"{path}: labels {', '.join(raws)} are one emotion and were read as one class, {emotion!r}")
    classes = tuple(sorted(set(class_of.values())))
    return LabelSet(f"{path.stem}-{len(classes)}", classes, class_of)
