"""Separation against its definitions written as loops, and at its limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cosine

from mer_kit.errors import BadInput
from mer_kit.evaluation.separation import class_ratio, separation_table, silhouettes

LABELS = ["sad", "sad", "happy", "happy", "angry", "sad"]


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(6, 4))


def test_silhouettes_are_their_definition(features):
    expected = []
    for i, x in enumerate(features):
        mean = {c: np.mean([cosine(x, y) for j, y in enumerate(features) if LABELS[j] == c and j != i] or [0])
                for c in set(LABELS)}
        own = mean.pop(LABELS[i])
        nearest = min(mean.values())
        alone = LABELS.count(LABELS[i]) == 1
        expected.append(0.0 if alone else (nearest - own) / max(own, nearest))
    np.testing.assert_allclose(silhouettes(features, LABELS), expected)


def test_the_ratio_is_its_definition(features):
    labels, between, within = np.array(LABELS), 0.0, 0.0
    for c in set(LABELS):
        own = features[labels == c]
        between += len(own) * ((own.mean(axis=0) - features.mean(axis=0)) ** 2).sum()
        within += ((own - own.mean(axis=0)) ** 2).sum()
    assert class_ratio(features, LABELS) == pytest.approx(between / within)


def test_classes_apart_beat_classes_mixed():
    random, labels = np.random.default_rng(1), np.repeat(["a", "b", "c"], 30)
    apart = np.repeat(np.eye(3), 30, axis=0) + 0.1 * random.normal(size=(90, 3))
    mixed = random.normal(size=(90, 3))
    table = separation_table({"apart": apart, "mixed": mixed}, labels, [f"d{i // 3}" for i in range(90)])
    assert table.loc["apart", "silhouette"] > 0.9 and abs(table.loc["mixed", "silhouette"]) < 0.15
    assert table.loc["mixed", "ahead_low"] > 0.5 and np.isnan(table.loc["apart", "ahead"])
    assert table.loc["mixed", "ahead"] == pytest.approx(
        table.loc["apart", "silhouette"] - table.loc["mixed", "silhouette"])


@pytest.mark.parametrize("labels", [["a"] * 6, list("abcdef"), ["a", "b"]])
def test_one_class_or_all_alone_is_refused(features, labels):
    with pytest.raises(BadInput, match="at least 2 classes, not each its own"):
        silhouettes(features, labels)
