"""Plotly figures that explorers redraw at every turn of a control: answers, attention, confusion, protocols.

They take arrays and tables and compute nothing; all text is shown as text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mer_kit.labels import LabelSet
from mer_kit.plots.interactive import as_text, finish
from mer_kit.plots.style import FAINT, INK

MODALITIES = {"audio": "#CC79A7", "text": "#0072B2"}  # of a gate
ROLES = {"train": "#9AD0F5", "dev": "#E69F00", "test": "#D55E00", "mixed": "#000000", "unused": "#EEEEEE"}
CHOSEN, OTHERS = "#B2452B", "#0B6E8F"
WRITTEN = 0.08  # of a bar's length, from which its number fits into it


def shares(table: pd.DataFrame, *, colours: dict[str, str], title: str = "") -> go.Figure:
    """Numbers that sum to 1, such as probabilities or the weights of a gate: a bar a row, in its columns' colours."""
    names = [as_text(name) for name in table.index]
    figure = go.Figure([
        go.Bar(y=names, x=values, name=as_text(column), orientation="h", marker_color=colours[column], textangle=0,
               text=[f"{as_text(column)} {v:.2f}" if v > WRITTEN else "" for v in values], textposition="inside",
               insidetextanchor="middle", hovertemplate="%{y}: %{x:.3f}", textfont={"color": _on(colours[column])})
        for column, values in table.items()])
    figure.update_layout(barmode="stack", legend={
        "orientation": "h", "traceorder": "normal", "y": -0.35 / max(1, len(table) / 2)})
    figure.update_xaxes(range=(0, 1)).update_yaxes(autorange="reversed")
    return finish(figure, title, 130 + 44 * len(table)).update_layout(margin_l=200)


def word_looks(G_t: np.ndarray, *, words: Sequence[str], label_set: LabelSet, before: np.ndarray | None = None,
               symbol: str = "G_t (cosine)", title: str = "") -> go.Figure:
    """G_t (words, C): a bar a class on each word; before: the same values as they were, as marks on the bars."""
    C, place = len(label_set), np.arange(len(words))
    figure = go.Figure()
    for i, (name, tint) in enumerate(label_set.palette.items()):
        at = place + (i - (C - 1) / 2) * 0.8 / C
        figure.add_bar(x=at, y=G_t[:, i], width=0.8 / C, name=name, marker_color=tint, hovertemplate="%{y:.3f}")
    if before is not None:
        at = place[:, None] + (np.arange(C) - (C - 1) / 2) * 0.8 / C
        figure.add_scatter(x=at.ravel(), y=before.ravel(), mode="markers", name="as learnt", hovertemplate="%{y:.3f}",
                           marker={"symbol": "line-ew-open", "size": 9, "color": INK, "line_width": 2})
    figure.update_xaxes(tickvals=place, ticktext=[as_text(word) for word in words], tickangle=-25,
                        range=(-0.6, max(len(words), 1) - 0.4))
    figure.update_yaxes(title=symbol)
    above = {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 1, "xanchor": "right"}
    return finish(figure, title, 430).update_layout(legend=above, margin_b=100, margin_t=90)


def frame_looks(G_s: np.ndarray, *, frame_rate: float, label_set: LabelSet, symbol: str = "G_s (cosine)",
                title: str = "") -> go.Figure:
    """G_s (frames, C) over time, a line a class."""
    time = (np.arange(len(G_s)) + 0.5) / frame_rate
    figure = go.Figure([go.Scatter(x=time, y=G_s[:, i], name=name, mode="lines", line={"color": tint, "width": 2})
                        for i, (name, tint) in enumerate(label_set.palette.items())])
    figure.update_xaxes(title="time (s)").update_yaxes(title=symbol)
    return finish(figure, title, 300).update_layout(legend={"orientation": "h", "y": -0.35})


def confusion(matrix: pd.DataFrame, *, title: str = "") -> go.Figure:
    """Utterances by true class (rows) and predicted class (columns); colours are shares of a row."""
    counts = matrix.to_numpy()
    figure = go.Figure(go.Heatmap(
        z=counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), text=counts, texttemplate="%{text}",
        x=list(matrix.columns), y=list(matrix.index), colorscale="Blues", zmin=0, zmax=1, xgap=2, ygap=2,
        hovertemplate="%{y} taken for %{x}: %{text} (%{z:.0%})<extra></extra>", colorbar_title="share"))
    figure.update_xaxes(title="predicted").update_yaxes(title="truth", autorange="reversed")
    return finish(figure, title)


def protocol_scores(table: pd.DataFrame, *, metric: str, chosen: str, title: str = "") -> go.Figure:
    """Score of one model under each protocol, with its interval over runs; columns protocol, mean, low, high."""
    tints = [CHOSEN if name == chosen else OTHERS for name in table["protocol"]]
    mean, low, high = (100 * table[column] for column in ("mean", "low", "high"))
    figure = go.Figure(go.Scatter(
        x=mean, y=[as_text(name) for name in table["protocol"]], mode="markers+text", texttemplate="%{x:.1f}",
        textposition="top center", marker={"color": tints, "size": 13}, hovertemplate="%{y}: %{x:.2f} %<extra></extra>",
        error_x={"array": (high - mean).fillna(0), "arrayminus": (mean - low).fillna(0), "color": INK, "width": 5}))
    figure.update_xaxes(title=f"{metric} (%)", gridcolor=FAINT, showgrid=True)
    figure.update_yaxes(range=(len(table) - 0.6, -0.7))  # the first on top, with room for its number
    return finish(figure, title, 150 + 50 * len(table)).update_layout(margin_l=200)


def roles(table: pd.DataFrame, *, title: str = "") -> go.Figure:
    """What each group (columns, such as speakers) does in each fold (rows): `Protocol.roles`, told in words too."""
    numbers, tints = {role: i for i, role in enumerate(ROLES)}, list(ROLES.values())
    steps = np.repeat(np.arange(len(ROLES) + 1) / len(ROLES), 2)[1:-1]
    scale = list(zip(steps.tolist(), np.repeat(tints, 2).tolist(), strict=True))
    figure = go.Figure(go.Heatmap(
        z=table.map(numbers.get), text=table, texttemplate="%{text}", x=[as_text(str(c)) for c in table.columns],
        y=[as_text(str(row)) for row in table.index], colorscale=scale, zmin=-0.5, zmax=len(ROLES) - 0.5,
        showscale=False, xgap=2, ygap=2, hovertemplate="%{x} in fold %{y}: %{text}<extra></extra>"))
    figure.update_xaxes(title=as_text(str(table.columns.name)), type="category")
    figure.update_yaxes(title="fold", autorange="reversed", type="category")
    return finish(figure, title, 140 + 34 * len(table))




def _on(tint: str) -> str:
    """Black or white, whichever is read better on a colour."""
    red, green, blue = (int(tint[i : i + 2], 16) for i in (1, 3, 5))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 130 else "white"
