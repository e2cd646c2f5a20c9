"""What all explorers are: controls, what they change, and a picture that stands for both in a report."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from html import escape

import ipywidgets as w
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mer_kit.widgets.keyboard import Keyboard

WIDE = w.Layout(width="min(100%, 42em)")
TOLD = {"description_width": "7em"}


class Explorer(w.VBox):
    """Controls above what they change; where widgets cannot live, the figure that `twin` draws."""

    def __init__(self, controls: Sequence[w.Widget], shown: Sequence[w.Widget], twin: Callable[[], Figure],
                 named: str) -> None:
        """named: what it explores, for screen readers and in place of the picture."""
        self._twin, self._named = twin, named
        super().__init__([w.HBox(list(controls), layout=w.Layout(flex_flow="row wrap")), *shown, Keyboard()])
        self.add_class("mer-explorer")

    def still(self) -> Figure:
        """The twin, closed: a notebook shows it once, as the value of its cell."""
        figure = self._twin()
        plt.close(figure)
        return figure

    def _repr_mimebundle_(self, **kwargs) -> dict:
        file = io.BytesIO()
        self.still().savefig(file, format="png", bbox_inches="tight")
        picture = base64.b64encode(file.getvalue()).decode()
        static = f'<img alt="{escape(self._named)}" src="data:image/png;base64,{picture}">'
        return super()._repr_mimebundle_(**kwargs) | {"text/html": static}


def choice(name: str, options: Sequence, **more) -> w.Dropdown:
    """A labelled list to choose from, by mouse or by keyboard."""
    return w.Dropdown(options=options, description=name, style=TOLD, layout=WIDE, **more)
