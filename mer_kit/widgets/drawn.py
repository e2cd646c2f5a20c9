"""Figures on the page that are drawn anew at each turn of a control."""

from __future__ import annotations

import ipywidgets as w
import plotly.graph_objects as go


class Drawn(w.VBox):
    """Plotly figures under one another; those that make way are taken from the browser's memory too."""

    def draw(self, *figures: go.Figure) -> None:
        before, self.children = self.children, [go.FigureWidget(figure) for figure in figures]
        for figure in before:
            figure.close()
