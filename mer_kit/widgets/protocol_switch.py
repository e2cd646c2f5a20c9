"""Switch the protocol under one and the same model: what a flawed one gives away, with its name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache, partial
from html import escape
from pathlib import Path

import ipywidgets as w
import matplotlib.pyplot as plt
import plotly.graph_objects as go
from matplotlib.figure import Figure

from mer_kit.corpora.protocols import make_protocol
from mer_kit.plots import live
from mer_kit.plots.style import FAINT, INK
from mer_kit.training.experiments import Experiment, stage_of
from mer_kit.training.protocol_gap import protocol_gaps, told, under_protocols
from mer_kit.widgets.drawn import Drawn
from mer_kit.widgets.explorer import Explorer, choice

METRICS = ("WA", "UA", "WF1")


def protocol_switch(experiment: Experiment, ledger: Path | str, results: Path | str | None = None, *,
                    folds: Iterable[int] = (0,), interactive: bool = True, **options) -> ProtocolSwitch | Figure:
    """One system under its corpus's usual protocol, with the epoch chosen on the test set, and on folds by chance.

    Runs are read from `results` or `ledger`, and trained where neither has them. options: of `experiments.run`.
    interactive False: a figure of the three scores.

    >>> protocol_switch(Experiment("text"), LEDGER, RESULTS, folds=range(5))           # doctest: +SKIP
    """
    switch = ProtocolSwitch(experiment, ledger, results, folds, **options)
    return switch if interactive else switch.still()


class ProtocolSwitch(Explorer):
    """`state` is the row of `protocol_gaps` that is shown."""

    def __init__(self, experiment: Experiment, ledger: Path | str, results: Path | str | None = None,
                 folds: Iterable[int] = (0,), **options) -> None:
        self.experiment, self.corpus = experiment, stage_of(replace(experiment, protocol="")).corpus
        self.runs = under_protocols(experiment, ledger, results, folds, **options)
        self.gaps = cache(partial(protocol_gaps, self.runs))  # of a metric
        self.protocol = choice("protocol", list(self.runs), tooltip="how utterances are parted")
        self.metric = choice("score", METRICS, tooltip="WA, UA or weighted F1")
        self.told = w.HTML()
        self.drawn = Drawn()
        self._show()
        for control in (self.protocol, self.metric):
            control.observe(self._show, "value")
        super().__init__([self.protocol, self.metric], [self.told, self.drawn], self.twin,
                         "one model under three protocols")

    @property
    def state(self) -> dict:
        return self.gaps(self.metric.value).set_index("protocol", drop=False).loc[self.protocol.value].to_dict()

    def twin(self) -> Figure:
        """The scores of all three, with intervals over runs."""
        table = self.gaps(self.metric.value)
        figure, ax = plt.subplots(figsize=(8, 2.6))
        reach = 100 * (table[["mean", "high"]].to_numpy() - table[["low", "mean"]].to_numpy()).T
        ax.errorbar(100 * table["mean"], table["protocol"], xerr=reach, fmt="o", color=INK, capsize=4)
        ax.set(xlabel=f"{self.metric.value} (%), 95 % interval over runs", title=self._title())
        ax.grid(axis="x", color=FAINT, linewidth=0.5)
        ax.invert_yaxis()
        return figure

    def _show(self, change: dict | None = None) -> None:
        self.drawn.draw(*self._figures())

    def _figures(self) -> tuple[go.Figure, go.Figure]:
        """Scores with the chosen one marked, and who trains and tests under it; the sentence with them."""
        chosen, metric = self.protocol.value, self.metric.value
        self.told.value = f"<p><b>{escape(told(self.state))}</b></p>"
        of_speakers = make_protocol(self.corpus, chosen).roles(self.corpus, "speaker")
        return (live.protocol_scores(self.gaps(metric), metric=metric, chosen=chosen, title=self._title()),
                live.roles(of_speakers, title=f"{chosen}: what each speaker does in each fold"))

    def _title(self) -> str:
        return f"{self.experiment.model} on {self.corpus.label_set.name}, seed {self.experiment.seed}"
