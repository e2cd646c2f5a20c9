"""Tables of experiments: what each row stands for, how to run it, how it stands beside its reference.

A row is an experiment over all folds and seeds that were recorded, or two whose logits are added (score fusion).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
from scipy.special import softmax

from mer_kit.evaluation.metrics import scores
from mer_kit.evaluation.published import OUR_NAME, beside, published
from mer_kit.evaluation.statistics import interval, paired_cluster_bootstrap
from mer_kit.training.experiments import Experiment, over_folds, run
from mer_kit.training.runs import Run, join

Row = Experiment | tuple[Experiment, Experiment]
NO_REASONS: Mapping[str, str] = MappingProxyType({})
COLUMNS = ["system", "metric", "mean", "low", "high", "run", "change", "change_low", "change_high", "p"]


@dataclass(frozen=True)
class Study:
    """One table of a paper, or the points of a figure of its."""

    question: str
    rows: Mapping[str, Row]  # system -> what it is here; the names as the paper's table has them, where it has one
    reference: str  # the row that the others are compared with
    paper: str = ""  # as in `published`; empty: a study of ours
    table: str = ""
    reasons: Mapping[str, str] = field(default_factory=lambda: NO_REASONS)  # system -> why it is not run here
    printed: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # row -> the paper's system and modality

    @property
    def experiments(self) -> list[Experiment]:
        """Every experiment of the rows, once."""
        return list(dict.fromkeys(e for row in self.rows.values() for e in _parts(row)))

    def on(self, **changed) -> Study:
        """The same study with other fields in all its experiments: `study.on(corpus="nemo", data_dir=…)`."""
        rows = {name: tuple(replace(e, **changed) for e in row) if isinstance(row, tuple) else replace(row, **changed)
                for name, row in self.rows.items()}
        return replace(self, rows=rows)


def run_study(study: Study, ledger: Path | str, folds: Iterable[int], seeds: Iterable[int] = (0,),
              **options) -> Iterator[Run]:
    """Each experiment of the study on each fold with each seed, in the order in which starting runs are shared.

    options: of `experiments.run`. Several processes may share one ledger: each takes folds of its own.
    """
    for fold in folds:
        for seed in seeds:
            for experiment in study.experiments:
                guidance = replace(experiment.guidance, seed=seed)
                yield run(replace(experiment, fold=fold, seed=seed, guidance=guidance), ledger, **options)


def study_table(study: Study, results: Path | str, metrics: tuple[str, ...] = ("WA", "UA")) -> pd.DataFrame:
    """What was recorded of each row, and how far it is from the reference row.

    Columns COLUMNS: mean, low, high over folds and seeds; run: the protocol and the number of runs; change, change_low,
    change_high, p: against the reference, by the paired bootstrap over dialogues. Fractions. Rows that were not
    recorded are left out; all others stand on the folds and seeds that every one of them has.
    """
    said = _on_common_runs({name: found for name, row in study.rows.items() if len(found := predictions(row, results))})
    rows = []
    for name, table in said.items():
        for metric in metrics:
            of_run = (t for _, t in table.groupby(["fold", "seed"]))
            values = [scores(t["truth"], t["predicted"], _classes(t))[metric] for t in of_run]
            compared = name != study.reference and study.reference in said
            rows.append({"system": name, "metric": metric, **interval(values)._asdict(),
                         "run": f"{table['protocol'].iloc[0]}, {len(values)} runs",
                         **(_change(table, said[study.reference], metric) if compared else {})})
    return pd.DataFrame(rows, columns=COLUMNS)


def beside_published(study: Study, ours: pd.DataFrame) -> pd.DataFrame:
    """A `study_table` of a paper's table in the form of `published.beside`: percent, and why a row was not run here.

    Where the paper prints changes against a row ("Acc change"), ours against the study's reference stand beside them.
    """
    changes = ours.dropna(subset="change").drop(columns=["mean", "low", "high"]).rename(
        columns={"change": "mean", "change_low": "low", "change_high": "high"})
    ours = pd.concat([ours, changes.assign(metric=changes["metric"] + " change")])
    if study.printed:
        ours[["system", "modality"]] = [study.printed[row] for row in ours["system"]]
    table = published(study.paper, study.table)
    ours = ours[ours["metric"].isin(table["metric"].replace(OUR_NAME))]
    return beside(ours, study.paper, study.table, study.reasons)


def predictions(row: Row, results: Path | str) -> pd.DataFrame:
    """The recorded predictions of a row over folds and seeds, as `runs.join` gives them; empty where there are none."""
    tables = [_joined(over_folds(experiment, results)) for experiment in _parts(row)]
    return tables[0] if len(tables) == 1 or not all(map(len, tables)) else _score_fused(*tables)


def _on_common_runs(said: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Predictions of systems on the folds and seeds that all have; as they are where there are none such."""
    of = {name: pd.MultiIndex.from_frame(table[["fold", "seed"]]) for name, table in said.items()}
    common = reduce(pd.MultiIndex.intersection, (index.unique() for index in of.values())) if of else ()
    return {name: table[of[name].isin(common)] for name, table in said.items()} if len(common) else said


def _joined(runs: list[Run]) -> pd.DataFrame:
    return join(runs).assign(protocol=runs[0].config["protocol"]) if runs else pd.DataFrame()


def _score_fused(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Score fusion: the logits of two models added. A log probability is a logit less a constant of its row."""
    key, p = ["fold", "seed", "id"], [c for c in a if c.startswith("p_")]
    both = a.merge(b[[*key, *p]], on=key, suffixes=("", "_b"), validate="one_to_one")
    fused = softmax(np.log(both[p].to_numpy()) + np.log(both[[f"{c}_b" for c in p]].to_numpy()), axis=1)
    return both.drop(columns=[f"{c}_b" for c in p]).assign(
        predicted=np.array(_classes(a))[fused.argmax(axis=1)], **dict(zip(p, fused.T, strict=True)))


def _change(table: pd.DataFrame, reference: pd.DataFrame, metric: str) -> dict[str, float]:
    """How far a row is from the reference, on what both have predicted."""
    key = ["fold", "seed", "id"]
    both = table.merge(reference[[*key, "predicted"]], on=key, suffixes=("", "_r"), validate="one_to_one")
    said = paired_cluster_bootstrap(both["truth"], both["predicted"], both["predicted_r"], both["dialogue"], metric)
    return {"change": said.difference, "change_low": said.low, "change_high": said.high, "p": said.p}


def _classes(table: pd.DataFrame) -> list[str]:
    return [c.removeprefix("p_") for c in table if c.startswith("p_")]


def _parts(row: Row) -> tuple[Experiment, ...]:
    return row if isinstance(row, tuple) else (row,)
