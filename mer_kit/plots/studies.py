"""Studies: rows of a table with their intervals, and how far each is from the reference."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.pyplot import subplots

from mer_kit.plots.style import FAINT, INK, axes, legend_below

OURS, PRINTED = "#0B6E8F", "#B2452B"
CERTAIN = 0.05  # of p, below which a difference is drawn filled


def study(table: pd.DataFrame, *, metric: str = "WA", printed: pd.Series | None = None, title: str = "") -> Figure:
    """Left: every row's score and interval; right: its difference to the reference, filled where p < 0.05.

    table: of `studies.study_table`. printed: system -> the published value, in percent, drawn as a cross.
    """
    rows = table[table["metric"] == metric].reset_index(drop=True)
    figure, (left, right) = subplots(1, 2, figsize=(10, 1.3 + 0.36 * len(rows)), sharey=True)
    place = np.arange(len(rows))
    _intervals(left, 100 * rows["mean"], place, 100 * rows["low"], 100 * rows["high"])
    if printed is not None:
        left.scatter(printed.reindex(rows["system"]), place, marker="X", s=50, color=PRINTED, edgecolor="white",
                     zorder=3, label="published, on its own corpus")
    left.set(yticks=place, yticklabels=rows["system"], xlabel=f"{metric} (%), 95 % interval over runs")
    left.invert_yaxis()
    other = rows.dropna(subset="change")
    _intervals(right, 100 * other["change"], other.index, 100 * other["change_low"], 100 * other["change_high"],
               filled=other["p"] < CERTAIN)
    right.axvline(0, color=INK, linewidth=1)
    right.set(xlabel=f"difference to the reference in {metric} (points)")
    for ax in (left, right):
        ax.grid(axis="x", color=FAINT, linewidth=0.5)
    legend_below(left)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
    return figure


def curve(table: pd.DataFrame, *, x: list[float], metrics: tuple[str, ...] = ("WA", "UA"), xlabel: str,
          title: str = "", ax: Axes | None = None) -> Axes:
    """Scores of a parameter study over its values `x`, one a row of `study_table`, with intervals over runs."""
    ax = axes(ax)
    for metric, tint, shift in zip(metrics, (OURS, PRINTED), (-0.03, 0.03), strict=True):
        rows = table[table["metric"] == metric]
        places = np.arange(len(x)) + shift
        reach = np.array([rows["mean"] - rows["low"], rows["high"] - rows["mean"]])
        ax.errorbar(places, 100 * rows["mean"], 100 * reach,
                    color=tint, marker="o", capsize=3, label=metric)
    ax.set(xticks=np.arange(len(x)), xticklabels=[f"{value:g}" for value in x], xlabel=xlabel,
           ylabel="score (%), 95 % interval over runs", title=title)
    ax.grid(axis="y", color=FAINT, linewidth=0.5)
    legend_below(ax)
    return ax


def _intervals(ax: Axes, middle, place, low, high, filled=None) -> None:
    ax.hlines(place, low, high, color=OURS, linewidth=2, alpha=0.6)
    face = OURS if filled is None else np.where(filled, OURS, "white")
    ax.scatter(middle, place, s=40, facecolor=face, edgecolor=OURS, zorder=3,
               label="here" if filled is None else None)
