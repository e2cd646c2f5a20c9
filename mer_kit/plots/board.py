"""The results board: published beside here, and systems beside one another."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mer_kit.plots.studies import CERTAIN, PRINTED, intervals
from mer_kit.plots.style import FAINT, INK, legend_below

TICKS = (-50, -20, -10, -5, *range(-3, 4), 5, 10, 20, 50)  # points of change


def published_and_here(table: pd.DataFrame, *, title: str = "") -> Figure:
    """A board's rows of one metric and dataset: left levels, right the change against each table's reference row.

    table: of `training.board.board`. Published values are crosses, ours circles with intervals: filled, at the right,
    where the interval leaves out no change. Where a paper prints changes alone, the left is empty.
    """
    rows = table.reset_index(drop=True)
    place = _places(rows)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 1.6 + 0.25 * place.max()), sharey=True)
    level = rows[~rows["metric"].str.endswith(" change")]
    _both(left, place[level.index], level["published"], level[["here", "low", "high"]])
    sure = (rows["change_low"] > 0) | (rows["change_high"] < 0)
    _both(right, place, rows["published_change"], rows[["change", "change_low", "change_high"]], sure)
    right.axvline(0, color=INK, linewidth=1)
    _name_rows(left, rows, place)
    left.set_xlabel("level (%)")
    right.set_xlabel("change against the table's reference row (points)")
    for where in place[rows["published_change"].isna()]:
        right.annotate("reference", (0, where), (4, 0), textcoords="offset points", va="center", fontsize=8)
    legend_below(left)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
    return figure


def ablations(table: pd.DataFrame, *, title: str = "") -> Figure:
    """Every ablation of the papers on one page: what was printed of it, ours below with its interval and numbers.

    table: of `training.board.ablations`. Crosses were printed on IEMOCAP, diamonds on MELD; circles are ours, filled
    where p < 0.05 by Holm. Beyond 3 points the axis is logarithmic.
    """
    place = _places(table)
    figure, ax = plt.subplots(figsize=(11.6, 1.3 + 0.21 * place.max()))
    for column, mark, face in (("MELD", "D", "white"), ("IEMOCAP", "X", PRINTED)):
        ax.scatter(table[column], place - 0.2, marker=mark, s=40, facecolor=face, edgecolor=PRINTED, zorder=3,
                   label=f"published, {column}")
    ours = table[["change", "change_low", "change_high"]]
    intervals(ax, place + 0.2, ours, table["p_holm"] < CERTAIN,
              label=f"here, with its 95 % interval (filled: p < {CERTAIN} by Holm)")
    ax.axvline(0, color=INK, linewidth=1)
    ax.set_xscale("symlog", linthresh=3, linscale=1.5)
    _name_rows(ax, table, place)
    drawn = table[["IEMOCAP", "MELD", *ours]].to_numpy()
    low, high = 1.2 * np.nanmin(drawn, initial=-4), 1.2 * np.nanmax(drawn, initial=4)
    ticks = [tick for tick in TICKS if low < tick < high]
    ax.set(xlim=(low, high), xticks=ticks, xticklabels=ticks,
           xlabel="change against the table's reference row (points; beyond ±3 by logarithm)")
    for row, where in zip(table.itertuples(), place, strict=True):
        ax.annotate(_in_numbers(row), (1.01, where), xycoords=("axes fraction", "data"), va="center", fontsize=8.5)
    legend_below(ax)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
    return figure


def _in_numbers(row) -> str:
    """A line's change with its interval and p: "-1.3 (-2.5 to -0.3), p 0.013"; of a row without one, that."""
    if pd.isna(row.change):
        return "not run here"
    return f"{row.change:+.1f} ({row.change_low:+.1f} to {row.change_high:+.1f}), p {row.p:.2g}"


def _places(rows: pd.DataFrame) -> pd.Series:
    """Where each row stands, from the top, with room above the first of each table for its heading."""
    return pd.Series(np.arange(len(rows)) + 1.2 * np.cumsum(_first(rows)), rows.index)


def _first(rows: pd.DataFrame) -> np.ndarray:
    """Whether a row is the first of its table."""
    return rows[["paper", "table"]].ne(rows[["paper", "table"]].shift()).any(axis=1).to_numpy()


def _name_rows(ax: Axes, rows: pd.DataFrame, place: pd.Series) -> None:
    """Systems along the axis, with their modality where a table has them several times, and a heading over a table."""
    modality = (" (" + rows["modality"] + ")").where(rows.duplicated(["paper", "table", "system"], keep=False), "")
    ax.set(yticks=place, yticklabels=rows["system"] + modality, ylim=(place.max() + 0.8, -0.3))
    ax.tick_params(axis="y", labelsize=9)
    for where, row in zip(place[_first(rows)], rows[_first(rows)].itertuples(), strict=True):
        ax.annotate(f"{row.paper}, {row.table}", (0, where - 1), (4, 0), xycoords=("axes fraction", "data"),
                    textcoords="offset points", weight="bold", va="center", fontsize=10)


def _both(ax: Axes, place: pd.Series, printed: pd.Series, ours: pd.DataFrame, filled: pd.Series | bool = True) -> None:
    """Published crosses and our intervals, each a little off its row's middle, so that neither hides the other."""
    ax.scatter(printed, place - 0.17, marker="X", s=45, color=PRINTED, edgecolor="white", zorder=3, label="published")
    intervals(ax, place + 0.17, ours, filled, label="here, with its 95 % interval")


def systems(levels: pd.DataFrame, pairs: pd.DataFrame, *, metric: str = "WA", title: str = "") -> Figure:
    """Left: each system's level and interval, with the ceiling of its inputs where one is known; right: every pair.

    levels, pairs: of `training.comparison`. A cell is the row's system less the column's; bold: p < 0.05 by Holm.
    """
    rows = levels[levels["metric"] == metric].reset_index(drop=True)
    names, place = list(rows["system"]), np.arange(len(rows))
    figure, (left, right) = plt.subplots(1, 2, figsize=(12.5, 1.8 + 0.5 * len(rows)), width_ratios=(1, 1.15))
    intervals(left, place, 100 * rows[["mean", "low", "high"]], label="here, 95 % over runs")
    if rows.get("ceiling", pd.Series(dtype=float)).notna().any():
        left.scatter(100 * rows["ceiling"], place, marker="|", s=320, linewidth=2.5, color=INK, zorder=3,
                     label="possible with its inputs")
        left.axvline(100 * rows["chance"].iloc[0], color=INK, linestyle="--", linewidth=1, label="chance")
    left.set(yticks=place, yticklabels=[f"{row.system}\n{_reads(row)}" for row in rows.itertuples()],
             ylim=(len(rows) - 0.5, -0.5), xlabel=f"{metric} (%)",
             xlim=np.clip(left.get_xlim(), 0, 100))  # Student's interval of two folds does not know where scores end
    left.tick_params(axis="y", labelsize=9)
    legend_below(left)
    _differences(right, pairs[pairs["metric"] == metric], names, metric)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
    return figure


def _reads(row) -> str:
    """What a system reads, below its name: "reads text + voice, text before"."""
    return f"reads {row.reads}" + ("" if row.history == "none" else f", {row.history} before")


def _differences(ax: Axes, pairs: pd.DataFrame, names: list[str], metric: str) -> None:
    """Row less column of every pair, in points, as a matrix that is its own mirror with the sign turned."""
    points, sure = (pd.DataFrame(value, names, names) for value in (np.nan, False))
    for pair in pairs.itertuples():
        points.loc[pair.a, pair.b], points.loc[pair.b, pair.a] = 100 * pair.difference, -100 * pair.difference
        sure.loc[pair.a, pair.b] = sure.loc[pair.b, pair.a] = pair.p_holm < CERTAIN
    limit = max(1.0, np.nanmax(np.abs(points.to_numpy()), initial=0))
    sns.heatmap(points, ax=ax, vmin=-limit, vmax=limit, cmap="RdBu_r", annot=True, fmt="+.1f", linewidths=0.5,
                linecolor=FAINT, cbar=False, square=False)
    cells = [(i, j) for i in names for j in names if points.notna().loc[i, j]]
    for text, (i, j) in zip(ax.texts, cells, strict=True):
        text.set_fontweight("bold" if sure.loc[i, j] else "normal")
    ax.set_title(f"{metric}: row less column (points; bold: p < {CERTAIN} by Holm)", fontsize=10)
    ax.tick_params(axis="x", rotation=25, labelsize=9)
    ax.tick_params(axis="y", rotation=0, labelsize=9)
