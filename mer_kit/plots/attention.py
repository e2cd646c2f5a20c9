"""Where a model looks: label attention along one utterance (LE-MER, Figure 4), and tokens against frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.patheffects as outline
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mer_kit.labels import LabelSet, colour
from mer_kit.plots.style import FAINT, INK

WAVE = "#C4C4C4"


def label_attention_maps(G_s: np.ndarray, G_t: np.ndarray, *, samples: np.ndarray, words: Sequence[str],
                         word_starts: Sequence[float], word_ends: Sequence[float], frame_rate: float,
                         label_set: LabelSet, average: bool = False, truth: Mapping | None = None,
                         sample_rate: int = 16_000, title: str = "") -> Figure:
    """G_s (frames, C) over the waveform `samples` (n,), and under it G_t (words, C) on the words, on one time axis.

    word_starts, word_ends: s. average: one line, the mean over the classes, as the paper prints it, instead of one a
    class. truth: a row of `Corpus.truth`, whose cues are drawn in: a coloured span in the voice, a coloured word.
    """
    figure, (voice, text) = plt.subplots(2, 1, figsize=(9, 5.2), sharex=True, height_ratios=(1.1, 1))
    _wave(voice, samples, sample_rate)
    edges = _edges(word_starts, word_ends)
    for name, tint, of_frames, of_words in _lines(G_s, G_t, label_set, average):
        voice.plot((np.arange(len(of_frames)) + 0.5) / frame_rate, of_frames, color=tint, linewidth=1.8, label=name)
        text.stairs(of_words, edges, baseline=None, color=tint, linewidth=2.2)
    for ax, symbol in ((voice, "$G_s$"), (text, "$G_t$")):
        ax.set_ylabel(f"{symbol} (cosine)", parse_math=True)
        ax.margins(x=0, y=0.12)
    _words(text, words, edges, truth)
    if truth is not None and truth["voice_cue"]:
        _span(voice, truth)
    text.set(xlabel="time (s)", xlim=(0, max(edges[-1], len(samples) / sample_rate)))
    figure.legend(*voice.get_legend_handles_labels(), loc="outside lower left", ncols=G_s.shape[1] + 1, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=12)
    return figure


def _lines(G_s: np.ndarray, G_t: np.ndarray, label_set: LabelSet, average: bool) -> list[tuple]:
    """(name, colour, values of frames, values of words) of every line."""
    if average:
        return [("mean over classes", INK, G_s.mean(axis=1), G_t.mean(axis=1))]
    return [(c, colour(c), G_s[:, i], G_t[:, i]) for i, c in enumerate(label_set.classes)]


def token_frame_map(A_r: np.ndarray, A_l: np.ndarray, *, words: Sequence[str], frame_rate: float,
                    truth: Mapping | None = None, title: str = "") -> Figure:
    """A_r and A_l (tokens, frames) side by side on one scale, and A_r - A_l.

    words: the word of each token. truth: a row of `Corpus.truth`; the span of its voice cue is drawn in.
    """
    figure, panels = plt.subplots(1, 3, figsize=(12, 1.6 + 0.3 * len(words)), sharey=True)
    seconds, most = A_r.shape[1] / frame_rate, max(A_r.max(), A_l.max())
    apart = np.abs(A_r - A_l).max()
    for ax, values, name, cmap, limits in zip(panels, (A_r, A_l, A_r - A_l), ("$A_r$", "$A_l$", "$A_r - A_l$"),
                                              ("Blues", "Blues", "RdBu_r"),
                                              ((0, most), (0, most), (-apart, apart)), strict=True):
        drawn = ax.imshow(values, aspect="auto", cmap=cmap, vmin=limits[0], vmax=limits[1], interpolation="nearest",
                          extent=(0, seconds, len(words) - 0.5, -0.5))
        ax.set_title(name, parse_math=True)
        ax.set(xlabel="time (s)", yticks=range(len(words)), yticklabels=words)
        if truth is not None and truth["voice_cue"]:
            for edge in (truth["span_start"], truth["span_end"]):
                ax.axvline(edge, color=colour(truth["voice_cue"]), linewidth=1.6, linestyle="--")
        if ax is not panels[0]:
            figure.colorbar(drawn, ax=ax, label="weight of a frame")
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=12)
    return figure


def _wave(ax: Axes, samples: np.ndarray, sample_rate: int) -> None:
    """The waveform behind the lines, on a scale of its own."""
    behind = ax.twinx()
    behind.plot(np.arange(len(samples)) / sample_rate, samples, color=WAVE, linewidth=0.5)
    behind.set(yticks=[], ylim=np.array((-1.15, 1.15)) * max(np.abs(samples).max(), 1e-6))
    behind.spines[:].set_visible(False)
    ax.set_zorder(1)
    ax.patch.set_visible(False)


def _edges(starts: Sequence[float], ends: Sequence[float]) -> np.ndarray:
    """Where words begin and the last one ends (words + 1,) s; words that start together share the time between them."""
    edges = np.array([*starts, ends[-1]], dtype=float)
    for start in np.unique(edges[:-1]):
        first, last = np.flatnonzero(edges[:-1] == start)[[0, -1]]
        edges[first : last + 2] = np.linspace(start, edges[last + 1], last - first + 2)
    return edges


def _words(ax: Axes, words: Sequence[str], edges: np.ndarray, truth: Mapping | None) -> None:
    """The words above the axes, the cue among them in its emotion's colour."""
    cue = truth["cue_tokens"] if truth is not None else ()
    for i, (word, start, end) in enumerate(zip(words, edges[:-1], edges[1:], strict=True)):
        ax.axvline(start, color=FAINT, linewidth=0.8, zorder=0)
        if i in cue:
            ax.axvspan(start, end, color=colour(truth["text_cue"]), alpha=0.2, linewidth=0)
        written = ax.text((start + end) / 2, 1.02, word, transform=ax.get_xaxis_transform(), ha="left", va="bottom",
                          rotation=25, rotation_mode="anchor", fontsize=10, weight="bold" if i in cue else "normal",
                          color=colour(truth["text_cue"]) if i in cue else INK)
        written.set_path_effects([outline.withStroke(linewidth=2, foreground="white")])


def _span(ax: Axes, truth: Mapping) -> None:
    """The seconds of the voice's cue."""
    tint, span = colour(truth["voice_cue"]), (truth["span_start"], truth["span_end"])
    ax.axvspan(*span, color=tint, alpha=0.2, linewidth=0)
    ax.text(sum(span) / 2, 1.02, f"voice: {truth['voice_cue']}", transform=ax.get_xaxis_transform(), ha="center",
            va="bottom", fontsize=10, weight="bold", color=tint)
