"""Utterances as points of a space, to choose, to read and to hear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import ipywidgets as w
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure

from mer_kit import plots
from mer_kit.corpora.corpus import Corpus
from mer_kit.errors import BadInput
from mer_kit.evaluation.separation import PROJECTIONS, projected_together
from mer_kit.plots import interactive_maps
from mer_kit.widgets.clips import media_allowed, source_of
from mer_kit.widgets.drawn import Drawn
from mer_kit.widgets.explorer import Explorer, choice
from mer_kit.widgets.player import Player

NONE = "choose an utterance …"


@dataclass(frozen=True)
class Space:
    """What a system makes of utterances: features (n, d), rows by utterance id, and its labels (C, d) among them."""

    features: pd.DataFrame
    predicted: pd.Series  # by utterance id
    labels: np.ndarray | None = None


def embedding_explorer(spaces: Mapping[str, Space], corpus: Corpus, projection: str = "pca", *, seed: int = 0,
                       interactive: bool = True, embed_media: bool = False) -> EmbeddingExplorer | Figure:
    """Choose a system and a projection; hover to read an utterance, click to hear it; stars are label embeddings.

    spaces: system -> its space, of labelled utterances of `corpus`. projection: shown first, one of PROJECTIONS; the
    others are computed when they are chosen. interactive: False gives the figure of the first choice. Words and sound
    of a licensed corpus are shown only with embed_media. Raises BadInput without a space.
    """
    if not spaces:
        raise BadInput("got no space to explore; expected a system's name and its Space, or more")
    ids = {name: frozenset(space.features.index) for name, space in spaces.items()}
    if len(set(ids.values())) > 1:
        raise BadInput(f"got spaces of {', '.join(f'{len(of)} ({name})' for name, of in ids.items())} utterances; "
                       "expected the same ones in each, so that systems can be compared")
    explorer = EmbeddingExplorer(spaces, corpus, projection, seed, embed_media)
    return explorer if interactive else explorer.figure()


class EmbeddingExplorer(Explorer):
    """`embedding_explorer`: controls `system`, `projection`, `utterance`; `map` shows `places`."""

    def __init__(self, spaces: Mapping[str, Space], corpus: Corpus, projection: str, seed: int,
                 embed_media: bool) -> None:
        self.spaces, self.corpus, self.seed = spaces, corpus, seed
        self.may_show, self._places = media_allowed(corpus, embed_media), {}
        self.rows = corpus.table.set_index("id")
        self.system = choice("system", list(spaces))
        self.projection = choice("projection", PROJECTIONS, value=projection)
        ids = sorted(next(iter(spaces.values())).features.index)
        self.utterance = choice("utterance", [NONE, *ids])
        self.player, self.map, self.told = Player(), Drawn(), w.HTML()
        super().__init__([self.system, self.projection, self.utterance], [self.map, self.told, self.player],
                         self.figure, "utterances as points, by class")
        self.system.observe(self._draw, "value")
        self.projection.observe(self._draw, "value")
        self.utterance.observe(self._heard, "value")
        self._draw()

    def places(self) -> tuple[pd.DataFrame, np.ndarray | None]:
        """Of the chosen system by the chosen projection: id, x, y, label, told; and of its labels (C, 2)."""
        key = (self.system.value, self.projection.value)
        space = self.spaces[key[0]]
        if key not in self._places:
            self._places[key] = projected_together(space.features.to_numpy(), space.labels, key[1], self.seed)
        (x, y), stars = self._places[key][0].T, self._places[key][1]
        ids = space.features.index
        told = [self._tell(u, space.predicted[u]) for u in ids]
        return pd.DataFrame({"id": ids, "x": x, "y": y, "label": self.rows.loc[ids, "label"].to_numpy(),
                             "told": told}), stars

    def figure(self) -> Figure:
        """The static twin of what is shown."""
        table, stars = self.places()
        return plots.embedding(table[["x", "y"]].to_numpy(), labels=table["label"], label_set=self.corpus.label_set,
                               label_points=stars, title=self._title()).figure

    def _title(self) -> str:
        return f"{self.system.value}: {self.projection.value}"

    def _tell(self, utterance: str, predicted: str) -> str:
        """What is said of an utterance: its id, how it is taken, and its words where they may be shown."""
        text = f": {self.rows.at[utterance, 'text'] or ''}" if self.may_show else ""
        return f"{utterance} ({self.rows.at[utterance, 'label']}, taken for {predicted}){text}"

    def _draw(self, _: dict | None = None) -> None:
        table, stars = self.places()
        self.map.draw(interactive_maps.points(table, label_set=self.corpus.label_set, label_points=stars,
                                              title=self._title()))
        for trace in self.map.children[0].data[: len(self.corpus.label_set)]:
            trace.on_click(self._clicked)

    def _clicked(self, trace: go.Scatter, clicked, state) -> None:
        if clicked.point_inds:
            chosen = trace.customdata[clicked.point_inds[0]][0]
            if chosen == self.utterance.value and self.may_show:
                self.player.play()
            self.utterance.value = chosen

    def _heard(self, change: dict) -> None:
        """Tell of an utterance and play it."""
        if change["new"] == NONE:
            return
        utterance = self.corpus[change["new"]]
        predicted = self.spaces[self.system.value].predicted[utterance.id]
        self.told.value = f"<p>{escape(self._tell(utterance.id, predicted))}</p>"
        if self.may_show and utterance.audio is not None:
            self.player.source, self.player.label = source_of(utterance), utterance.id
            self.player.play()
