"""Where models look in an utterance, to choose, to see and to hear."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from html import escape

import ipywidgets as w
import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure

from mer_kit import plots
from mer_kit.corpora.audio import AudioReader
from mer_kit.corpora.corpus import Corpus
from mer_kit.errors import BadInput
from mer_kit.plots import interactive_maps
from mer_kit.training.looking import Look, look
from mer_kit.training.restore import Trained
from mer_kit.widgets.clips import media_allowed, source_of
from mer_kit.widgets.drawn import Drawn
from mer_kit.widgets.explorer import TOLD, WIDE, Explorer, choice
from mer_kit.widgets.player import Player

ALL = "all"


def attention_explorer(models: Mapping[str, Trained], corpus: Corpus, utterance: str = "", *,
                       utterances: Iterable[str] = (), interactive: bool = True,
                       embed_media: bool = False) -> AttentionExplorer | Figure:
    """Choose a model, an utterance, a label; see where it looks on one time axis, and hear it from where you click.

    models: name -> a trained model of `corpus`. utterances: those to choose from; none: the test part of the first
    model's fold. utterance: shown first; empty: the first of them. interactive: False gives the figure of the first
    choice. Words and sound of a licensed corpus are shown only with embed_media. Raises BadInput without a model.
    """
    if not models:
        raise BadInput("got no model to explore; expected a name and a trained model, such as restored(...), or more")
    explorer = AttentionExplorer(models, corpus, utterance, utterances, embed_media)
    return explorer if interactive else explorer.figure()


class AttentionExplorer(Explorer):
    """`attention_explorer`: controls `model`, `utterance`, `line`, `start`; `map` and `told` show `look`."""

    def __init__(self, models: Mapping[str, Trained], corpus: Corpus, utterance: str, utterances: Iterable[str],
                 embed_media: bool) -> None:
        self.models, self.corpus, self.may_show = models, corpus, media_allowed(corpus, embed_media)
        self._looks: dict[tuple[str, str], Look] = {}
        self._click: object = self  # the last one on the map
        first, rows = next(iter(models.values())), corpus.table.set_index("id")
        ids = [u for u in (utterances or first.fold.test) if str(rows.at[u, "text"] or "").split()]
        utterance = utterance or ids[0]
        named = [(self._named_as(u), u) for u in dict.fromkeys([utterance, *ids])]
        self.model = choice("model", list(models))
        self.utterance = choice("utterance", sorted(named, key=lambda pair: pair[1]), value=utterance)
        self.line = choice("label", [ALL])
        self.start = w.FloatSlider(0, min=0, max=1, step=0.05, description="hear from (s)", style=TOLD, layout=WIDE,
                                   continuous_update=False)
        self.button = w.Button(description="play from there", icon="play", disabled=not self.may_show)
        self.player, self.map, self.told = Player(), Drawn(), w.HTML()
        super().__init__([self.model, self.utterance, self.line, self.start, self.button],
                         [self.map, self.player, self.told], self.figure, "attention along one utterance")
        self.model.observe(self._choose, "value")
        self.utterance.observe(self._choose, "value")
        self.line.observe(self._draw, "value")
        w.jsdlink((self.start, "value"), (self.player, "start"))  # in the browser, ahead of the kernel's turn
        self.button.on_click(lambda _: self.player.play())
        self._choose()

    @property
    def look(self) -> Look:
        """Where the chosen model looks in the chosen utterance, by the chosen line or all of them."""
        found, of = self._found(), self.line.value
        if of == ALL:
            return found
        i = list(found.lines).index(of)
        return replace(found, of_frames=found.of_frames[:, [i]], of_words=found.of_words[:, [i]],
                       lines={of: found.lines[of]})

    def _found(self) -> Look:
        key = (self.model.value, self.utterance.value)
        if key not in self._looks:
            self._looks[key] = look(self.models[key[0]], key[1], show_text=self.may_show)
        return self._looks[key]

    def figure(self) -> Figure:
        """The static twin of what is shown."""
        return plots.attention_in_time(**vars(self.look))

    def maxima(self) -> list[tuple[str, str, float]]:
        """Of each line shown: its name, the word and the second (the middle of the frame) where it is largest."""
        shown = self.look
        return [(name, shown.words[np.nanargmax(words)], (frames.argmax() + 0.5) / shown.frame_rate)
                for name, frames, words in zip(shown.lines, shown.of_frames.T, shown.of_words.T, strict=True)]

    def _named_as(self, utterance: str) -> str:
        """An utterance in the list: its id and label, and its words where they may be shown."""
        u = self.corpus[utterance]
        return " · ".join([u.id, u.label or "history", *[u.text[:50]] * self.may_show])

    def _choose(self, _: dict | None = None) -> None:
        """Another model or utterance: its lines, its sound, and the drawing."""
        u, found, of = self.corpus[self.utterance.value], self._found(), self.line.value
        if self.may_show and self.player.label != u.id:
            self.player.source, self.player.label = source_of(u), u.id
        self.line.unobserve(self._draw, "value")
        self.line.options = [ALL, *found.lines]
        self.line.value = of if of in found.lines else ALL
        self.line.observe(self._draw, "value")
        self.start.max = round(len(found.samples) / AudioReader.sample_rate, 2)
        self._draw()

    def _draw(self, _: dict | None = None) -> None:
        self.map.draw(interactive_maps.attention_in_time(**vars(self.look)))
        for trace in self.map.children[0].data:
            trace.on_click(self._clicked)
        self.told.value = "Largest: " + "; ".join(
            f"<b>{escape(name)}</b> on “{escape(word)}” and at {second:.2f} s" for name, word, second in self.maxima())

    def _clicked(self, trace: go.Scatter, clicked, state) -> None:
        """One click tells every curve, those with points under the pointer have xs: heard once."""
        if clicked.xs and self.may_show and state is not self._click:
            self._click = state
            self.start.value = min(self.start.max, max(0.0, clicked.xs[0]))
            self.player.play(self.start.value)
