"""Studies: scores of a table's rows with their intervals, how far each is from the reference, and what grounds them."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mer_kit.plots.style import FAINT, INK, axes, legend_below

HERE, PRINTED = "#0B6E8F", "#B2452B"
CERTAIN = 0.05  # of p, below which a difference is drawn filled
PARTS = {"words": "on the words ($G_t$)", "voice": "on the frames ($G_s$)"}


def study(table: pd.DataFrame, *, metric: str = "WA", printed: pd.DataFrame | None = None, reference: str,
          title: str = "") -> Figure:
    """Left: every row's score and interval; right: its paired difference to the reference, filled where p < 0.05.

    table: of `studies.study_table`. printed: of `published`, whose values of the metric are drawn as crosses.
    """
    rows = table[table["metric"] == metric].reset_index(drop=True)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 1.7 + 0.34 * len(rows)), sharey=True)
    place, others = np.arange(len(rows)), rows.dropna(subset="change")
    if printed is not None:
        value = printed[printed["metric"] == metric].set_index("system")["value"].reindex(rows["system"])
        left.scatter(value, place, marker="X", s=55, color=PRINTED, edgecolor="white", zorder=3, label="published")
    intervals(left, place, 100 * rows[["mean", "low", "high"]], label="here, with the 95 % interval over runs")
    change = 100 * others[["change", "change_low", "change_high"]]
    intervals(right, others.index, change, filled=others["p"] < CERTAIN)
    right.axvline(0, color=INK, linewidth=1)
    left.set(yticks=place, yticklabels=rows["system"], ylim=(len(rows) - 0.5, -0.5), xlabel=f"{metric} (%)")
    right.set_xlabel(f"{metric}: ahead of {reference} (points; filled: p < {CERTAIN})")
    legend_below(left)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
    return figure


def curve(table: pd.DataFrame, *, xlabel: str, metrics: Sequence[str] = ("WA", "UA"), title: str = "",
          ax: Axes | None = None) -> Axes:
    """Scores over the values of a parameter study, in the order of a `study_table`, with intervals over runs.

    Of a system's name such as "K = 9", the axis has what stands behind the sign.
    """
    ax = axes(ax, 7, 4)
    for tint, shift, metric in zip((HERE, PRINTED), (-0.04, 0.04), metrics, strict=False):
        rows = table[table["metric"] == metric]
        reach = 100 * np.array([rows["mean"] - rows["low"], rows["high"] - rows["mean"]])
        ax.errorbar(np.arange(len(rows)) + shift, 100 * rows["mean"], reach, color=tint, marker="o", capsize=3,
                    label=metric)
    values = _values(table["system"].unique())
    spread = ", 95 % interval over runs" if table["low"].notna().any() else ""
    ax.set(xticks=range(len(values)), xticklabels=values, xlabel=xlabel, ylabel=f"score (%){spread}", title=title)
    ax.grid(axis="y", color=FAINT, linewidth=0.5)
    legend_below(ax)
    return ax


def by_level(table: pd.DataFrame, *, xlabel: str, joined: bool = True, chance: float | None = None,
             title: str = "", ax: Axes | None = None) -> Axes:
    """WA with its interval at each level of a damage or setting, a line a system; an infinite SNR is named clean.

    table: of `training.robustness.by_level`; levels stand in the order in which they come. joined False: levels have no
    order, such as names of what is missing. chance: a fraction, dashed.
    """
    ax, order, systems = axes(ax, 7, 4), list(dict.fromkeys(table["level"])), list(dict.fromkeys(table["system"]))
    for i, (system, tint, marker) in enumerate(zip(systems, (HERE, PRINTED, INK), "osD", strict=False)):
        rows = table[table["system"] == system].set_index("level")
        place = np.array([order.index(level) for level in rows.index]) + 0.06 * (i - (len(systems) - 1) / 2)
        reach = 100 * np.array([rows["mean"] - rows["low"], rows["high"] - rows["mean"]])
        ax.errorbar(place, 100 * rows["mean"], reach, color=tint, marker=marker, capsize=3, label=system,
                    linestyle="-" if joined else "none")
    if chance is not None:
        ax.axhline(100 * chance, color=INK, linestyle="--", linewidth=1)
    names = [level if isinstance(level, str) else "clean" if np.isinf(level) else f"{level:g}" for level in order]
    ax.set(xticks=range(len(order)), xticklabels=names, xlabel=xlabel, title=title)
    ax.set_ylabel("WA (%), 95 % over dialogues")
    ax.grid(axis="y", color=FAINT, linewidth=0.5)
    legend_below(ax)
    return ax


def costs(table: pd.DataFrame, *, xlabel: str, scores: pd.DataFrame | None = None, title: str = "") -> Figure:
    """What each system of a parameter study costs, a panel a column of `table`, and its scores before them.

    table: of `training.measured.measured_costs`. scores: of `study_table`, where there are some; drawn by `curve`.
    """
    scored = scores is not None and len(scores) > 0
    figure, panels = plt.subplots(1, len(table.columns) + scored, figsize=(3.6 * (len(table.columns) + scored), 3.6),
                                  squeeze=False)
    if scored:
        curve(scores, xlabel=xlabel, ax=panels[0, 0])
    names = _values(table.index)
    for ax, column in zip(panels[0, int(scored):], table.columns, strict=True):
        ax.bar(names, table[column], color=HERE)
        ax.set(xlabel=xlabel, ylabel=column)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
    return figure


def _values(systems: Sequence[str]) -> list[str]:
    return [name.rpartition(" = ")[2] for name in systems]


def grounding(table: pd.DataFrame, *, title: str = "") -> Figure:
    """How often attention looks at the cue, of every source with its interval, on the words and on the voice.

    table: of `training.attention.grounding_summary`; its first source is the model in question, and chance is dashed.
    """
    rows = table[table["measure"] == "hit"]
    parts = list(rows["part"].unique())
    figure, panels = plt.subplots(1, len(parts), figsize=(5.5 * len(parts), 1.6 + 0.36 * rows["source"].nunique()),
                                  squeeze=False)
    for ax, part in zip(panels[0], parts, strict=True):
        of = rows[rows["part"] == part]
        chance, of = of[of["source"] == "chance"], of[of["source"] != "chance"].reset_index(drop=True)
        intervals(ax, of.index, 100 * of[["mean", "low", "high"]], filled=of.index == 0)
        ax.axvline(100 * chance["mean"].item(), color=INK, linestyle="--", linewidth=1)
        ax.set(yticks=of.index, yticklabels=of["source"], ylim=(len(of) - 0.5, -0.5), xlim=(0, 100),
               xlabel="maximum on the cue (%; dashed: chance)")
        ax.set_title(PARTS[part], parse_math=True)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
    return figure


def intervals(ax: Axes, place: Sequence[int], values: pd.DataFrame, filled: Sequence[bool] | bool = True,
               label: str | None = None) -> None:
    """Middle, low and high of each row, drawn at its place, on a faint grid."""
    middle, low, high = values.to_numpy().T
    ax.hlines(place, low, high, color=HERE, linewidth=2, alpha=0.6)
    tints = np.where(np.broadcast_to(filled, len(middle)), HERE, "white")
    ax.scatter(middle, place, s=45, facecolor=tints, edgecolor=HERE, zorder=3, label=label)
    ax.grid(axis="x", color=FAINT, linewidth=0.5)
