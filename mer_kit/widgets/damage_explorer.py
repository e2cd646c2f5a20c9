"""Damage an utterance by hand, and see what models say of it and whom their gates trust."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

import ipywidgets as w
import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure

from mer_kit import plots
from mer_kit.corpora.audio import AudioReader
from mer_kit.errors import BadInput
from mer_kit.plots import live
from mer_kit.training.restore import Trained
from mer_kit.training.robustness import damage
from mer_kit.widgets.clips import media_allowed, source_from
from mer_kit.widgets.drawn import Drawn
from mer_kit.widgets.explorer import TOLD, WIDE, Explorer, choice
from mer_kit.widgets.player import Player

CLEAN, AS_TRAINED = math.inf, -1
SNRS = (("clean", CLEAN), *((f"{snr} dB", snr) for snr in (30, 20, 15, 10, 5, 0, -5, -10)))
TURNS = (("as trained", AS_TRAINED), *((str(turns), turns) for turns in range(11)))
GATE = ("audio", "text")


def damage_explorer(models: Mapping[str, Trained], *, utterance: str | None = None, embed_media: bool = False,
                    interactive: bool = True) -> DamageExplorer | Figure:
    """Sliders for noise, muted sound, lost words and history; each model's probabilities and gate weights, live.

    models: name -> a trained model; all with this utterance in the test part of their fold. interactive False: a figure
    of the first utterance as it is.

    >>> damage_explorer({"LE-MER": restored(Experiment(), LEDGER),
    ...                  "LSGMER": restored(Experiment("lsgmer"), LEDGER)})            # doctest: +SKIP
    """
    explorer = DamageExplorer(models, utterance, embed_media)
    return explorer if interactive else explorer.still()


class DamageExplorer(Explorer):
    """`state` is the table shown: rows "<model>, as it is" and "<model>, damaged", columns those of `predict`."""

    def __init__(self, models: Mapping[str, Trained], utterance: str | None = None, embed_media: bool = False) -> None:
        self.models, first = dict(models), next(iter(models.values()))
        self._as_it_is: dict[tuple[str, str], pd.Series] = {}
        self.corpus = first.stage.corpus
        common = [u for u in first.fold.test if all(u in set(m.fold.test) for m in self.models.values())]
        if not common:
            raise BadInput(f"got models whose test parts share no utterance ({', '.join(models)}); take one corpus, "
                           "protocol and fold for all")
        self.shows_media = media_allowed(self.corpus, embed_media)
        self.utterance = choice("utterance", [(f"{u} ({self.corpus[u].label})", u) for u in common],
                                value=utterance or common[0], tooltip="of the test part")
        self.snr = _slider("noise, SNR", SNRS, "white noise this far below the clip's own power")
        self.muted = w.Checkbox(False, description="sound muted", style=TOLD, tooltip="silence of the same length")
        self.lost = w.FloatSlider(0.0, min=0.0, max=1.0, step=0.05, description="words lost", readout_format=".0%",
                                  continuous_update=False, style=TOLD, layout=WIDE,
                                  tooltip="word error rate: the share of words that are lost")
        self.turns = _slider("turns before", TURNS, "how many former turns a reader of words sees")
        self.told, self.sound, self.drawn = w.HTML(), Player(), Drawn()
        self._show()
        for control in self.controls:
            control.observe(self._show, "value")
        super().__init__([w.VBox(self.controls, layout=w.Layout(width="100%"))],
                         [self.told, *[self.sound] * self.shows_media, self.drawn], self.twin,
                         "probabilities and gates of an utterance under damage")

    @property
    def controls(self) -> tuple[w.Widget, ...]:
        return self.utterance, self.snr, self.muted, self.lost, self.turns

    @property
    def value(self) -> dict:
        """The damage, as `Trained.predict` takes it."""
        snr, turns = self.snr.value, self.turns.value
        given = damage(None if snr == CLEAN else snr, self.muted.value, self.lost.value)
        return given if turns == AS_TRAINED else given | {"history_turns": turns}

    def answers(self) -> pd.DataFrame:
        """What every model says of the utterance as it is and damaged."""
        utterance, given = self.utterance.value, self.value
        said = {}
        for name, model in self.models.items():
            if (utterance, name) not in self._as_it_is:
                self._as_it_is[utterance, name] = model.predict([utterance]).iloc[0]
            said[f"{name}, as it is"] = self._as_it_is[utterance, name]
            said[f"{name}, damaged"] = model.predict([utterance], **given).iloc[0] if given else said[
                f"{name}, as it is"]
        return pd.concat(said, axis=1).T

    def twin(self) -> Figure:
        """Probabilities as a matrix, for the utterance and damage that are set."""
        table = self.answers().filter(like="p_").astype(float)
        ax = plots.heatmap(table.to_numpy(), rows=list(table.index), title=self._title(),
                           columns=[c.removeprefix("p_") for c in table])
        return ax.figure

    def _show(self, change: dict | None = None) -> None:
        self.drawn.draw(*self._figures())

    def _figures(self) -> list[go.Figure]:
        """Probabilities, and gates where a model has one; `state`, words and sound with them."""
        self.state = self.answers()
        p = self.state.filter(like="p_").astype(float).rename(columns=lambda name: name.removeprefix("p_"))
        gates = self.state.reindex(columns=[f"gate_{m}" for m in GATE]).astype(float).dropna()
        self._tell()
        figure = live.shares(p, colours=self.corpus.label_set.palette, title=f"{self._title()}: probabilities")
        if gates.empty:
            return [figure]
        gates.columns = list(GATE)
        return [figure, live.shares(gates, colours=live.MODALITIES, title="whom the gate trusts")]

    def _tell(self) -> None:
        """The words as they are read, the answers as text, and the sound as it is heard."""
        told, given = self.corpus[self.utterance.value], self.value
        rows = "".join(f"<tr><td>{escape(name)}</td><td><b>{escape(row['predicted'])}</b></td>"
                       f"<td>{row['p_' + row['predicted']]:.3f}</td><td>{_weight(row)}</td></tr>"
                       for name, row in self.state.iterrows())
        said = given["words"](told.id, told.text or "") if "words" in given else told.text or ""
        words = f"<p>words read: “{escape(said)}”; truth: {escape(told.label)}</p>" if self.shows_media else ""
        self.told.value = (f'{words}<table aria-label="answers"><tr><th>model</th><th>says</th><th>p</th>'
                           f"<th>weight of the audio</th></tr>{rows}</table>")
        if self.shows_media and told.audio is not None:
            samples = AudioReader()(told)
            heard = given["sound"](told.id, samples) if "sound" in given else samples
            self.sound.source, self.sound.label = source_from(heard), f"{told.id}, as it is heard"

    def _title(self) -> str:
        first = next(iter(self.models.values()))
        return f"{self.utterance.value}, {first.stage.protocol.title}, seed {first.experiment.seed}"


def _slider(name: str, options: tuple, tooltip: str) -> w.SelectionSlider:
    return w.SelectionSlider(options=options, description=name, continuous_update=False, style=TOLD, layout=WIDE,
                             tooltip=tooltip)


def _weight(row: pd.Series) -> str:
    weight = row.get("gate_audio")
    return "–" if weight is None or pd.isna(weight) else f"{weight:.3f}"
