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
from mer_kit.evaluation.statistics import Difference, interval, paired_cluster_bootstrap
from mer_kit.training.experiments import Experiment, over_folds, run
from mer_kit.training.runs import Run, join

Row = Experiment | tuple[Experiment, Experiment]
NO_REASONS: Mapping[str, str] = MappingProxyType({})
COLUMNS = ["system", "metric", "mean", "low", "high", "run", "change", "change_low", "change_high", "p"]
NUMBERS = [column for column in COLUMNS if column not in ("system", "metric", "run")]


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
    change_high, p: against the reference, by the bootstrap of `paired`. Fractions. Rows that were not
    recorded are left out; all others stand on the folds and seeds that every one of them has.
    """
    return compared(recorded_of(study, results), study.reference, metrics)


def recorded_of(study: Study, results: Path | str) -> dict[str, pd.DataFrame]:
    """The predictions of each row that was recorded, on the folds and seeds that all such rows have."""
    return _on_common_runs({name: found for name, row in study.rows.items() if len(found := predictions(row, results))})


def compared(said: Mapping[str, pd.DataFrame], reference: str, metrics: Iterable[str]) -> pd.DataFrame:
    """The `study_table` of predictions by system."""
    rows = []
    for name, table in said.items():
        of_runs = [scores(t["truth"], t["predicted"], _classes(t)) for _, t in table.groupby(["fold", "seed"])]
        for metric in metrics:
            values = [of_run[metric] for of_run in of_runs]
            change = paired(table, said[reference], metric) if name != reference and reference in said else None
            rows.append({"system": name, "metric": metric, **interval(values)._asdict(),
                         "run": f"{table['protocol'].iloc[0]}, {len(values)} run{'s' * (len(values) > 1)}",
                         **(dict(zip(COLUMNS[-4:], change, strict=True)) if change else {})})
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(NUMBERS, float))


def beside_published(study: Study, ours: pd.DataFrame) -> pd.DataFrame:
    """A `study_table` of a paper's table in the form of `published.beside`: percent, and why a row was not run here.

    Where the paper prints changes against a row ("Acc change"), ours against the study's reference stand beside them.
    """
    changes = ours.dropna(subset="change").drop(columns=["mean", "low", "high"]).rename(
        columns={"change": "mean", "change_low": "low", "change_high": "high"})
    ours = pd.concat([ours, changes.assign(metric=changes["metric"] + " change")])
    if study.printed:
        rows = [study.printed[row] for row in ours["system"]]
        ours = ours.assign(system=[system for system, _ in rows], modality=[modality for _, modality in rows])
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


def paired(a: pd.DataFrame, b: pd.DataFrame, metric: str) -> Difference:
    """How far a's predictions are ahead of b's, on the folds, seeds and utterances that both have predicted.

    Dialogues are resampled; where each is one utterance (nEMO), speakers.
    """
    key = ["fold", "seed", "id"]
    both = a.merge(b[[*key, "predicted"]], on=key, suffixes=("", "_b"), validate="one_to_one")
    return paired_cluster_bootstrap(both["truth"], both["predicted"], both["predicted_b"], both[cluster_of(both)],
                                    metric)


def cluster_of(table: pd.DataFrame) -> str:
    """What is resampled of predictions, the name of a column: dialogues, or speakers where dialogues hold one each."""
    return "speaker" if table["dialogue"].nunique() == table["id"].nunique() else "dialogue"


def _classes(table: pd.DataFrame) -> list[str]:
    return [c.removeprefix("p_") for c in table if c.startswith("p_")]


def _parts(row: Row) -> tuple[Experiment, ...]:
    return row if isinstance(row, tuple) else (row,)
