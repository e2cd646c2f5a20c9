"""Spaces of features: utterances as points, how gates weigh modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mer_kit.labels import LabelSet, colour
from mer_kit.plots.style import FAINT, INK, axes, legend_below

MARKERS = "osD^vPX"  # beside colours, so that classes are told apart without them


def embedding(points: np.ndarray, *, labels: Sequence[str], label_set: LabelSet,
              label_points: np.ndarray | None = None, title: str = "", ax: Axes | None = None) -> Axes:
    """Utterances at points (n, 2), by class. Places mean nothing but nearness, so there are no ticks.

    label_points: where label embeddings lie (C, 2), drawn as stars.
    """
    ax, labels = axes(ax, 5, 4.6), np.asarray(labels)
    for marker, name in zip(MARKERS, label_set.classes, strict=False):
        own = points[labels == name]
        ax.scatter(own[:, 0], own[:, 1], s=18, marker=marker, color=colour(name), edgecolor="white", linewidth=0.3,
                   alpha=0.85, label=name)
    if label_points is not None:
        stars(ax, label_points, label_set)
    ax.set(xticks=[], yticks=[], title=title)
    ax.spines[["left", "bottom"]].set_visible(False)
    legend_below(ax)
    return ax


def label_paths(paths: Mapping[str, np.ndarray], *, label_set: LabelSet, panels: int = 6, title: str = "") -> Figure:
    """Label embeddings over the epochs: a row a system, a panel an epoch, each label a star at the end of its way.

    paths: system -> (1 + epochs, C, 2), on one plane. panels: how many epochs are drawn, first and last among them.
    """
    shown = np.unique(np.linspace(0, max(map(len, paths.values())) - 1, panels).round().astype(int))
    figure, rows = plt.subplots(len(paths), len(shown), figsize=(2.1 * len(shown), 2.4 * len(paths) + 0.8),
                                sharex=True, sharey=True, squeeze=False)
    for ax, epoch in zip(rows[0], shown, strict=True):
        ax.set_title(f"epoch {epoch}")
    for axes_of, (name, way) in zip(rows, paths.items(), strict=True):
        axes_of[0].set_ylabel(name)
        for ax, epoch in zip(axes_of, shown, strict=True):
            for i, tint in enumerate(label_set.palette.values()):
                ax.plot(*way[: epoch + 1, i].T, color=tint, linewidth=1.5)
            stars(ax, way[min(epoch, len(way) - 1)], label_set)
            ax.set(xticks=[], yticks=[])
            ax.margins(0.15)
    handles = rows[0, 0].collections
    figure.legend(handles, label_set.classes, ncols=len(label_set), loc="outside lower left", fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=12)
    return figure


def stars(ax: Axes, places: np.ndarray, label_set: LabelSet) -> None:
    """Label embeddings (C, 2) as stars in their classes' colours."""
    for place, tint in zip(places, label_set.palette.values(), strict=True):
        ax.scatter(*place, s=170, marker="*", color=tint, edgecolor=INK, linewidth=1, zorder=4)


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
