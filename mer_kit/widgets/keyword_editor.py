"""Edit the keywords that LE-MER's labels are made of, and see what the model attends to and says then."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from itertools import combinations

import ipywidgets as w
import matplotlib.pyplot as plt
import plotly.graph_objects as go
from matplotlib.figure import Figure

from mer_kit import plots
from mer_kit.errors import BadInput
from mer_kit.evaluation.metrics import confusion, scores
from mer_kit.plots import live
from mer_kit.training.edited_labels import EditedLabels
from mer_kit.training.restore import Trained
from mer_kit.widgets.clips import media_allowed
from mer_kit.widgets.drawn import Drawn
from mer_kit.widgets.explorer import TOLD, WIDE, Explorer, choice

MODES = {"labels moved": False, "labels moved, head trained again": True}
READERS = {"the classifier, (11)": "predicted", "labels on the words, (2)": "by_words"}
NO_SWAP = "choose two classes …"
ONLY_TAUGHT = ("This run fuses by A_r, which labels teach and do not enter: its classifier moves only where its head "
               "is trained again.")


def keyword_editor(trained: Trained, *, utterance: str | None = None, embed_media: bool = False,
                   interactive: bool = True) -> KeywordEditor | Figure:
    """A field of keywords for each class; what changes in G_t, the confusion and the accuracy on the fold's test part.

    trained: a LE-MER whose labels started from words. utterance: of the test part, shown first. interactive False: a
    figure of the keywords as they are.

    >>> keyword_editor(restored(Experiment(), LEDGER))                                 # doctest: +SKIP
    """
    editor = KeywordEditor(trained, utterance, embed_media)
    return editor if interactive else editor.still()


class KeywordEditor(Explorer):
    """`state` holds what is shown: WA of the classifier and of (2), by their columns, and of both `before`."""

    def __init__(self, trained: Trained, utterance: str | None = None, embed_media: bool = False) -> None:
        self.edited, self.corpus = EditedLabels(trained), trained.stage.corpus
        self.shows_text = media_allowed(self.corpus, embed_media)
        self.state: dict[str, float | str] = {}
        self._before: dict[bool, tuple] = {}
        self.words = {c: w.Text(", ".join(own), description=c, continuous_update=False, style=TOLD, layout=WIDE,
                                tooltip=f"keywords of {c}, parted by commas; Enter reads them")
                      for c, own in self.edited.words.items()}
        pairs = {f"{a} ↔ {b}": (a, b) for a, b in combinations(self.words, 2)}
        self.swap = choice("swap", [(NO_SWAP, ()), *pairs.items()], tooltip="exchange the keywords of two classes")
        self.mode = choice("then", MODES.items(), tooltip="what follows an edit")
        fused = trained.model.config.fusion in ("C2", "C3")
        self.reader = choice("confusion of", READERS.items(), value="predicted" if fused else "by_words",
                             tooltip="whose answers the confusion counts")
        self.utterance = choice("utterance", [(self._named(u), u) for u in trained.fold.test],
                                value=utterance or trained.fold.test[0], tooltip="whose words are looked at")
        self.back = w.Button(description="keywords as learnt", tooltip="undo all edits")
        self.told = w.HTML()
        self.drawn = Drawn()
        self._show()
        self._observe()
        controls = [*self.words.values(), self.swap, self.back, self.mode, self.reader, self.utterance]
        super().__init__([w.VBox(controls, layout=w.Layout(width="100%"))],
                         [self.told, self.drawn], self.twin,
                         "labels made of keywords: attention and confusion")

    @property
    def value(self) -> dict[str, tuple[str, ...]]:
        """The keywords in the fields; setting it answers once."""
        return {c: tuple(filter(None, (word.strip() for word in re.split(r"[,\s]+", field.value))))
                for c, field in self.words.items()}

    @value.setter
    def value(self, words: dict[str, tuple[str, ...]]) -> None:
        with self._at_once():
            for c, own in words.items():
                self.words[c].value = ", ".join(own)

    def twin(self) -> Figure:
        """G_t and the confusion with the keywords as they were learnt."""
        model, said = self._learnt(False)
        looks, classes = self.edited.looks(model, self.utterance.value), self.edited.classes
        figure, (left, right) = plt.subplots(1, 2, figsize=(11, 1.6 + 0.42 * max(len(looks), len(classes))))
        plots.heatmap(looks, rows=self._shown_words(), columns=classes, ax=left, title="G_t on the words")
        counts = confusion(said["truth"], said[self.reader.value], classes, normalise=True)
        plots.heatmap(counts.to_numpy(), rows=classes, columns=classes, ax=right, title=f"{self.reader.label}: shares")
        figure.suptitle(self._title(), x=0.01, ha="left", fontsize=12, weight="bold")
        return figure

    def _observe(self) -> None:
        for field in (*self.words.values(), self.mode, self.reader, self.utterance):
            field.observe(self._show, "value")
        self.swap.observe(self._swap, "value")
        self.back.on_click(lambda _: setattr(self, "value", self.edited.words))

    def _swap(self, change: dict) -> None:
        if pair := change["new"]:
            a, b = pair
            self.value = {a: self.value[b], b: self.value[a]}
            self.swap.value = ()

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        """Several fields change; one answer follows."""
        for field in self.words.values():
            field.unobserve(self._show, "value")
        yield
        for field in self.words.values():
            field.observe(self._show, "value")
        self._show()

    def _show(self, change: dict | None = None) -> None:
        start = time.perf_counter()
        try:
            self.drawn.draw(*self._figures())
        except BadInput as why:
            self.told.value = f'<p role="alert"><b>{escape(str(why))}</b></p>'
            return
        self.state["seconds"] = time.perf_counter() - start

    def _figures(self) -> tuple[go.Figure, go.Figure]:
        """Both figures for the fields as they are; `state` and the sentence with them."""
        words, retrain, classes = self.value, self.mode.value, self.edited.classes
        old_model, old = self._learnt(retrain)
        same = words == self.edited.words
        model = old_model if same else self.edited.model(words, retrain)
        said = old if same else self.edited.said(model)
        self._tell(said, old)
        looks, before = (self.edited.looks(m, self.utterance.value) for m in (model, old_model))
        counts = confusion(said["truth"], said[self.reader.value], classes)
        return (live.word_looks(looks, words=self._shown_words(), label_set=self.corpus.label_set, before=before,
                                title=f"{self.utterance.value}: how near each word is to each label"),
                live.confusion(counts, title=f"{self._title()}: {self.reader.label}"))

    def _learnt(self, retrain: bool) -> tuple:
        """The model with the keywords as they were learnt, and what it says."""
        if retrain not in self._before:
            model = self.edited.model(self.edited.words, retrain)
            self._before[retrain] = model, self.edited.said(model)
        return self._before[retrain]

    def _tell(self, said, old) -> None:
        right = {reader: scores(said["truth"], said[reader], self.edited.classes)["WA"]
                 for reader in READERS.values()}
        before = {reader: scores(old["truth"], old[reader], self.edited.classes)["WA"] for reader in READERS.values()}
        self.state |= right | {f"{reader} before": score for reader, score in before.items()}
        rows = "".join(f"<tr><td>{name}</td><td><b>{100 * right[r]:.1f} %</b></td><td>{100 * before[r]:.1f} %</td></tr>"
                       for name, r in READERS.items())
        taught = self.edited.trained.model.config.fusion in ("C1", "C4") and not self.mode.value
        self.told.value = ('<table aria-label="accuracy"><tr><th>WA of the test part</th><th>with these keywords</th>'
                           f"<th>as learnt</th></tr>{rows}</table>{ONLY_TAUGHT if taught else ''}")

    def _title(self) -> str:
        experiment, stage = self.edited.trained.experiment, self.edited.trained.stage
        return f"{stage.protocol.title}, test {self.edited.trained.fold.name}, seed {experiment.seed}"

    def _named(self, utterance: str) -> str:
        told = self.corpus[utterance]
        return f"{utterance} ({told.label}): {told.text}" if self.shows_text else f"{utterance} ({told.label})"

    def _shown_words(self) -> list[str]:
        words = (self.corpus[self.utterance.value].text or "").split()
        return words if self.shows_text else [f"word {i}" for i, _ in enumerate(words, 1)]
