"""Attention and embeddings to click on, in plotly, with the arguments of their static figures; text stays text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mer_kit.labels import LabelSet, colour
from mer_kit.plots.attention import COSINES, WAVE, word_edges
from mer_kit.plots.interactive import as_text, finish
from mer_kit.plots.style import FAINT, INK

MARKERS = ("circle", "square", "diamond", "triangle-down", "triangle-up", "cross", "x")  # as in static figures
WAVE_POINTS = 1200  # drawn of a waveform
STEP_MS = 700  # of an animation


def attention_in_time(of_frames: np.ndarray, of_words: np.ndarray, *, lines: Mapping[str, str], samples: np.ndarray,
                      words: Sequence[str], word_starts: Sequence[float], word_ends: Sequence[float],
                      frame_rate: float, symbols: tuple[str, str] = COSINES, truth: Mapping | None = None,
                      sample_rate: int = 16_000, title: str = "") -> go.Figure:
    """`plots.attention_in_time` to hover over and to click on: every click has a time (x, in s)."""
    figure = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.16, specs=[[{"secondary_y": True}], [{}]])
    edges = word_edges(word_starts, word_ends)
    seconds = max(edges[-1], len(samples) / sample_rate)
    figure.add_scatter(**_envelope(samples, sample_rate), secondary_y=True, row=1, col=1, mode="lines", name="sound",
                       line={"color": WAVE, "width": 1}, showlegend=False, hoverinfo="skip")
    for (name, tint), frames, steps in zip(lines.items(), of_frames.T, of_words.T, strict=True):
        of = {"name": name, "legendgroup": name, "line": {"color": tint, "width": 2}, "mode": "lines", "col": 1}
        time = (np.arange(len(frames)) + 0.5) / frame_rate
        figure.add_scatter(x=time, y=frames, row=1, hovertemplate="%{x:.2f} s: %{y:.3f}", **of)
        of["line"] = of["line"] | {"shape": "hv"}
        figure.add_scatter(x=edges, y=[*steps, steps[-1]], row=2, showlegend=False,
                           customdata=_said([*words, words[-1]]), hovertemplate="%{customdata}: %{y:.3f}", **of)
    figure.update_layout(**_places(words, edges, truth))
    for row, symbol in enumerate(symbols, 1):
        figure.update_yaxes(title_text=symbol.replace("$", ""), row=row, col=1, secondary_y=False if row == 1 else None)
    figure.update_yaxes(visible=False, range=_around(samples), row=1, col=1, secondary_y=True)
    figure.update_xaxes(range=(0, seconds), showticklabels=True)
    figure.update_xaxes(title_text="time (s); click to hear it from there", row=2)
    return finish(figure, title, 520).update_layout(hovermode="x", legend={"orientation": "h", "y": -0.18})


def points(table: pd.DataFrame, *, label_set: LabelSet, label_points: np.ndarray | None = None,
           title: str = "") -> go.Figure:
    """Utterances at their places, by class, to hover over and to click on; stars are label embeddings.

    table: columns x, y, label, id, and `told`, a text that hover shows. label_points: (C, 2). A point's customdata
    begins with its utterance.
    """
    figure = go.Figure()
    for marker, (name, tint) in zip(MARKERS, label_set.palette.items(), strict=False):
        own = table[table["label"] == name]
        figure.add_scatter(
            x=own["x"], y=own["y"], mode="markers", name=name, marker={
                "color": tint, "symbol": marker, "size": 8, "line": {"color": "white", "width": 0.5}},
            customdata=list(zip(own["id"], _said(own["told"]), strict=True)), hovertemplate="%{customdata[1]}<extra>"
            + name + "</extra>")
    if label_points is not None:
        figure.add_scatter(
            x=label_points[:, 0], y=label_points[:, 1], mode="markers+text", name="labels", text=label_set.classes,
            textposition="top center", textfont={"size": 14, "color": INK},
            hovertemplate="label %{text}<extra></extra>",
            marker={"color": list(label_set.palette.values()), "symbol": "star", "size": 18,
                    "line": {"color": INK, "width": 1.5}})
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    return finish(figure, title, 520)


def label_paths(paths: Mapping[str, np.ndarray], *, label_set: LabelSet, title: str = "") -> go.Figure:
    """`plots.label_paths` as an animation: a frame an epoch, a panel a system, each label with its way so far.

    paths: system -> (1 + epochs, C, 2), on one plane.
    """
    figure = make_subplots(1, len(paths), subplot_titles=[as_text(name) for name in paths], shared_yaxes=True)
    for column, way in enumerate(paths.values(), 1):
        for trace in _ways(way, 0, label_set, showlegend=column == 1):
            figure.add_trace(trace, 1, column)
    epochs = max(map(len, paths.values()))
    figure.frames = [go.Frame(name=str(epoch), data=[
        trace for way in paths.values() for trace in _ways(way, epoch, label_set)]) for epoch in range(epochs)]
    everywhere = np.concatenate([way.reshape(-1, 2) for way in paths.values()])
    for update, values in zip((figure.update_xaxes, figure.update_yaxes), everywhere.T, strict=True):
        room = 0.12 * (np.ptp(values) or 1.0)
        update(range=(values.min() - room, values.max() + room), showticklabels=False, ticks="")
    return finish(figure, title, 460).update_layout(**_player(epochs), margin_b=110)


def _ways(way: np.ndarray, epoch: int, label_set: LabelSet, **more) -> list[go.Scatter]:
    """Each label's way up to an epoch, its last place a star."""
    so_far = way[: epoch + 1]
    return [go.Scatter(x=so_far[:, i, 0], y=so_far[:, i, 1], name=name, mode="lines+markers", legendgroup=name,
                       line={"color": tint}, marker={
                           "size": [4] * (len(so_far) - 1) + [15], "opacity": 1,
                           "symbol": ["circle"] * (len(so_far) - 1) + ["star"]}, **more)
            for i, (name, tint) in enumerate(label_set.palette.items())]


def _player(epochs: int) -> dict:
    """A button that plays the frames, one that stops, and a slider over the epochs."""
    show = {"frame": {"duration": STEP_MS, "redraw": True}, "transition": {"duration": STEP_MS // 2}}
    stop = {"frame": {"duration": 0, "redraw": True}, "mode": "immediate"}
    buttons = [{"label": "play", "method": "animate", "args": [None, {**show, "fromcurrent": True}]},
               {"label": "stop", "method": "animate", "args": [[None], stop]}]
    steps = [{"label": str(epoch), "method": "animate", "args": [[str(epoch)], stop]} for epoch in range(epochs)]
    return {"updatemenus": [{"type": "buttons", "direction": "left", "buttons": buttons, "x": 0, "y": -0.12,
                             "xanchor": "left", "yanchor": "top"}],
            "sliders": [{"steps": steps, "currentvalue": {"prefix": "epoch "}, "x": 0.25, "len": 0.75, "y": -0.02}]}


def _envelope(samples: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
    """Lowest and highest of every stretch of a waveform, x (s) and y."""
    stretch = max(1, 2 * len(samples) // WAVE_POINTS)
    cut = np.pad(samples, (0, -len(samples) % stretch)).reshape(-1, stretch)
    x = np.repeat(np.arange(len(cut)) * stretch / sample_rate, 2)
    return {"x": x, "y": np.stack([cut.min(axis=1), cut.max(axis=1)], axis=1).ravel()}


def _around(samples: np.ndarray) -> tuple[float, float]:
    loudest = 1.15 * max(float(np.abs(samples).max()), 1e-6)
    return -loudest, loudest


def _places(words: Sequence[str], edges: np.ndarray, truth: Mapping | None) -> dict[str, list[dict]]:
    """Word boundaries, words above the lower panel, and the cues, as a layout's shapes and annotations."""
    cue, shapes, said = truth["cue_tokens"] if truth is not None else (), [], []
    for i, (word, start, end) in enumerate(zip(words, edges[:-1], edges[1:], strict=True)):
        tint = colour(truth["text_cue"]) if i in cue else INK
        shapes.append(_span(start, end, tint, "2", "y3") if i in cue else
                      {"type": "line", "x0": start, "x1": start, "y0": 0, "y1": 1, "xref": "x2", "yref": "y3 domain",
                       "line": {"color": FAINT, "width": 1}, "layer": "below"})
        said.append(_above((start + end) / 2, as_text(word), tint, "x2", "y3", textangle=-25, xanchor="left"))
    if truth is not None and truth["voice_cue"]:
        tint, span = colour(truth["voice_cue"]), (truth["span_start"], truth["span_end"])
        shapes.append(_span(*span, tint, "", "y"))
        said.append(_above(sum(span) / 2, f"voice: {truth['voice_cue']}", tint, "x", "y"))
    return {"shapes": shapes, "annotations": said}


def _span(start: float, end: float, tint: str, axis: str, of: str) -> dict:
    return {"type": "rect", "x0": start, "x1": end, "y0": 0, "y1": 1, "xref": f"x{axis}", "yref": f"{of} domain",
            "fillcolor": tint, "opacity": 0.2, "line": {"width": 0}, "layer": "below"}


def _above(x: float, text: str, tint: str, xref: str, of: str, **more) -> dict:
    return {"x": x, "y": 1.02, "xref": xref, "yref": f"{of} domain", "text": text if tint == INK else f"<b>{text}</b>",
            "showarrow": False, "yanchor": "bottom", "font": {"color": tint, "size": 13}, **more}


def _said(texts: Sequence[str]) -> list[str]:
    """Texts whose markup hover shows as text."""
    return [as_text(text) for text in texts]
