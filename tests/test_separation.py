"""Separation against its definitions written as loops, and at its limits."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine

from mer_kit.errors import BadInput, Missing
from mer_kit.evaluation.separation import (
    class_ratio,
    nearest_labels,
    projected_together,
    projection,
    separation_table,
    silhouettes,
)

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


@pytest.fixture(scope="module")
def clouds():
    """Three classes of 20, far apart, and their labels."""
    features = np.repeat(np.eye(8)[:3], 20, axis=0) + 0.05 * np.random.default_rng(2).normal(size=(60, 8))
    return features, np.repeat(["a", "b", "c"], 20)


@pytest.mark.parametrize("method", ["pca", "tsne", pytest.param("umap", marks=pytest.mark.slow)])
def test_a_projection_keeps_neighbours_and_repeats_itself(clouds, method):
    features, labels = clouds
    points = projection(features, method, seed=1)
    assert points.shape == (60, 2)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(60)
    assert (labels[distance.argmin(axis=1)] == labels).all()
    longer = features * 2.0 ** np.arange(-30, 30)[:, None]  # cosines do not see lengths
    np.testing.assert_array_equal(points, projection(longer, method, seed=1))


def test_few_utterances_can_be_projected_and_fewer_not(features):
    assert np.isfinite(projection(features)).all()
    with pytest.raises(BadInput, match=r"got features \(3, 4\); expected \(n, d\) of at least 4"):
        projection(features[:3])
    with pytest.raises(BadInput, match=r"unknown projection 'tsn'.*did you mean 'tsne'"):
        projection(features, "tsn")


def test_the_principal_plane_is_that_of_the_singular_vectors(features):
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(projection(features, "pca")), np.abs(u[:, :2] * s[:2]), atol=1e-9)


def test_labels_are_projected_with_their_utterances(features):
    points, stars = projected_together(features, features[:2], "pca")
    np.testing.assert_allclose(stars, points[:2], atol=1e-9)
    points, stars = projected_together(features, None, "pca")
    np.testing.assert_array_equal(points, projection(features, "pca"))
    assert stars is None


def test_the_nearest_label_is_that_of_the_smallest_angle(features):
    labels = np.random.default_rng(3).normal(size=(3, 4))
    expected = [min(range(3), key=lambda c: cosine(x, labels[c])) for x in features]
    assert nearest_labels(features, labels * [[1], [9], [0.1]]).tolist() == expected


def test_a_missing_umap_is_named(features, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(Missing, match=r"install it \(pip install umap-learn\), or take 'tsne'"):
        projection(features, "umap")


@pytest.mark.slow
def test_umap_leaves_torch_its_threads(features):
    usual = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        projection(features, "umap")
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(usual)
