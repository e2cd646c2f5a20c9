"""What a corpus holds, and what its folds let slip from training into test."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from mer_kit.corpora.corpus import Corpus
from mer_kit.corpora.protocols import PARTS, Fold, Protocol


@dataclass(frozen=True)
class Description:
    """A corpus in tables."""

    counts: dict[str, pd.DataFrame]  # "split" (where there is one), "session", "speaker" -> utterances by class
    durations: pd.DataFrame  # per class, labelled, all: utterances, min, median, max (s), total (h)
    skipped: pd.DataFrame  # what was left out: where, utterance, value, reason
    notes: tuple[str, ...]  # what was read otherwise than written


def describe(corpus: Corpus) -> Description:
    """Counts, durations, what was skipped and what was noted. Turns without a label are counted as "history"."""
    label = corpus.table["label"].fillna("history").rename("class")
    columns = [*corpus.label_set.classes, *["history"] * bool((label == "history").any())]
    counts = {}
    for by in ("split", "session", "speaker"):
        if by in corpus.table:
            table = pd.crosstab(corpus.table[by].fillna("none"), label).reindex(columns=columns, fill_value=0)
            counts[by] = table.assign(all=table.sum(axis=1))
    return Description(counts, _duration_table(corpus), corpus.skipped, corpus.notes)


def durations(corpus: Corpus) -> pd.Series:
    """Seconds of every utterance, by id: from the audio's header, else from start and end; NaN where neither is known.

    A segment of a longer recording lasts from its start to its end.
    """
    from mer_kit.corpora.audio import duration  # here: soundfile may be absent where no sound is read

    table = corpus.table
    seconds = pd.to_numeric(table["end"]) - pd.to_numeric(table["start"])
    whole = table["audio"].notna() & ~table.get("segment", pd.Series(False, table.index)).astype(bool)
    seconds[whole] = [duration(path) for path in table["audio"][whole]]
    return pd.Series(seconds.to_numpy(float), index=table["id"], name="seconds")


def _duration_table(corpus: Corpus) -> pd.DataFrame:
    seconds = durations(corpus)
    label = corpus.table["label"].to_numpy()
    groups = {c: seconds[label == c] for c in corpus.label_set.classes}
    groups |= {"labelled": seconds[corpus.table["label"].notna().to_numpy()], "all": seconds}
    return pd.DataFrame({name: {"utterances": len(s), "min (s)": s.min(), "median (s)": s.median(), "max (s)": s.max(),
                                "total (h)": s.sum(min_count=1) / 3600} for name, s in groups.items()}).T


def audit(corpus: Corpus, protocol: Protocol) -> pd.DataFrame:
    """Per fold: speakers and dialogues that stand in two parts, and test utterances whose text stands in training.

    Columns: "speakers in two parts", "dialogues in two parts" (counts), "test utterances", "texts seen in training"
    (of those), "share seen".
    """
    rows = {}
    for fold in protocol.folds:
        seen = seen_in_training(corpus, fold)
        rows[fold.name] = {"speakers in two parts": _in_two_parts(corpus, fold, "speaker"),
                           "dialogues in two parts": _in_two_parts(corpus, fold, "dialogue"),
                           "test utterances": len(seen), "texts seen in training": int(seen.sum()),
                           "share seen": float(seen.mean())}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("fold")


def transitions(corpus: Corpus) -> pd.DataFrame:
    """P(raw label of the next turn | raw label of this one) over all dialogues; rows sum to one.

    Rows and columns in the order of the alphabet; empty where no dialogue has two turns.
    """
    follows = corpus.table["dialogue"].eq(corpus.table["dialogue"].shift(-1))
    label = corpus.table["raw_label"]
    shares = pd.crosstab(label[follows], label.shift(-1)[follows], normalize="index")
    return shares.rename_axis(index="this turn", columns="next turn")


def _in_two_parts(corpus: Corpus, fold: Fold, column: str) -> int:
    value_of = corpus.table.set_index("id")[column]
    parts = [set(value_of.loc[list(getattr(fold, part))]) for part in PARTS]
    return len(set().union(*(a & b for a, b in combinations(parts, 2))))


def seen_in_training(corpus: Corpus, fold: Fold) -> pd.Series:
    """By test id: does the same normalised text stand in the fold's training part? A text without words does not."""
    texts = corpus.table.set_index("id")["text"]
    texts = texts.loc[[*fold.train, *fold.test]].map(normalise, na_action="ignore")
    train, test = texts.loc[list(fold.train)], texts.loc[list(fold.test)]
    return test.isin(set(train.dropna()) - {""}).rename("seen")


def normalise(text: str) -> str:
    """A text without case, punctuation and superfluous spaces, in any script.

    >>> normalise("Oh,  my GOD… Don’t!")
    'oh my god dont'
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c for c in folded if unicodedata.category(c)[0] != "P").split())
