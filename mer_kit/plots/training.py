"""How a training went, and how attention looks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from mer_kit.plots.style import FAINT, INK, axes, legend_below


def history(table: pd.DataFrame, *, columns: Sequence[str], best_epoch: int | None = None, title: str = "",
            ax: Axes | None = None) -> Axes:
    """Columns of a training's history over its epochs, such as "loss" or "dev_UA"; the kept epoch is marked."""
    ax = axes(ax)
    for column, tint in zip(columns, sns.color_palette("dark", len(columns)), strict=True):
        ax.plot(table["epoch"], table[column], marker="o", markersize=4, color=tint, label=column)
    if best_epoch is not None:
        ax.axvline(best_epoch, color=INK, linestyle="--", linewidth=1, label="epoch kept")
    ax.set(xlabel="epoch", ylabel="loss or score", title=title, xticks=table["epoch"])
    ax.grid(axis="y", color=FAINT, linewidth=0.5)
    legend_below(ax)
    return ax


def heatmap(weights: np.ndarray, *, rows: Sequence[str], columns: Sequence[str], limit: float = 1.0, title: str = "",
            ax: Axes | None = None) -> Axes:
    """Attention, similarity or shares (rows, columns), the values written in.

    Colours run from -limit to limit, or from 0 where nothing is negative.
    """
    ax = axes(ax, 1.6 + 0.9 * len(columns), 1.2 + 0.5 * len(rows))
    low, cmap = (-limit, "RdBu_r") if (np.asarray(weights) < 0).any() else (0, "Blues")
    sns.heatmap(weights, xticklabels=columns, yticklabels=rows, vmin=low, vmax=limit, cmap=cmap, annot=True,
                fmt=".2f", linewidths=0.5, ax=ax)
    ax.set(title=title)
    ax.tick_params(axis="y", rotation=0)
    return ax
