"""One model under an honest protocol and under flawed ones: what each flaw gives away, with its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from mer_kit.corpora.protocols import usual_scheme
from mer_kit.evaluation.statistics import interval, paired_cluster_bootstrap
from mer_kit.training.experiments import Experiment, over_folds, run, stage_of
from mer_kit.training.runs import Run, join

COLUMNS = ["protocol", "title", "runs", "mean", "low", "high", "gap", "gap_low", "gap_high", "utterances"]


def schemes_of(experiment: Experiment) -> tuple[str, ...]:
    """The corpus's usual protocol, the same with the epoch chosen on the test set, and folds by chance."""
    usual = usual_scheme(stage_of(replace(experiment, protocol="")).corpus)
    return usual, f"{usual}/dev=test", "random-5"


def under_protocols(experiment: Experiment, ledger: Path | str, results: Path | str | None = None,
                    folds: Iterable[int] = (0,), **options) -> dict[str, list[Run]]:
    """The runs of one system under each of `schemes_of`: recorded in `results`, else in the ledger or trained now.

    options: of `experiments.run`.
    """
    schemes, folds = schemes_of(experiment), list(folds)
    runs = {}
    for scheme in schemes:
        asked = replace(experiment, protocol="" if scheme == schemes[0] else scheme)
        names = [fold.name for fold in stage_of(asked).protocol.folds]
        known = over_folds(replace(asked, protocol=scheme), results) if results is not None else []
        kept = {r.config["fold"]: r for r in known if r.config["seed"] == experiment.seed}
        runs[scheme] = [kept.get(names[fold]) or run(replace(asked, fold=fold), ledger, **options) for fold in folds]
    return runs


def protocol_gaps(runs: Mapping[str, Iterable[Run]], metric: str = "WA") -> pd.DataFrame:
    """A row a protocol, the first being the one that all others are compared with. Fractions.

    Columns COLUMNS: mean, low, high over runs; gap, gap_low, gap_high: how far a protocol's score is above that of the
    first on the utterances that both have tested, of which there are so many (paired bootstrap over dialogues; NaN
    where they are of one dialogue, or none).
    """
    tables = {scheme: join(of) for scheme, of in runs.items()}
    honest, rows = next(iter(tables.values())), []
    for scheme, of in runs.items():
        title, values = of[0].config["protocol"], [r.metrics[metric] for r in of]
        row = {"protocol": scheme, "title": title, "runs": len(values), **interval(values)._asdict()}
        both = tables[scheme].merge(honest[["id", "predicted"]], on="id", suffixes=("", "_honest"))
        row["utterances"] = len(both)
        if rows and both["dialogue"].nunique() > 1:
            said = paired_cluster_bootstrap(both["truth"], both["predicted"], both["predicted_honest"],
                                            both["dialogue"], metric)
            row |= {"gap": said.difference, "gap_low": said.low, "gap_high": said.high}
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def told(row: Mapping) -> str:
    """A row of `protocol_gaps` as a sentence that names the flaw and what it gives away."""
    score = f"{row['title']}: {100 * row['mean']:.1f} %"
    if pd.isna(row["gap"]):
        return f"{score}. The other protocols are compared with this one." if "(" not in row["title"] else f"{score}."
    return (f"{score}. On the {row['utterances']} utterances that it and the honest protocol have both tested, its gap "
            f"is {100 * row['gap']:+.1f} points ({100 * row['gap_low']:+.1f} to {100 * row['gap_high']:+.1f}).")
