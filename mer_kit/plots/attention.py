"""Where a model looks: attention along one utterance (LE-MER, Figure 4), tokens against frames, joint vectors."""

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
COSINES = ("$G_s$ (cosine)", "$G_t$ (cosine)")


def attention_in_time(of_frames: np.ndarray, of_words: np.ndarray, *, lines: Mapping[str, str], samples: np.ndarray,
                      words: Sequence[str], word_starts: Sequence[float], word_ends: Sequence[float],
                      frame_rate: float, symbols: tuple[str, str] = COSINES, truth: Mapping | None = None,
                      sample_rate: int = 16_000, title: str = "") -> Figure:
    """Values of frames (frames, n) over the waveform `samples`, and of words (words, n) under it, on one time axis.

    lines: the name and colour of each of the n. word_starts, word_ends: s. symbols: what the values of frames and of
    words are, with their unit. truth: a row of `Corpus.truth`, whose cues are drawn in: a coloured span in the voice, a
    coloured word.
    """
    figure, (voice, text) = plt.subplots(2, 1, figsize=(9, 5.2), sharex=True, height_ratios=(1.1, 1))
    _wave(voice, samples, sample_rate)
    edges = word_edges(word_starts, word_ends)
    for (name, tint), frames, steps in zip(lines.items(), of_frames.T, of_words.T, strict=True):
        voice.plot((np.arange(len(frames)) + 0.5) / frame_rate, frames, color=tint, linewidth=1.8, label=name)
        text.stairs(steps, edges, baseline=None, color=tint, linewidth=2.2)
    for ax, symbol in zip((voice, text), symbols, strict=True):
        ax.set_ylabel(symbol, parse_math=True)
        ax.margins(x=0, y=0.12)
    _words(text, words, edges, truth)
    if truth is not None and truth["voice_cue"]:
        _span(voice, truth)
    text.set(xlabel="time (s)", xlim=(0, max(edges[-1], len(samples) / sample_rate)))
    figure.legend(*voice.get_legend_handles_labels(), loc="outside lower left", ncols=len(lines), fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=12)
    return figure


def label_attention_maps(G_s: np.ndarray, G_t: np.ndarray, *, label_set: LabelSet, average: bool = False,
                         **where) -> Figure:
    """LE-MER's Figure 4: G_s (frames, C) and G_t (words, C), a line a class, by `attention_in_time` (`where`).

    average: one line, the mean over the classes, as the paper prints it.
    """
    if average:
        G_s, G_t = (G.mean(axis=1, keepdims=True) for G in (G_s, G_t))
    lines = {"mean over classes": INK} if average else label_set.palette
    return attention_in_time(G_s, G_t, lines=lines, **where)


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
        _mark_span(ax, truth)
        if ax is not panels[0]:
            figure.colorbar(drawn, ax=ax, label="weight of a frame")
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=12)
    return figure


def joint_maps(of_patches: np.ndarray, of_words: np.ndarray, *, samples: np.ndarray, words: Sequence[str],
               word_starts: Sequence[float], word_ends: Sequence[float], frame_rate: float,
               truth: Mapping | None = None, sample_rate: int = 16_000, title: str = "") -> Figure:
    """JFM's joint vectors against the mel and, under it, against the words, on one time axis: a row a vector.

    of_patches (steps, N, |v|), of_words (words, N, |v|): weights, block by block. frame_rate: steps a second. The rest
    as in `attention_in_time`.
    """
    _, blocks, joint = of_patches.shape
    rows, edges = blocks * joint, word_edges(word_starts, word_ends)
    figure, panels = plt.subplots(2, 1, figsize=(9, 2.4 + 0.36 * rows), sharex=True)
    steps = np.arange(len(of_patches) + 1) / frame_rate
    for ax, weights, places, of in zip(panels, (of_patches, of_words), (steps, edges), ("mel", "words"), strict=True):
        drawn = ax.pcolormesh(places, np.arange(rows + 1), weights.reshape(len(weights), rows).T, cmap="Blues", vmin=0,
                              vmax=max(weights.max(), 2 * weights.mean()))
        figure.colorbar(drawn, ax=ax, label="weight")
        ax.hlines(np.arange(1, blocks) * joint, *places[[0, -1]], color=INK, linewidth=1)
        ax.set_yticks(np.arange(rows) + 0.5, [f"{b}: v{j}" for b in range(1, blocks + 1) for j in range(1, joint + 1)],
                      fontsize=9)
        ax.set(ylabel=f"{of}, block: vector", ylim=(rows, 0))
    _mark_span(panels[0], truth)
    _words(panels[1], words, edges, truth, shaded=False)
    panels[1].set(xlabel="time (s)", xlim=(0, max(edges[-1], len(samples) / sample_rate)))
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=12)
    return figure


def _mark_span(ax: Axes, truth: Mapping | None) -> None:
    """The ends of the voice's cue, as dashed lines."""
    if truth is not None and truth["voice_cue"]:
        for edge in (truth["span_start"], truth["span_end"]):
            ax.axvline(edge, color=colour(truth["voice_cue"]), linewidth=1.6, linestyle="--")


def _wave(ax: Axes, samples: np.ndarray, sample_rate: int) -> None:
    """The waveform behind the lines, on a scale of its own."""
    behind = ax.twinx()
    behind.plot(np.arange(len(samples)) / sample_rate, samples, color=WAVE, linewidth=0.5)
    behind.set(yticks=[], ylim=np.array((-1.15, 1.15)) * max(np.abs(samples).max(), 1e-6))
    behind.spines[:].set_visible(False)
    ax.set_zorder(1)
    ax.patch.set_visible(False)


def word_edges(starts: Sequence[float], ends: Sequence[float]) -> np.ndarray:
    """Where words begin and the last one ends (words + 1,) s; words that start together share the time between them."""
    edges = np.array([*starts, ends[-1]], dtype=float)
    for start in np.unique(edges[:-1]):
        first, last = np.flatnonzero(edges[:-1] == start)[[0, -1]]
        edges[first : last + 2] = np.linspace(start, edges[last + 1], last - first + 2)
    return edges


def _words(ax: Axes, words: Sequence[str], edges: np.ndarray, truth: Mapping | None, shaded: bool = True) -> None:
    """The words above the axes, the cue among them in its emotion's colour, which shades its place too."""
    cue = truth["cue_tokens"] if truth is not None else ()
    for i, (word, start, end) in enumerate(zip(words, edges[:-1], edges[1:], strict=True)):
        ax.axvline(start, color=FAINT, linewidth=0.8, zorder=0)
        if i in cue and shaded:
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
