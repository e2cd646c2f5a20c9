"""Points by class and gates under damage, by their data."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from mer_kit import plots
from mer_kit.labels import colour, label_set
from mer_kit.plots.embeddings import MARKERS

LABELS = label_set("duet-4")
POINTS = np.random.default_rng(0).normal(size=(7, 2))
TRUTH = ["sad", "happy", "sad", "angry", "sad", "happy", "angry"]  # nobody is neutral
GATES = pd.DataFrame({
    "system": ["LSGMER"] * 3 + ["hardened"] * 3, "damage": ["as it is", "sound muted", "all words lost"] * 2,
    "mean": [0.6, 0.5, 0.7, 0.4, 0.1, 0.9], "low": [0.5, 0.4, 0.65, 0.3, 0.05, 0.8],
    "high": [0.7, 0.7, 0.75, 0.45, 0.2, 0.95], "WA": [0.8, 0.7, 0.5, 0.8, 0.75, 0.6]})


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_points_stand_by_class_in_its_colour_and_mark():
    ax = plots.embedding(POINTS, labels=TRUTH, label_set=LABELS, title="t")
    drawn = {c.get_label(): c for c in ax.collections}
    assert list(drawn) == list(LABELS.classes) and not len(drawn["neutral"].get_offsets())
    for name in ("angry", "happy", "sad"):
        own = POINTS[np.array(TRUTH) == name]
        np.testing.assert_allclose(drawn[name].get_offsets(), own)
        assert to_hex(drawn[name].get_facecolor()[0]).upper() == colour(name)
    marks = {c.get_paths()[0].vertices.tobytes() for c in ax.collections}
    assert len(marks) == len(LABELS), "classes are told apart without colour"
    assert not ax.get_xticks().size and not ax.get_yticks().size and ax.get_title(loc="left") + ax.get_title() == "t"
    assert [t.get_text() for t in ax.figure.legends[0].get_texts()] == list(LABELS.classes)


def test_labels_are_stars_among_the_points():
    stars = np.arange(8.0).reshape(4, 2)
    ax = plots.embedding(POINTS, labels=TRUTH, label_set=LABELS, label_points=stars)
    drawn = ax.collections[len(LABELS):]
    np.testing.assert_allclose(np.concatenate([c.get_offsets() for c in drawn]), stars)
    assert [to_hex(c.get_facecolor()[0]).upper() for c in drawn] == [colour(c) for c in LABELS.classes]


def test_labels_walk_a_panel_an_epoch_a_row_a_system():
    slow, fast = (np.random.default_rng(i).normal(size=(epochs, 4, 2)) for i, epochs in ((0, 11), (1, 8)))
    figure = plots.label_paths({"slow": slow, "fast": fast}, label_set=LABELS, panels=3, title="t")
    axes = np.reshape(figure.axes, (2, 3))
    assert [ax.get_title(loc="left") + ax.get_title() for ax in axes[0]] == ["epoch 0", "epoch 5", "epoch 10"]
    assert [row[0].get_ylabel() for row in axes] == ["slow", "fast"]
    for row, way in zip(axes, (slow, fast), strict=True):
        for ax, epoch in zip(row, (0, 5, 10), strict=True):
            np.testing.assert_allclose(ax.lines[2].get_xydata(), way[: epoch + 1, 2])
            np.testing.assert_allclose(np.concatenate([c.get_offsets() for c in ax.collections]),
                                       way[min(epoch, len(way) - 1)])
    assert [t.get_text() for t in figure.legends[0].get_texts()] == list(LABELS.classes)


def test_there_is_a_mark_for_each_class_of_the_largest_set():
    assert len(MARKERS) >= len(label_set("duet-7")) == len(set(MARKERS))


def test_gates_are_drawn_by_system_with_their_intervals():
    ax = plots.gates(GATES, title="t")
    assert [bars.get_label() for bars in ax.containers] == ["LSGMER", "hardened"]
    for bars, (_, rows) in zip(ax.containers, GATES.groupby("system", sort=False), strict=True):
        assert bars.lines[0].get_ydata() == pytest.approx(rows["mean"].to_numpy())
        reach = np.array([segment[:, 1] for segment in bars.lines[2][0].get_segments()])
        np.testing.assert_allclose(reach, rows[["low", "high"]])
    near = [bars.lines[0].get_xdata() for bars in ax.containers]
    assert np.abs(near[0] - near[1]).max() < 0.2 and (np.round(near[0]) == [0, 1, 2]).all()
    assert [" ".join(t.get_text().split()) for t in ax.get_xticklabels()] == list(GATES["damage"].unique())
    assert ax.get_ylim()[0] == 0 and ax.get_ylim()[1] >= 1
    [even] = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert list(even.get_ydata()) == [0.5, 0.5]


def test_gates_keep_the_order_of_the_first_system():
    turned = pd.concat([GATES.iloc[:3], GATES.iloc[[5, 4, 3]]])
    _, second = plots.gates(turned).containers
    assert second.lines[0].get_ydata() == pytest.approx([0.4, 0.1, 0.9])
