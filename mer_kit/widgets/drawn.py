"""Figures on the page that follow the controls of an explorer."""

from __future__ import annotations

import ipywidgets as w
import plotly.graph_objects as go


class Drawn(w.VBox):
    """Plotly figures under one another. Those of a kind stay on the page and only move: a new one brings all of
    plotly.js, five megabytes, to the browser once more. Others make way, and leave the browser's memory too."""

    def draw(self, *figures: go.Figure) -> None:
        before = self.children
        if [_kind(figure) for figure in before] == [_kind(figure) for figure in figures]:
            for shown, figure in zip(before, figures, strict=True):
                shown.update(data=figure.data, layout=figure.layout, overwrite=True)
            return
        self.children = [go.FigureWidget(figure) for figure in figures]
        for figure in before:
            figure.close()


def _kind(figure: go.Figure) -> tuple[set, set]:
    """Kinds of traces, and what the layout sets: a layout that takes another's place does not unset anything."""
    return {trace.type for trace in figure.data}, set(figure.layout.to_plotly_json())
