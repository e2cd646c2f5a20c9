"""The contract between corpora and everything else: an utterance, and a corpus of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from mer_kit.errors import BadInput, Missing, pick
from mer_kit.labels import LabelSet

COLUMNS = ("id", "dialogue", "turn", "speaker", "session", "text", "audio", "start", "end", "raw_label", "label")


@dataclass(frozen=True)
class Utterance:
    """One turn of one speaker."""

    id: str
    dialogue: str
    turn: int  # 0, 1, 2 ... in time order within the dialogue
    speaker: str
    session: str
    text: str | None  # None in a corpus of sound alone
    audio: Path | None  # None in a corpus of text alone
    start: float | None  # s, in the dialogue; with `segment`, in the audio file
    end: float | None  # s
    label: str | None  # None: history only, never scored
    segment: bool = False  # True: `audio` is a longer recording of which this is start .. end


@dataclass(frozen=True)
class Corpus:
    """A named table of utterances, in time order within each dialogue, with its label set.

    `table` has one row an utterance and the columns COLUMNS (`split` where the corpus has official ones).
    `raw_label` is what the corpus says, `label` the class in `label_set`, or None for turns that are history only.
    `truth`, where the generating process is known, is indexed by utterance id.
    """

    name: str
    label_set: LabelSet
    table: pd.DataFrame
    licence: str
    embeddable: bool = False  # may sound and transcripts stand in executed notebooks and reports?
    truth: pd.DataFrame | None = None
    skipped: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[Utterance]:
        return (self._utterance(row) for row in self.table.to_dict("records"))

    def __getitem__(self, utterance: str) -> Utterance:
        if not hasattr(self, "_row_of"):
            object.__setattr__(self, "_row_of", {u: i for i, u in enumerate(self.table["id"])})
        return self._utterance(self.table.iloc[pick("utterance", utterance, self._row_of)].to_dict())

    @staticmethod
    def _utterance(row: dict) -> Utterance:
        kept = {k: None if pd.isna(v) else v for k, v in row.items() if k in Utterance.__dataclass_fields__}
        return Utterance(**kept | {"audio": Path(kept["audio"]) if kept["audio"] else None})

    @property
    def targets(self) -> pd.DataFrame:
        """The rows with a label: what is trained on and scored."""
        return self.table[self.table["label"].notna()]

    def history(self, utterance: str, turns: int = 10) -> pd.DataFrame:
        """The up to `turns` rows before an utterance in its dialogue, oldest first, labelled or not."""
        here = self[utterance]
        rows = self.table[(self.table["dialogue"] == here.dialogue) & (self.table["turn"] < here.turn)]
        return rows.tail(turns) if turns else rows.iloc[:0]

    def with_label_set(self, label_set: LabelSet) -> Corpus:
        """The same utterances under other classes, from the same raw labels."""
        table = self.table.assign(label=_labels(self.table["raw_label"], label_set))
        return replace(self, label_set=label_set, table=table)

    def require(self, modality: str) -> None:
        """Refuse a corpus that lacks `modality` ("text" or "audio") in any labelled utterance."""
        absent = self.targets[self.targets[modality].isna()]
        if len(absent):
            raise Missing(f"corpus {self.name!r} has no {modality} for {len(absent)} of {len(self.targets)} labelled "
                          f"utterances (first: {absent['id'].iloc[0]}); choose a model that does not need {modality}, "
                          f"or give the corpus its {modality}")

    @property
    def hash(self) -> str:
        """16 hex digits of all that can change a result: the table, and name and size of every audio file."""
        columns = [c for c in (*COLUMNS, "split", "segment") if c in self.table and c != "audio"]
        digest = hashlib.sha256("|".join([self.name, *self.label_set.classes, *columns]).encode())
        digest.update(self.table[columns].to_csv(index=False, float_format="%.3f").encode())
        for audio in self.table["audio"]:
            size = Path(audio).stat().st_size if not pd.isna(audio) else 0
            digest.update(f"{'' if pd.isna(audio) else Path(audio).name}:{size}\n".encode())
        return digest.hexdigest()[:16]


def _labels(raw: pd.Series, label_set: LabelSet) -> pd.Series:
    return raw.map(lambda r: label_set.class_of.get(r)).astype(object).where(lambda s: s.notna(), None)


def make_table(rows: list[dict], label_set: LabelSet, order: str = "start") -> pd.DataFrame:
    """Rows from a parser -> the table of the contract.

    Dialogues stand in the order of their names; within one, utterances are ordered by `order` ("start" or "turn"), ties
    by id, and `turn` is counted anew from 0. So the table never depends on the order of files in a folder.
    """
    if not rows:
        raise BadInput("no utterance was found; expected at least one")
    table = pd.DataFrame(rows)
    first = table.groupby("dialogue")["session"].transform("min")  # a dialogue stays whole, whatever its sessions
    table = table.assign(first=first).sort_values(["first", "dialogue", order, "id"], kind="stable", ignore_index=True)
    table["turn"] = table.groupby("dialogue", sort=False).cumcount()
    table["label"] = _labels(table["raw_label"], label_set)
    optional = [c for c in ("split", "segment") if c in table]
    text_like = ["id", "dialogue", "speaker", "session", "text", "audio", "raw_label", "label", *optional[:1]]
    for column in text_like:
        if column in table:
            table[column] = table[column].astype(object).where(table[column].notna(), None)
    return table[[*COLUMNS, *optional]]
