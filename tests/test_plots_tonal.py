"""Figures of tonal labels by their data."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from mer_kit import plots
from mer_kit.labels import colour


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_each_class_frames_its_own_block_of_codes():
    columns = pd.MultiIndex.from_tuples([("angry", 4), ("angry", 9), ("sad", 2)])
    rates = pd.DataFrame([[1.0, 0.5, -9.0], [-1.0, 0.0, 2.0]], ["angry", "sad"], columns)
    ax = plots.key_code_rates(rates, title="t")
    assert ax.collections[0].get_array().ravel().tolist() == [1, 0.5, -3, -1, 0, 2], "clipped at the limit"
    framed = [(*p.get_xy(), p.get_width(), p.get_height()) for p in ax.patches]
    assert framed == [(0, 0, 2, 1), (2, 1, 1, 1)]
    assert [(t.get_text(), t.get_position()[0]) for t in ax.texts] == [("key to angry", 1), ("key to sad", 2.5)]


TRUTH = {"voice_cue": "anger", "span_start": 0.2, "span_end": 0.7}


@pytest.mark.parametrize("truth", [None, TRUTH, TRUTH | {"voice_cue": None}])
def test_key_frames_stand_at_their_times_and_the_cue_at_its_own(truth):
    marks = np.array([False, True, True, False])
    figure = plots.key_frames(np.ones(1600), np.zeros((80, 20)), marks, sample_rate=1600, label="angry", truth=truth)
    for panel in figure.axes:
        (keys,) = panel.collections
        assert [path.get_extents().intervalx.tolist() for path in keys.get_paths()] == [[0.25, 0.5], [0.5, 0.75]]
        assert to_hex(keys.get_facecolor()[0]).upper() == colour("angry")
        spans = [(p.get_x(), p.get_x() + p.get_width()) for p in panel.patches]
        assert spans == ([pytest.approx((0.2, 0.7))] if truth is TRUTH else [])
        assert panel.get_xlim() == (0, 1)


def test_shares_in_the_cue_stand_beside_chance():
    table = pd.DataFrame({"label": ["angry", "sad"], "mean": [0.6, 0.5], "low": [0.5, 0.4], "high": [0.7, 0.6],
                          "chance": [0.45, 0.55]})
    ax = plots.shares_in_cue(table)
    means = {line.get_xdata()[0]: line.get_color().upper() for line in ax.lines if line.get_marker() == "D"}
    assert means == {0.6: colour("angry"), 0.5: colour("sad")}
    assert [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "None"] == [[0.5, 0.7], [0.4, 0.6]]
    assert list(ax.lines[-1].get_xdata()) == [0.45, 0.55]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["angry", "sad"]


def test_a_line_for_each_kind_of_codes_in_the_order_given():
    rows = [{"codes": name, "top_k": k, "mean": m, "low": m - 0.1, "high": m + 0.1, "chance": 0.5}
            for name, m in (("of states", 0.5), ("local", 0.7)) for k in (10, 100)]
    ax = plots.shares_by_top_k(pd.DataFrame(rows))
    drawn = {line.get_label(): list(line.get_ydata()) for line in ax.lines if line.get_linestyle() == "-"}
    assert list(drawn.items()) == [("of states", [0.5, 0.5]), ("local", [0.7, 0.7])]
    assert [list(line.get_ydata()) for line in ax.lines if line.get_linestyle() == "--"] == [[0.5, 0.5]] * 2
    assert [t.get_text() for t in ax.get_xticklabels()] == ["10", "100"]
