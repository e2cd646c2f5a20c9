"""Tonal labels (LE-MER, Figure 1, lower half): which sounds are key to a class, and where they are heard."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mer_kit.labels import colour
from mer_kit.plots.style import FAINT, INK, axes, legend_below


def key_code_rates(rates: pd.DataFrame, *, limit: float = 3.0, title: str = "", ax: Axes | None = None) -> Axes:
    """How much more often than on average each class holds each key code; colours run from -limit to limit.

    rates: log2 of a class's share of the code over the average share, rows classes, columns (class, code): the class
    that the code is key to, and the code. Each class's own block is framed.
    """
    ax = axes(ax, 10, 1.4 + 0.4 * len(rates))
    sns.heatmap(rates.clip(-limit, limit), vmin=-limit, vmax=limit, cmap="RdBu_r", xticklabels=False,
                cbar_kws={"label": "log2 of share / average"}, ax=ax)
    owners, classes = rates.columns.get_level_values(0), list(rates.index)
    for owner in dict.fromkeys(owners):
        places = np.flatnonzero(owners == owner)
        frame = (places[0], classes.index(owner)), len(places), 1
        ax.add_patch(Rectangle(*frame, fill=False, edgecolor=INK, linewidth=2, clip_on=False))
        ax.text(places.mean() + 0.5, len(classes) + 0.15, f"key to {owner}", ha="center", va="top", fontsize=9)
    ax.set(xlabel="", ylabel="frames of", title=title)
    ax.tick_params(axis="y", rotation=0)
    return ax


def key_frames(samples: np.ndarray, bands: np.ndarray, marks: np.ndarray, *, sample_rate: int, label: str,
               truth: Mapping | None = None, title: str = "") -> Figure:
    """Key frames of one utterance, shaded on its waveform and underlined below its mel bands.

    samples (n,) at `sample_rate` Hz; bands (frames, bands), over the whole utterance; marks (frames',) bool, likewise.
    truth: voice_cue, span_start, span_end (s): the span of the voice's cue is drawn as a dashed frame.
    """
    seconds = len(samples) / sample_rate
    seconds = len(samples) / sample_rate
    figure, (wave, mel) = plt.subplots(2, 1, figsize=(9, 4.2), sharex=True, height_ratios=(1, 1.3))
    top, height, width = 1.1 * max(np.abs(samples).max(), 1e-6), bands.shape[1], seconds / len(marks)
    keys = [(i * width, width) for i in np.flatnonzero(marks)]
    wave.broken_barh(keys, (-top, 2 * top), color=colour(label), alpha=0.4, linewidth=0, label=f"key to {label}")
    wave.plot(np.arange(len(samples)) / sample_rate, samples, color=INK, linewidth=0.4)
    mel.imshow(bands.T, origin="lower", aspect="auto", cmap="Greys", vmin=-2, vmax=2.5, extent=(0, seconds, 0, height))
    mel.broken_barh(keys, (-0.1 * height, 0.08 * height), color=colour(label), linewidth=0)
    if truth is not None and truth["voice_cue"]:
        for panel, (low, high) in ((wave, (-top, top)), (mel, (-0.11 * height, height))):
            panel.add_patch(Rectangle((truth["span_start"], low), truth["span_end"] - truth["span_start"], high - low,
                                      fill=False, edgecolor=INK, linestyle="--", linewidth=1.5,
                                      label=f"the voice's cue: {truth['voice_cue']}"))
    wave.set(yticks=[], ylim=(-top, top), xlim=(0, seconds), title=title)
    wave.spines["left"].set_visible(False)
    mel.set(xlabel="time (s)", ylabel="mel band", ylim=(-0.11 * height, height))
    legend_below(wave)
    return figure


def shares_in_cue(table: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Share of key frames that lie in the voice's cue, with its interval, and the share by chance, for each class.

    Columns label, mean, low, high, chance; shares from 0 to 1.
    """
    ax = axes(ax, height=1.6 + 0.5 * len(table))
    for place, row in enumerate(table.itertuples()):
        ax.plot((row.low, row.high), (place, place), color=colour(row.label), linewidth=2.5)
        ax.plot(row.mean, place, "D", color=colour(row.label), markersize=8)
    ax.plot(table["chance"], range(len(table)), "|", color=INK, markersize=22, markeredgewidth=2, label="by chance")
    ax.set(xlabel="share of key frames in the voice's cue", yticks=range(len(table)), yticklabels=table["label"],
           ylim=(len(table) - 0.5, -0.5), xlim=(0, 1), title=title)
    ax.grid(axis="x", color=FAINT, linewidth=0.5)
    legend_below(ax)
    return ax


def shares_by_top_k(table: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """The same over K, the number of key codes a class: a line with its band for each kind of codes.

    Columns codes, top_k, mean, low, high, chance; chance is dashed.
    """
    ax = axes(ax, 7.5, 4)
    for tint, (codes, rows) in zip(sns.color_palette("dark", table["codes"].nunique()),
                                   table.groupby("codes", sort=False), strict=True):
        ax.plot(rows["top_k"], rows["mean"], marker="o", color=tint, label=codes)
        ax.fill_between(rows["top_k"], rows["low"], rows["high"], color=tint, alpha=0.15, linewidth=0)
        ax.plot(rows["top_k"], rows["chance"], "--", color=tint, linewidth=1)
    ax.set_xscale("log")
    ax.set_xticks(sorted(set(table["top_k"])), [f"{k}" for k in sorted(set(table["top_k"]))])
    ax.minorticks_off()
    ax.set(xlabel="K, key codes a class", ylabel="share in the voice's cue", ylim=(0, 1), title=title)
    ax.grid(axis="y", color=FAINT, linewidth=0.5)
    legend_below(ax)
    return ax
