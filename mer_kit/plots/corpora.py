"""Corpora, protocols and what can be reached on them."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.patheffects as outline
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from mer_kit.labels import LabelSet, colour
from mer_kit.plots.style import FAINT, INK, axes, legend_below

PART_COLOURS = {"unused": "#F4F4F4", "train": "#BFD3E6", "dev": "#F2C879", "test": "#B2452B", "mixed": "#C9B6D9"}


def class_counts(table: pd.DataFrame, *, by: str, label_set: LabelSet, title: str = "", ax: Axes | None = None) -> Axes:
    """Utterances of each class, stacked, for every value of column `by` ("session", "split", "speaker")."""
    counts = table.groupby([by, "label"]).size().unstack(fill_value=0).reindex(columns=label_set.classes, fill_value=0)
    ax = axes(ax, height=1.2 + 0.42 * len(counts))
    counts.plot.barh(stacked=True, color=label_set.palette, width=0.8, ax=ax)
    ax.invert_yaxis()
    ax.set(xlabel="utterances", ylabel=by, title=title)
    legend_below(ax)
    return ax


def durations(table: pd.DataFrame, *, label_set: LabelSet, title: str = "", ax: Axes | None = None) -> Axes:
    """How long the utterances of each class last; `table` has columns label and seconds."""
    ax = axes(ax, height=1.0 + 0.5 * len(label_set))
    sns.boxplot(table, x="seconds", y="label", order=label_set.classes, hue="label", palette=label_set.palette,
                width=0.6, fliersize=2, linewidth=1, legend=False, ax=ax)
    if table["seconds"].max() > 20 * max(table["seconds"].median(), 1e-9):
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(lambda seconds, _: f"{seconds:g}")
    ax.set(xlabel="duration (s)", ylabel="", title=title)
    return ax


def transitions(shares: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """P(label of the next turn | label of this turn); rows sum to one."""
    ax = axes(ax, 5.6, 4.6)
    sns.heatmap(shares, vmin=0, vmax=1, cmap="Blues", annot=True, fmt=".2f", linewidths=0.5, square=True,
                cbar_kws={"label": "probability"}, ax=ax)
    ax.set(xlabel="emotion of the next turn", ylabel="emotion of this turn", title=title)
    return ax


def fold_map(parts: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Which part each group of utterances plays in each fold: rows folds, columns groups, cells "train", "dev", ..."""
    ax = axes(ax, 2 + 0.8 * parts.shape[1], 1.4 + 0.42 * parts.shape[0])
    names = list(PART_COLOURS)
    sns.heatmap(parts.map(names.index), vmin=0, vmax=len(names) - 1, cmap=ListedColormap(list(PART_COLOURS.values())),
                annot=parts, fmt="", annot_kws={"fontsize": 9, "color": INK}, cbar=False, linewidths=2, ax=ax)
    for text in ax.texts:
        text.set_color("white" if text.get_text() == "test" else INK)
    ax.set(xlabel=parts.columns.name, ylabel="fold", title=title)
    ax.tick_params(left=False, bottom=False)
    ax.tick_params(axis="y", rotation=0)
    return ax


def scores(table: pd.DataFrame, *, x: str, y: str, hue: str | None = None, chance: float | None = None,
           title: str = "", ax: Axes | None = None) -> Axes:
    """One dot a fold and the mean with its 95 % interval, for every system in column `y`; `x` is a score in 0 .. 1."""
    ax = axes(ax, height=1.2 + 0.55 * table[y].nunique() * (table[hue].nunique() if hue else 1))
    palette = "dark" if hue else None
    dodge = 0.4 if hue and table[hue].nunique() > 1 else False
    sns.stripplot(table, x=x, y=y, hue=hue, dodge=bool(dodge), alpha=0.4, size=5, jitter=False, palette=palette,
                  color=None if hue else INK, legend=False, ax=ax)
    sns.pointplot(table, x=x, y=y, hue=hue, dodge=dodge, errorbar=("ci", 95), seed=0,
                  linestyle="none", marker="D", markersize=6, palette=palette, color=None if hue else INK, ax=ax)
    if chance is not None:
        ax.axvline(chance, color=FAINT, linestyle="--", zorder=0)
        ax.annotate("chance", (chance, 0.01), xycoords=("data", "axes fraction"), fontsize=9, rotation=90, va="bottom")
    ax.set(ylabel="", title=title)
    ax.grid(axis="x", color=FAINT, linewidth=0.5)
    if hue:
        legend_below(ax, columns=1)
    return ax


def ceilings(table: pd.DataFrame, *, reached: Mapping[str, float] | None = None, title: str = "",
             ax: Axes | None = None) -> Axes:
    """What an ideal observer can reach (bars; columns now, history, ceiling, chance), and what was reached without
    history (crosses, by the name of the inputs)."""
    ax = axes(ax, 8, 4.2)
    sns.barplot(table, x="now", y="ceiling", hue="history", palette="Blues", edgecolor=INK, linewidth=0.6, ax=ax)
    for bars in ax.containers:
        ax.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
    ax.axhline(table["chance"].iloc[0], color=INK, linestyle="--", linewidth=1, label="chance")
    places = {now: i for i, now in enumerate(table["now"].unique())}
    if reached:
        offset = ax.containers[0][0].get_x() + ax.containers[0][0].get_width() / 2
        ax.scatter([places[n] + offset for n in reached], list(reached.values()), marker="X", s=70, color="#B2452B",
                   edgecolor="white", zorder=3, label="reached by linear probes")
    ax.set(xlabel="what is seen of the turn itself", ylabel="accuracy", ylim=(0, 1.02), title=title)
    legend_below(ax, title="seen of former turns")
    return ax


def utterance(samples: np.ndarray, *, sample_rate: int, words: list[str], truth: Mapping, title: str = "",
              ax: Axes | None = None) -> Axes:
    """A waveform (n,), its words, the cue among them in its emotion's colour, and the span of the voice's cue.

    truth: a row of `Corpus.truth`: text_cue, cue_tokens, voice_cue, span_start, span_end, word_starts, word_ends (s).
    """
    ax = axes(ax, 9, 2.6)
    time = np.arange(len(samples)) / sample_rate
    ax.plot(time, samples, color="#7A7A7A", linewidth=0.5)
    top = 1.15 * max(np.abs(samples).max(), 1e-6)
    if truth["voice_cue"]:
        span = truth["span_start"], truth["span_end"]
        ax.axvspan(*span, color=colour(truth["voice_cue"]), alpha=0.25, linewidth=0)
        ax.text(sum(span) / 2, -top, f"voice: {truth['voice_cue']}", ha="center", va="bottom", fontsize=9, color=INK)
    for i, (word, start, end) in enumerate(zip(words, truth["word_starts"], truth["word_ends"], strict=True)):
        ax.axvline(start, color=FAINT, linewidth=0.8, zorder=0)
        cue = i in truth["cue_tokens"]
        text = ax.text((start + end) / 2, top, word, ha="center", va="bottom", fontsize=10 if cue else 9,
                       weight="bold" if cue else "normal", color=colour(truth["text_cue"]) if cue else INK)
        text.set_path_effects([outline.withStroke(linewidth=2, foreground="white")])
    ax.set(xlabel="time (s)", yticks=[], ylim=(-1.1 * top, 1.1 * top), xlim=(0, time[-1]))
    ax.spines["left"].set_visible(False)
    ax.set_title(title, pad=24)
    return ax
