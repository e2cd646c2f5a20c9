"""One look for all figures, and how they become files."""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, FAINT = "#2B2B2B", "#D9D9D9"


def theme() -> None:
    """The kit's look, once at the top of a notebook."""
    sns.set_theme(style="ticks", context="notebook", rc={
        "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
        "axes.titlelocation": "left", "axes.titlesize": 12, "axes.titleweight": "bold", "axes.titlepad": 10,
        "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 110, "savefig.dpi": 150,
        "figure.constrained_layout.use": True, "legend.frameon": False,
        "text.parse_math": False})  # a transcript's $ is a dollar, not a formula


def axes(ax: Axes | None, width: float = 7.0, height: float = 4.0) -> Axes:
    """The given axes, or new ones of that size in inches."""
    return ax if ax is not None else plt.subplots(figsize=(width, height))[1]


def legend_below(ax: Axes, title: str | None = None, columns: int | None = None) -> None:
    """Move the axes' legend under the figure, in one row or in that many columns."""
    handles, names = ax.get_legend_handles_labels()
    if ax.get_legend():
        ax.get_legend().remove()
    ax.figure.legend(handles, names, title=title, ncols=columns or len(names), loc="outside lower left", fontsize=9)


def save(drawn: Axes | Figure, name: str, folder: str | Path) -> None:
    """Write a figure to `folder`/`name`.png; an empty `folder` writes nothing."""
    if not os.fspath(folder):
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    figure = drawn if isinstance(drawn, Figure) else drawn.figure
    figure.savefig(Path(folder) / f"{name}.png", bbox_inches="tight")
