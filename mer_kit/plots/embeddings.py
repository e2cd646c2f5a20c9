"""Spaces of features: utterances as points, how gates weigh modalities."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mer_kit.labels import LabelSet, colour
from mer_kit.plots.style import FAINT, INK, axes, legend_below

MARKERS = "osD^vPX"  # beside colours, so that classes are told apart without them


def embedding(points: np.ndarray, *, labels: Sequence[str], label_set: LabelSet, title: str = "",
              ax: Axes | None = None) -> Axes:
    """Utterances at points (n, 2), by class. Places mean nothing but nearness, so there are no ticks."""
    ax, labels = axes(ax, 5, 4.6), np.asarray(labels)
    for marker, name in zip(MARKERS, label_set.classes, strict=False):
        own = points[labels == name]
        ax.scatter(own[:, 0], own[:, 1], s=18, marker=marker, color=colour(name), edgecolor="white", linewidth=0.3,
                   alpha=0.85, label=name)
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[["left", "bottom"]].set_visible(False)
    legend_below(ax)
    return ax


def gates(table: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """The audio's weight in a gate under each damage, a line a system.

    table: columns system, damage, mean, low, high; damages in the order in which they come.
    """
    ax = axes(ax, 9, 4)
    order = list(dict.fromkeys(table["damage"]))
    systems = list(dict.fromkeys(table["system"]))
    for i, (system, tint) in enumerate(zip(systems, ("#0B6E8F", "#B2452B", INK), strict=False)):
        rows = table[table["system"] == system].set_index("damage").loc[order]
        place = np.arange(len(order)) + 0.08 * (i - (len(systems) - 1) / 2)
        reach = np.array([rows["mean"] - rows["low"], rows["high"] - rows["mean"]])
        ax.errorbar(place, rows["mean"], reach, marker="o", linestyle="none", capsize=3, color=tint, label=system)
    ax.axhline(0.5, color=INK, linewidth=1, linestyle="--")
    ax.set(xticks=range(len(order)), xticklabels=[fill(name, 9) for name in order], ylim=(0, 1.02), title=title,
           ylabel="weight of the audio, 95 % interval")
    ax.grid(axis="y", color=FAINT, linewidth=0.5)
    legend_below(ax)
    return ax
