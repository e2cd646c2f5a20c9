"""Figures of studies by their data: every row at its place, differences filled where they are sure, chance dashed."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from mer_kit import plots
from mer_kit.plots.studies import HERE

NONE = {"change": np.nan, "change_low": np.nan, "change_high": np.nan, "p": np.nan}


def row(system: str, metric: str, mean: float, **change: float) -> dict:
    return {"system": system, "metric": metric, "mean": mean, "low": mean - 0.02, "high": mean + 0.03, **NONE, **change}


TABLE = pd.DataFrame([
    row("C1", "WA", 0.80), row("C1", "UA", 0.70),
    row("C2", "WA", 0.75, change=-0.05, change_low=-0.08, change_high=-0.02, p=0.01), row("C2", "UA", 0.71),
    row("C4", "WA", 0.81, change=0.01, change_low=-0.01, change_high=0.03, p=0.4), row("C4", "UA", 0.72)])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def points(ax, number: int = -1) -> list[list[float]]:
    """(x, y) of each mark of a scatter."""
    return np.round(ax.collections[number].get_offsets(), 6).tolist()


def bars(ax) -> list[list[float]]:
    """(from, to) of each interval, left to right, by row."""
    [lines] = [c for c in ax.collections if hasattr(c, "get_segments")]
    return [np.round(segment[:, 0], 6).tolist() for segment in lines.get_segments()]


def test_every_row_has_its_score_and_the_others_their_difference():
    figure = plots.study(TABLE, reference="C1", title="t")
    left, right = figure.axes
    assert points(left) == [[80, 0], [75, 1], [81, 2]] and bars(left) == [[78, 83], [73, 78], [79, 84]]
    assert points(right) == [[-5, 1], [1, 2]] and bars(right) == [[-8, -2], [-1, 3]]
    assert [t.get_text() for t in left.get_yticklabels()] == ["C1", "C2", "C4"]
    assert left.get_ylim() == (2.5, -0.5), "the first row stands on top"
    filled = [to_hex(c).upper() for c in right.collections[-1].get_facecolors()]
    assert filled == [HERE, "#FFFFFF"], "the sure difference alone is filled"
    assert "C1" in right.get_xlabel() and figure.get_suptitle() == "t"


def test_printed_values_stand_in_their_systems_rows():
    printed = pd.DataFrame({"system": ["C4", "C1", "C3"], "metric": ["WA"] * 3, "value": [81.08, 82.4, 81.29]})
    left, _ = plots.study(TABLE, printed=printed, reference="C1").axes
    assert [p for p in points(left, 0) if None not in p] == [[82.4, 0], [81.08, 2]]  # C2 has none, C3 is no row


def test_another_metric_and_a_table_of_the_reference_alone():
    left, right = plots.study(TABLE, metric="UA", reference="C1").axes
    assert points(left) == [[70, 0], [71, 1], [72, 2]] and not len(right.collections[-1].get_offsets())
    lonely = TABLE.head(1).assign(low=np.nan, high=np.nan)  # a single run has no interval
    assert points(plots.study(lonely, reference="C1").axes[0]) == [[80, 0]]


def test_levels_of_a_damage_are_drawn_a_line_a_system():
    levels = pd.DataFrame([{"system": name, "level": level, "mean": mean, "low": mean - 0.1, "high": mean + 0.2}
                           for name, means in {"A": (0.8, 0.5), "B": (0.7, 0.4)}.items()
                           for level, mean in zip((np.inf, 10), means, strict=True)])
    ax = plots.by_level(levels, xlabel="SNR (dB)", chance=0.25, title="t")
    assert {bar.get_label(): bar.lines[0].get_ydata().tolist() for bar in ax.containers} == {
        "A": pytest.approx([80, 50]), "B": pytest.approx([70, 40])}
    assert ax.containers[1].lines[2][0].get_segments()[0][:, 1] == pytest.approx([60, 90])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["clean", "10"]
    assert [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "--"] == [25]
    assert {bar.lines[0].get_linestyle() for bar in ax.containers} == {"-"}
    names = levels.replace({"level": {np.inf: "sound", 10: "words"}})
    ax = plots.by_level(names, xlabel="missing", joined=False)
    assert {bar.lines[0].get_linestyle() for bar in ax.containers} == {"None"}
    assert [t.get_text() for t in ax.get_xticklabels()] == ["sound", "words"]


def test_a_curve_keeps_the_order_of_the_study():
    ax = plots.curve(TABLE, xlabel="K", title="t")
    drawn = {bar.get_label(): bar.lines[0].get_ydata().tolist() for bar in ax.containers}
    assert drawn == {"WA": pytest.approx([80, 75, 81]), "UA": pytest.approx([70, 71, 72])}
    reach = ax.containers[0].lines[2][0].get_segments()[1]
    assert reach[:, 1] == pytest.approx([73, 78])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["C1", "C2", "C4"] and ax.get_xlabel() == "K"
    one = plots.curve(TABLE.assign(system="K = " + TABLE["system"], low=np.nan, high=np.nan), xlabel="K")
    assert [t.get_text() for t in one.get_xticklabels()] == ["C1", "C2", "C4"] and one.get_ylabel() == "score (%)"


COSTS = pd.DataFrame({"GiB": [1.0, 2.5], "s a step": [0.1, 0.4]}, ["N = 1", "|v_j| = 16"])


@pytest.mark.parametrize("scores", [None, TABLE.head(0)])
def test_costs_have_a_panel_each_and_none_for_scores_that_are_not_there(scores):
    figure = plots.costs(COSTS, xlabel="N", scores=scores, title="t")
    assert [ax.get_ylabel() for ax in figure.axes] == ["GiB", "s a step"] and figure.get_suptitle() == "t"
    assert [[bar.get_height() for bar in ax.patches] for ax in figure.axes] == [[1.0, 2.5], [0.1, 0.4]]
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["1", "16"]


def test_scores_stand_before_what_they_cost():
    first, *rest = plots.costs(COSTS, xlabel="N", scores=TABLE).axes
    drawn = {bar.get_label(): bar.lines[0].get_ydata().tolist() for bar in first.containers}
    assert drawn["WA"] == pytest.approx([80, 75, 81]) and len(rest) == 2 and first.get_xlabel() == "N"


@pytest.mark.parametrize("parts", [["words", "voice"], ["words"]])
def test_grounding_has_a_panel_for_each_part_and_chance_as_a_line(parts):
    sources = ["C1", "untrained", "chance"]
    table = pd.DataFrame([{"part": part, "source": source, "measure": measure, "mean": mean, "low": mean - 0.1,
                           "high": mean + 0.1} for part in parts for measure in ("hit", "auc")
                          for source, mean in zip(sources, (0.8, 0.3, 0.2), strict=True)])
    figure = plots.grounding(table, title="t")
    assert len(figure.axes) == len(parts)
    for ax in figure.axes:
        assert points(ax) == [[80, 0], [30, 1]] and bars(ax) == [[70, 90], [20, 40]]
        assert [t.get_text() for t in ax.get_yticklabels()] == ["C1", "untrained"]
        assert ax.lines[0].get_xdata()[0] == pytest.approx(20) and ax.lines[0].get_linestyle() == "--"
        filled = [to_hex(c).upper() for c in ax.collections[-1].get_facecolors()]
        assert filled == [HERE, "#FFFFFF"], "the model in question is filled"
