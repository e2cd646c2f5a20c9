"""The three papers' published numbers, and ours beside them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

import pandas as pd

from mer_kit.errors import BadInput, pick, unknown

KEYS = ("system", "modality", "dataset", "metric")
OURS = ("mean", "low", "high")  # fractions, as metrics.py and statistics.interval give them
OUR_NAME = {"Acc": "WA", "Acc change": "WA change"}  # of a metric that a paper calls otherwise


def published(paper: str | None = None, table: str | None = None) -> pd.DataFrame:
    """Numbers as printed (percent; "… change": points), of one paper or one of its tables, or all.

    Columns paper ("LE-MER", "LSGMER", "JFM"), table, system, modality, dataset, metric, value.
    """
    rows = pd.read_csv(str(files("mer_kit.evaluation") / "published.csv"))
    for column, wanted in (("paper", paper), ("table", table)):
        if wanted is not None:
            rows = pick(column, wanted, dict(list(rows.groupby(column, sort=False))))
    return rows.reset_index(drop=True)


def beside(ours: pd.DataFrame, paper: str, table: str, reasons: Mapping[str, str] | None = None) -> pd.DataFrame:
    """A paper's table with what was measured here beside what was printed.

    ours: columns system (as in the paper's table), metric (WA, UA, WF1, or "… change"), mean, low, high (fractions),
    run (what it was measured on, such as its protocol); modality, dataset where a system stands there several times.
    reasons: system -> why it was not run here.
    Returns the columns of KEYS, published, here, low, high (all percent or points), note: the run, or "not run here".
    """
    printed = published(paper, table)
    keys = [key for key in KEYS if key in ours]
    if lacking := [c for c in ("system", "metric", "run", *OURS) if c not in ours]:
        raise BadInput(f"our results lack the columns {', '.join(lacking)}; expected system, metric, run, "
                       "mean, low, high")
    if strangers := [s for s in [*ours["system"], *(reasons or {})] if s not in set(printed["system"])]:
        raise unknown(f"system of {paper}'s {table}", strangers[0], printed["system"].unique())
    if len(twice := ours[ours.duplicated(keys)]):
        raise BadInput(f"two results of ours for {dict(twice.iloc[0][keys])}; keep one, or name modality and dataset")
    named = printed.assign(printed=printed["metric"], metric=printed["metric"].replace(OUR_NAME))
    joined = named.merge(ours[[*keys, *OURS, "run"]], on=keys, how="left")
    why = joined["system"].map(reasons or {}).map(lambda r: "not run here" + ("" if pd.isna(r) else f": {r}"))
    result = joined.assign(metric=joined["printed"], published=joined["value"], here=100 * joined["mean"],
                           low=100 * joined["low"], high=100 * joined["high"], note=joined["run"].fillna(why))
    return result[[*KEYS, "published", "here", "low", "high", "note"]]
