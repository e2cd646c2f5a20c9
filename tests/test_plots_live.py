"""Figures of explorers by their data; markup is text."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from mer_kit.labels import label_set
from mer_kit.plots import live

NASTY = "<img src=x onerror=alert(1)>"
LABELS = label_set("duet-4")
C = len(LABELS)


def figures(words: list[str], seed: int) -> list[go.Figure]:
    """One of each kind, with values drawn by the seed."""
    rng = np.random.default_rng(seed)
    p = pd.DataFrame(rng.dirichlet(np.ones(C), 2), [NASTY, "b"], LABELS.classes)
    counts = pd.DataFrame(rng.integers(0, 9, (C, C)), LABELS.classes, LABELS.classes)
    table = pd.DataFrame({"protocol": [NASTY, "y"], "mean": [0.5, 0.6], "low": [0.4, np.nan], "high": [0.7, np.nan]})
    parts = pd.DataFrame([["train", "mixed"], ["test", "dev"]], ["f1", NASTY], pd.Index(["s1", NASTY], name="speaker"))
    values, before = rng.normal(size=(2, len(words), C))
    return [live.shares(p, colours=LABELS.palette, title=NASTY),
            live.word_looks(values, words=words, label_set=LABELS, before=before, title=NASTY),
            live.frame_looks(rng.normal(size=(30, C)), frame_rate=25, label_set=LABELS, title=NASTY),
            live.confusion(counts, title=NASTY),
            live.protocol_scores(table, metric="WA", chosen="y", title=NASTY), live.roles(parts, title=NASTY)]


def test_no_markup_is_left_in_any_figure():
    for figure in figures(["a", NASTY], 2):
        assert "<img" not in figure.to_json().replace("\\u003c", "<")


def test_words_are_read_at_their_places_and_compared_with_what_was():
    G_t, before = np.arange(8.0).reshape(2, 4), np.full((2, 4), 0.5)
    figure = live.word_looks(G_t, words=["same", "same"], label_set=LABELS, before=before)
    assert [trace.name for trace in figure.data] == [*LABELS.classes, "as learnt"]
    assert np.array_equal(figure.data[2].y, [2.0, 6.0]) and figure.layout.xaxis.ticktext == ("same", "same")
    bars = np.stack([trace.x for trace in figure.data[:4]], axis=1)
    assert figure.data[4].x == pytest.approx(bars.ravel()) and (np.diff(bars, axis=1) == pytest.approx(0.2))
    assert live.word_looks(G_t[:0], words=[], label_set=LABELS).layout.xaxis.range[1] > 0


def test_shares_are_written_where_they_fit_in_a_colour_that_is_read():
    table = pd.DataFrame([[0.05, 0.9, 0.05, 0.0]], ["a"], LABELS.classes)
    figure = live.shares(table, colours=LABELS.palette)
    assert [trace.text[0] for trace in figure.data] == ["", "happy 0.90", "", ""]
    assert {trace.name: trace.textfont.color for trace in figure.data}["happy"] == "black"


def test_confusion_shows_counts_over_shares_of_rows():
    counts = pd.DataFrame([[3, 1], [0, 0]], ["a", "b"], ["a", "b"])
    drawn = live.confusion(counts).data[0]
    assert np.array_equal(drawn.text, counts) and np.array_equal(drawn.z, [[0.75, 0.25], [0, 0]])


def test_roles_are_told_in_words_and_colours():
    figure = live.roles(pd.DataFrame([["train", "mixed"]], ["f"], pd.Index(["a", "b"], name="speaker")))
    drawn = figure.data[0]
    assert drawn.text.tolist() == [["train", "mixed"]]
    tints = dict(zip(live.ROLES, (live.ROLES.values()), strict=True))
    edges = [place for place, _ in drawn.colorscale]
    for role, z in zip(("train", "mixed"), drawn.z[0], strict=True):
        share = (z - drawn.zmin) / (drawn.zmax - drawn.zmin)
        below = max(i for i, edge in enumerate(edges) if edge <= share)
        assert drawn.colorscale[below][1] == tints[role]
