"""Label keywords (LE-MER, Figure 1)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mer_kit.labels import colour
from mer_kit.plots.style import axes


def keyword_bars(table: pd.DataFrame, *, title: str = "") -> Figure:
    """The keywords of each class with their tf-idf, one panel a class; columns class, rank, word, tfidf."""
    classes = list(table["class"].cat.categories)
    columns = min(4, len(classes))
    rows = -(-len(classes) // columns)
    deepest = max(table["rank"].max() if len(table) else 1, 3)
    figure, panels = plt.subplots(rows, columns, figsize=(2.6 * columns, rows * (0.8 + 0.26 * deepest)), squeeze=False)
    for panel, name in zip(panels.flat, classes, strict=False):
        words = table[table["class"] == name]
        panel.barh(words["word"], words["tfidf"], color=colour(name), height=0.75)
        panel.invert_yaxis()
        panel.set(xlabel="tf-idf", title=name)
        panel.tick_params(left=False)
        if words.empty:
            panel.text(0.5, 0.5, "no keyword", ha="center", va="center", transform=panel.transAxes)
            panel.set(xticks=[], yticks=[])
    for panel in panels.flat[len(classes):]:
        panel.set_axis_off()
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def keyword_overlap(shared: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """How many keywords each two classes share, (C, C)."""
    ax = axes(ax, 1.8 + 0.7 * len(shared), 1.4 + 0.55 * len(shared))
    sns.heatmap(shared, annot=True, fmt="d", cmap="Purples", vmin=0, linewidths=0.5, square=True,
                cbar_kws={"label": "shared keywords"}, ax=ax)
    ax.set(title=title)
    ax.tick_params(axis="x", rotation=30)
    ax.tick_params(axis="y", rotation=0)
    return ax
