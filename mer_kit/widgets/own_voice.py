"""Upload a recording, type its words, and see what a trained model hears and reads in it; nothing is stored."""

from __future__ import annotations

from html import escape

import ipywidgets as w
import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure

from mer_kit import plots
from mer_kit.errors import MerKitError
from mer_kit.plots import live
from mer_kit.training.own_recording import Heard, hear
from mer_kit.training.presets import MODELS
from mer_kit.training.restore import Trained
from mer_kit.widgets.clips import media_allowed
from mer_kit.widgets.drawn import Drawn
from mer_kit.widgets.explorer import TOLD, WIDE, Explorer

WAITING = "Choose a sound file and type its words; both stay in the memory of this kernel."


def own_voice(trained: Trained, *, interactive: bool = True) -> OwnVoice | Figure:
    """A file chooser and a field for the words said; probabilities, and the attention of labels where the model has it.

    interactive False: a figure of what the model says of the first test utterance of its corpus, asked the same way.

    >>> own_voice(restored(Experiment(), LEDGER))                                      # doctest: +SKIP
    """
    voice = OwnVoice(trained)
    return voice if interactive else voice.still()


class OwnVoice(Explorer):
    """`state` is what the model said last (`own_recording.Heard`), None before anything could be asked."""

    def __init__(self, trained: Trained) -> None:
        self.trained, self.state, self._sound, self._name = trained, None, None, ""
        self.listens = "speech" in MODELS[trained.experiment.model]
        self.upload = w.FileUpload(accept="audio/*,.wav,.flac,.ogg", multiple=False, description="sound file",
                                   tooltip="a recording of one sentence; it is not stored")
        self.words = w.Text(description="words said", continuous_update=False, style=TOLD, layout=WIDE,
                            placeholder="type the words, then Enter", tooltip="the words said in the recording")
        self.forget = w.Button(description="forget it", tooltip="drop the recording and the words from memory")
        self.told, self.drawn = w.HTML(f"<p>{WAITING}</p>"), Drawn()
        self.upload.observe(self._receive, "value")
        self.words.observe(self._show, "value")
        self.forget.on_click(self._forget)
        super().__init__([*[self.upload] * self.listens, self.words, self.forget], [self.told, self.drawn],
                         lambda: example(trained), "what a model says of one utterance")

    def _receive(self, change: dict) -> None:
        """Take the file's bytes out of the widget, whose values a notebook may save."""
        if change["new"]:
            [given] = change["new"]
            self._sound, self._name = bytes(given["content"]), given["name"]
            self.upload.value = ()
            self._show()

    def _forget(self, button: w.Button) -> None:
        self._sound, self._name, self.state = None, "", None
        self.drawn.draw()
        self.words.value = ""
        self.told.value = f"<p>{WAITING}</p>"

    def _show(self, change: dict | None = None) -> None:
        if self.listens and self._sound is None:
            self.told.value = f"<p>{WAITING}</p>"
            return
        try:
            self.state = hear(self.trained, self._sound, self.words.value, self._name)
        except MerKitError as why:
            self.state, self._sound = None, None
            self.drawn.draw()
            self.told.value = f'<p role="alert"><b>{escape(str(why))}</b></p>'
            return
        self.drawn.draw(*self._figures(self.state))
        self.told.value = self._sentence(self.state)

    def _figures(self, heard: Heard) -> list[go.Figure]:
        labels = self.trained.stage.corpus.label_set
        figures = [live.shares(heard.p.to_frame("the model").T, colours=labels.palette, title="probabilities")]
        if heard.gate is not None:
            figures.append(live.shares(heard.gate.to_frame("the gate").T, colours=live.MODALITIES,
                                       title="whom the gate trusts"))
        if heard.of_words is not None:
            figures.append(live.word_looks(heard.of_words, words=self.words.value.split(), label_set=labels,
                                           symbol="label attention", title="labels on the words"))
        if heard.of_frames is not None:
            figures.append(live.frame_looks(heard.of_frames, frame_rate=heard.frame_rate, label_set=labels,
                                            symbol="label attention", title="labels along the sound"))
        return figures

    def _sentence(self, heard: Heard) -> str:
        said, table = heard.p.idxmax(), "".join(
            f"<tr><td>{escape(c)}</td><td>{p:.3f}</td></tr>" for c, p in heard.p.items())
        done = f" The recording was {', '.join(heard.notes)}." if heard.notes else ""
        read = f" Words read: “{escape(self.words.value)}”." if self.words.value else " No words were typed."
        return (f"<p>The model says <b>{escape(said)}</b>, with p = {heard.p[said]:.3f}.{read}{done}</p>"
                f'<table aria-label="probabilities">{table}</table>')


def example(trained: Trained) -> Figure:
    """What the model says of the first test utterance of its corpus, asked as a recording would be."""
    corpus, utterance = trained.stage.corpus, trained.fold.test[0]
    told = corpus[utterance]
    sound = told.audio.read_bytes() if told.audio is not None else None
    heard, classes = hear(trained, sound, told.text or "", utterance), list(corpus.label_set.classes)
    words = (told.text or "").split() if heard.of_words is not None else []
    shown = words if media_allowed(corpus, False) else [f"word {i}" for i, _ in enumerate(words, 1)]
    values = np.vstack([heard.p.to_numpy(), *([heard.of_words] if words else [])])
    return plots.heatmap(values, rows=["probabilities", *shown], columns=classes,
                         title=f"{utterance}: probabilities, and labels on the words").figure
