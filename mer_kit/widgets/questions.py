"""Check-yourself questions that a widget marks; in a report, the answer folds out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from html import escape

import ipywidgets as w

from mer_kit.widgets.keyboard import Keyboard


class Question(w.VBox):
    """A question with one computed answer: a number, or one of several choices.

    >>> Question("How many classes?", 4).mark("4")
    True
    >>> Question("Which is lower?", "random", choices=["random", "session-out"]).mark("session-out")
    False

    answer: a number (marked right within `tolerance`), or one of `choices` (shown in an order that tells nothing).
    because: a sentence shown with the mark.
    """

    def __init__(self, text: str, answer: float | str, *, choices: Sequence[str] | None = None, tolerance: float = 0.0,
                 because: str = ""):
        self.text, self.answer, self.tolerance, self.because = text, answer, tolerance, because
        if choices is None:
            self.reply = w.Text(placeholder="a number, then Enter", description="answer",
                                tooltip=text, continuous_update=False)
        else:
            order = random.Random(text).sample(list(choices), len(choices))
            self.reply = w.Dropdown(options=["choose …", *order], description="answer", tooltip=text)
        self.verdict = w.HTML()
        self.reply.observe(self._show, "value")
        super().__init__([w.HTML(f"<b>{escape(text)}</b>"), self.reply, self.verdict, Keyboard()])
        self.add_class("mer-question")

    def mark(self, reply: str) -> bool:
        """Is this reply right? A reply that is no number is wrong where one is asked for."""
        if isinstance(self.answer, str):
            return reply == self.answer
        try:
            return abs(float(reply.replace(",", ".")) - self.answer) <= self.tolerance + 1e-9
        except ValueError:
            return False

    def _show(self, change: dict) -> None:
        if change["new"] in ("", "choose …"):
            self.verdict.value = ""
            return
        right = self.mark(change["new"])
        why = f" {escape(self.because)}" if right and self.because else ""
        self.verdict.value = f"<b>{'✓ right' if right else '✗ not yet'}</b>{why}"

    def _repr_mimebundle_(self, **kwargs) -> dict:
        shown = self.answer if isinstance(self.answer, str) else f"{self.answer:.4g}"
        static = (f"<details><summary><b>{escape(self.text)}</b></summary>"
                  f"<p>{escape(str(shown))}. {escape(self.because)}</p></details>")
        return super()._repr_mimebundle_(**kwargs) | {"text/html": static}
