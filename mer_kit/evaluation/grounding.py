"""Does attention look at the cue? Measured where the cue is known: on `duet`, whose process placed it.

One attention value a word, or a frame, for the predicted label's column of `G_t` or `G_s` (LE-MER, equations 1 and 4),
of utterances that carry a true cue: one of the emotion meant. Against it stand any other values of the same shape (of
an untrained model, of one trained on shuffled labels, `rarest_word`, `loudest_frame`), and chance, known exactly.

    hit   the largest value stands on the cue; ties count by the share of them that do
    ap    average precision of the cue's places, ranked by value; by chance it depends on length and cue (`ap_chance`)
    auc   a place of the cue gets more than another place; 0.5 by chance
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from mer_kit.errors import BadInput, unknown
from mer_kit.evaluation.statistics import cluster_interval

MEASURES = ("hit", "ap", "auc")
TOLERANCE = 0.05  # s, by which a frame may miss the span of the voice's cue


def token_grounding(attention: Mapping[str, np.ndarray], truth: pd.DataFrame) -> pd.DataFrame:
    """The measures of each utterance's words.

    attention: id -> (words,) of `text.split()`. truth: `Corpus.truth`. Utterances whose words carry no cue, or one of
    another emotion, are left out. Columns id, hit, ap, auc, hit_chance, ap_chance.
    """
    rows = []
    for name, cued in _cued(attention, truth, "text_cue"):
        values = _values(attention[name], name)
        if len(values) != len(cued.word_starts):
            raise BadInput(f"attention of {name!r} has {len(values)} values for {len(cued.word_starts)} words; "
                           "expected one a word of text.split() (words_from_pieces brings pieces of words to words)")
        rows.append(_measures(name, values, np.isin(np.arange(len(values)), cued.cue_tokens)))
    return pd.DataFrame(rows, columns=["id", *MEASURES, "hit_chance", "ap_chance"])


def frame_grounding(attention: Mapping[str, np.ndarray], truth: pd.DataFrame, frame_rate: float,
                    tolerance: float = TOLERANCE) -> pd.DataFrame:
    """The measures of each utterance's frames; the cue is `span_start` .. `span_end`, `tolerance` s more on both sides.

    attention: id -> (frames,); frame i has its middle at (i + 0.5) / frame_rate s. Columns as of `token_grounding`.
    """
    rows = []
    for name, cued in _cued(attention, truth, "voice_cue"):
        values = _values(attention[name], name)
        middle = (np.arange(len(values)) + 0.5) / frame_rate
        missed_by = np.maximum(cued.span_start - middle, middle - cued.span_end)
        gold = missed_by <= tolerance + 1e-9
        if not gold.any():
            raise BadInput(f"no frame of {name!r} ({len(values)} at {frame_rate:g} a second) lies in its cue, "
                           f"{cued.span_start:.2f} to {cued.span_end:.2f} s; check frame_rate")
        rows.append(_measures(name, values, gold))
    return pd.DataFrame(rows, columns=["id", *MEASURES, "hit_chance", "ap_chance"])


def grounding_table(measured: Mapping[str, pd.DataFrame], clusters: Mapping[str, str], seed: int = 0) -> pd.DataFrame:
    """Means with 95 % cluster-bootstrap intervals, and how far the first source is ahead of each other one.

    measured: name of a source -> its `token_grounding` or `frame_grounding`, all of the same utterances, the model in
    question first; "chance" is added. clusters: utterance id -> its dialogue. Utterances that are cue throughout have
    no auc and are left out of it. Columns source, measure, utterances, mean, low, high, ahead, ahead_low, ahead_high.
    """
    first = next(iter(measured.values())).set_index("id")
    tables = {name: table.set_index("id") for name, table in measured.items()}
    for name, table in tables.items():
        if set(table.index) != set(first.index):
            raise BadInput(f"{name!r} measures {len(table)} utterances, {next(iter(measured))!r} {len(first)}; "
                           "expected the same ones, so that they can be compared in pairs")
    chance = pd.DataFrame({"hit": first["hit_chance"], "ap": first["ap_chance"], "auc": first["auc"].where(
        first["auc"].isna(), 0.5)})
    rows = []
    for source, table in (tables | {"chance": chance}).items():
        for measure in MEASURES:
            ours = first[measure].dropna()
            values = table.loc[ours.index, measure]
            cluster = [clusters[name] for name in ours.index]
            means, ahead = (cluster_interval(v, cluster, seed=seed) for v in (values, ours - values))
            rows.append((source, measure, len(values), *means, *ahead))
    return pd.DataFrame(rows, columns=["source", "measure", "utterances", "mean", "low", "high", "ahead", "ahead_low",
                                       "ahead_high"])


def words_from_pieces(attention: np.ndarray, word_of: Sequence[int | None], words: int) -> np.ndarray:
    """Attention on pieces of words (pieces,) -> on words (words,): the largest of a word's pieces.

    word_of: each piece's word, 0 .. words - 1; None or -1 for marks such as [CLS] and for history. A word without a
    piece (cut off) gets -inf.
    """
    pieces = np.array([-1 if w is None else w for w in word_of])
    if len(pieces) != len(attention):
        raise BadInput(f"got {len(attention)} values for {len(pieces)} pieces; expected one for each")
    largest = np.full(words, -np.inf)
    np.maximum.at(largest, pieces[pieces >= 0], np.asarray(attention, dtype=float)[pieces >= 0])
    return largest


def rarest_word(texts: Mapping[str, str], training: Iterable[str]) -> dict[str, np.ndarray]:
    """What a reader looks at who only counts: minus each word's count in the training texts, id -> (words,)."""
    counts = Counter(_bare(word) for text in training for word in text.split())
    return {name: np.array([-float(counts[_bare(w)]) for w in text.split()]) for name, text in texts.items()}


def loudest_frame(samples: Mapping[str, np.ndarray], frame_rate: float,
                  sample_rate: int = 16_000) -> dict[str, np.ndarray]:
    """What an ear hears that only measures: the energy of each frame of 1 / frame_rate s, id -> (frames,)."""
    energies = {}
    for name, sound in samples.items():
        frame = (np.arange(len(sound)) * frame_rate / sample_rate).astype(int)
        energies[name] = np.bincount(frame, np.square(sound, dtype=float)) / np.bincount(frame)
    return energies


def _bare(word: str) -> str:
    return word.lower().strip(string.punctuation)


def _cued(attention: Mapping[str, np.ndarray], truth: pd.DataFrame, cue: str) -> list[tuple]:
    """(id, row of `truth`) of the utterances with a true cue."""
    if strangers := [name for name in attention if name not in truth.index]:
        raise unknown("utterance", strangers[0], truth.index[:20])
    rows = truth.loc[list(attention)]
    cued = rows[rows[cue] == rows["emotion"]]
    if cued.empty:
        raise BadInput(f"none of {len(rows)} utterances carries a true {cue}; expected some that do")
    return [(row.Index, row) for row in cued.itertuples()]


def _values(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not len(values) or np.isnan(values).any():
        raise BadInput(f"attention of {name!r} has the shape {values.shape}; expected one number a word or frame, none "
                       "of them NaN: take the predicted label's column")
    return np.maximum(values, np.finfo(np.float32).min)


def _measures(name: str, values: np.ndarray, gold: np.ndarray) -> tuple[str, float, float, float, float, float]:
    auc = roc_auc_score(gold, values) if not gold.all() else np.nan
    return (name, gold[values == values.max()].mean(), average_precision_score(gold, values), auc, gold.mean(),
            _chance_precision(len(gold), int(gold.sum())))


def _chance_precision(places: int, cued: int) -> float:
    """Average precision that a random order expects of `cued` among `places`.

    A cue at rank k has k - 1 places before it, of which (cued - 1) / (places - 1) are cues, on average.
    """
    ranks = np.arange(1, places + 1)
    return float(((1 + (ranks - 1) * (cued - 1) / max(1, places - 1)) / ranks).mean())
