"""How sure one may be of a score: intervals over folds and seeds, and paired comparisons of two systems.

Utterances of one dialogue, or of one speaker, are alike, so that not they but whole clusters of them are resampled. All
three scores follow from confusion counts, and the counts of a resample are the sum of its clusters' counts: ten
thousand resamples are one product of matrices. A score is defined as in metrics.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from scipy import stats

from mer_kit.errors import BadInput, pick

LEVEL = 0.95  # of every interval here


class Interval(NamedTuple):
    """An estimate and its 95 % interval."""

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """A's score minus B's, its 95 % interval, and the two-sided p of no difference."""

    difference: float
    low: float
    high: float
    p: float


class McNemar(NamedTuple):
    """Utterances that only A, and that only B, has right, and the exact two-sided p of an even chance."""

    only_a: int
    only_b: int
    p: float


def interval(values: Sequence[float]) -> Interval:
    """Mean of scores over folds x seeds with Student's t interval; NaN bounds for a single value."""
    values = np.asarray(values, dtype=float).ravel()
    if not len(values) or not np.isfinite(values).all():
        raise BadInput(f"got the scores {values.tolist()}; expected at least one, all of them numbers")
    if len(values) == 1:
        return Interval(float(values[0]), np.nan, np.nan)
    half = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * stats.sem(values)
    return Interval(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


def weighted_accuracy(counts: np.ndarray) -> np.ndarray:
    """WA of confusion counts (..., C, C), rows true."""
    return np.trace(counts, axis1=-2, axis2=-1) / counts.sum(axis=(-2, -1))


def unweighted_accuracy(counts: np.ndarray) -> np.ndarray:
    """UA of confusion counts (..., C, C): the mean recall of the classes that are true at all."""
    right, true = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1)
    return (right / np.maximum(true, 1)).sum(axis=-1) / (true > 0).sum(axis=-1)


def weighted_f1(counts: np.ndarray) -> np.ndarray:
    """WF1 of confusion counts (..., C, C): 2 · right / (true + predicted), weighted by how often a class is true."""
    right, true = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1)
    f1 = 2 * right / np.maximum(true + counts.sum(axis=-2), 1)
    return (f1 * true).sum(axis=-1) / true.sum(axis=-1)


SCORES = MappingProxyType({"WA": weighted_accuracy, "UA": unweighted_accuracy, "WF1": weighted_f1})


def paired_cluster_bootstrap(truth: Sequence[str], predicted_a: Sequence[str], predicted_b: Sequence[str],
                             clusters: Sequence[str], metric: str, resamples: int = 10_000,
                             seed: int = 0) -> Difference:
    """Score of A minus score of B on the same utterances, with percentile interval and p over resampled clusters.

    clusters: each utterance's dialogue or speaker; utterances predicted under several seeds stand there several times.
    p = 2 · min(share of resamples ≤ 0, share ≥ 0), at most 1 and at least 2 / (resamples + 1): two-sided, and in
    agreement with the interval. Below some 20 clusters intervals are too narrow: name their number beside them.
    """
    score = pick("metric", metric, SCORES)
    numbers, clusters = _numbered(truth, predicted_a, predicted_b, clusters)
    counts = np.stack([_counts(clusters, numbers[0], said, numbers.max() + 1) for said in numbers[1:]], axis=1)
    drawn = np.tensordot(_draws(len(counts), resamples, seed), counts, axes=1)  # (resamples, 2, C, C)
    differences = (score(drawn[:, 0]) - score(drawn[:, 1])).round(12)  # a tie is a tie
    observed = score(counts.sum(axis=0))
    extreme = min((differences <= 0).sum(), (differences >= 0).sum()) + 1
    return Difference(float(observed[0] - observed[1]), *_bounds(differences),
                      float(min(1.0, 2 * extreme / (resamples + 1))))


def cluster_interval(values: Sequence[float], clusters: Sequence[str], resamples: int = 10_000,
                     seed: int = 0) -> Interval:
    """Mean of one value an utterance, with a percentile interval over resampled clusters."""
    values, clusters = np.asarray(values, dtype=float), _codes(clusters)
    if values.shape != clusters.shape or not np.isfinite(values).all():
        raise BadInput(f"got {values.shape} values for {len(clusters)} utterances in clusters; expected a "
                       "number for each")
    draws = _draws(clusters.max() + 1, resamples, seed)
    means = draws @ np.bincount(clusters, values) / (draws @ np.bincount(clusters))
    return Interval(float(values.mean()), *_bounds(means))


def score_interval(truth: Sequence[str], predicted: Sequence[str], clusters: Sequence[str], metric: str,
                   resamples: int = 10_000, seed: int = 0) -> Interval:
    """A score with its percentile interval over resampled clusters."""
    score = pick("metric", metric, SCORES)
    (truth, said, _), clusters = _numbered(truth, predicted, predicted, clusters)
    counts = _counts(clusters, truth, said, max(truth.max(), said.max()) + 1)
    drawn = np.tensordot(_draws(len(counts), resamples, seed), counts, axes=1)  # (resamples, C, C)
    return Interval(float(score(counts.sum(axis=0))), *_bounds(score(drawn)))


def mcnemar(truth: Sequence[str], predicted_a: Sequence[str], predicted_b: Sequence[str]) -> McNemar:
    """McNemar's exact test of who is right more often; it takes utterances as independent, which dialogues are not."""
    (truth, a, b), _ = _numbered(truth, predicted_a, predicted_b, range(len(truth)))
    only_a, only_b = int(((a == truth) & (b != truth)).sum()), int(((b == truth) & (a != truth)).sum())
    p = stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    return McNemar(only_a, only_b, float(p))


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's adjustment of the p of m tests, (m,): the k-th smallest times m - k + 1, rising, at most 1.

    Below 0.05 it keeps the chance that any of the m is a false alarm below 0.05, however they hang together.
    """
    p = np.asarray(p, dtype=float)
    order = p.argsort()
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return adjusted


def _numbered(truth: Sequence, a: Sequence, b: Sequence, clusters: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Truth and both predictions as class numbers (3, n), and cluster numbers (n,)."""
    lengths = [len(part) for part in (truth, a, b, clusters)]
    if len(set(lengths)) > 1 or not lengths[0]:
        raise BadInput(f"got {lengths} true labels, predictions of A and of B, clusters; expected as many of each, "
                       "of the same utterances in the same order, at least one")
    labels = np.stack([np.asarray(part) for part in (truth, a, b)])
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape), _codes(clusters)


def _codes(clusters: Sequence) -> np.ndarray:
    return np.unique(np.asarray(clusters), return_inverse=True)[1]


def _counts(clusters: np.ndarray, truth: np.ndarray, said: np.ndarray, classes: int) -> np.ndarray:
    """Confusion counts of each cluster, (clusters, C, C)."""
    counts = np.zeros((clusters.max() + 1, classes, classes))
    np.add.at(counts, (clusters, truth, said), 1)
    return counts


@lru_cache(maxsize=4)  # tables of comparisons ask for the same ones again and again
def _draws(clusters: int, resamples: int, seed: int) -> np.ndarray:
    """How often each cluster is drawn in each resample, (resamples, clusters); not to be written into."""
    if clusters < 2:
        raise BadInput("got one cluster; resampling needs at least two dialogues or speakers (or take mcnemar)")
    draws = np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), resamples).astype(float)
    draws.setflags(write=False)
    return draws


def _bounds(resampled: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
