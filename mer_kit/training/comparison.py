"""The three models under one protocol, on the same utterances: levels, what was possible, and tests of every pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from mer_kit.evaluation.statistics import holm
from mer_kit.guidance.label_embeddings import GuidanceConfig
from mer_kit.training.jfm_studies import JFM
from mer_kit.training.lemer_studies import LEMER, SPEECH, TEXT
from mer_kit.training.lsgmer_studies import LSGMER
from mer_kit.training.studies import Study, cluster_of, compared, paired, recorded_of

METRICS = ("WA", "UA", "WF1")
IN_PACKAGE = "duet"
SYSTEMS = Study("Which of the three, and do they beat one modality?", {
    "text + history": TEXT,
    "text": LSGMER.starts_from["text"],
    "voice": SPEECH,
    "LE-MER": LEMER,
    "LSGMER": LSGMER,
    "JFM + ICL": JFM,
}, reference="LE-MER")
ON_NEMO = replace(  # no keywords where all emotions have the same sentences; nine speakers are few for plain patches
    SYSTEMS, question="The same, on nEMO's sentences and speakers?", rows={
        **SYSTEMS.rows, "LE-MER": replace(LEMER, guidance=GuidanceConfig(semantic="label words")),
        "JFM + ICL": replace(JFM, encoders=replace(JFM.encoders, vision="convolutional"))})
COMPARISONS = MappingProxyType({"systems": SYSTEMS, "systems/nemo": ON_NEMO})
COMPARISON_OF = MappingProxyType({"nemo": "systems/nemo"})  # a corpus's, where it is not "systems"
READS = MappingProxyType({  # of the utterance, of its history: as `duet.ceilings` names them
    "text + history": ("text", "text"), "text": ("text", "none"), "voice": ("voice", "none"),
    "LE-MER": ("text + voice", "text"), "LSGMER": ("text + voice", "none"), "JFM + ICL": ("text + voice", "text")})


def command(study: str, corpus: str = IN_PACKAGE, protocol: str = "") -> str:
    """What records the runs of a study on a corpus, at the command line."""
    where = f" --corpus {corpus} --data-dir path/to/{corpus}" * (corpus != IN_PACKAGE)
    return f"mer-kit study {study}{where}{f' --protocol {protocol}' * bool(protocol)} --record"


def systems(results: Path | str, corpus: str = IN_PACKAGE, protocol: str = "") -> dict[str, pd.DataFrame]:
    """Recorded predictions of SYSTEMS under one protocol, on the folds, seeds and utterances that all of them have.

    Those that are not recorded are left out; the command of `COMPARISON_OF`, usually "systems", makes them all.
    """
    study = COMPARISONS[COMPARISON_OF.get(corpus, "systems")]
    return recorded_of(study.on(corpus=corpus, protocol=protocol), results)


def levels(said: Mapping[str, pd.DataFrame], ceilings: pd.DataFrame | None = None) -> pd.DataFrame:
    """WA, UA, WF1 of each system over its runs (fractions), what it reads, and how far that is from what is possible.

    ceilings: of `duet.ceilings`, for runs on duet. Columns system, reads, history, metric, mean, low, high, run; then,
    for WA, ceiling (of the same inputs), chance, and share, share_low, share_high: of the way from one to the other.
    """
    table = compared(said, "", METRICS)[["system", "metric", "mean", "low", "high"]].assign(run=run_of(said))
    for number, column in enumerate(("reads", "history")):
        table[column] = [READS[system][number] for system in table["system"]]
    if ceilings is None:
        return table
    known = ceilings.rename(columns={"now": "reads"})[["reads", "history", "ceiling", "chance"]].assign(metric="WA")
    table = table.merge(known, on=["reads", "history", "metric"], how="left")
    way = table["ceiling"] - table["chance"]
    return table.assign(share=(table["mean"] - table["chance"]) / way, share_low=(table["low"] - table["chance"]) / way,
                        share_high=(table["high"] - table["chance"]) / way)


def pairs(said: Mapping[str, pd.DataFrame], metrics: tuple[str, ...] = METRICS) -> pd.DataFrame:
    """Every pair of systems by the paired cluster bootstrap, fold by fold on the same utterances.

    Columns a, b, metric, difference (of a from b, a fraction), low, high, p, p_holm (over the pairs of the metric),
    clusters (how many of what were resampled).
    """
    rows = []
    for (a, of_a), (b, of_b) in combinations(said.items(), 2):
        by = cluster_of(of_a)
        rows += [{"a": a, "b": b, "metric": metric, **paired(of_a, of_b, metric)._asdict(),
                  "clusters": f"{of_a[by].nunique()} {by}s"} for metric in metrics]
    columns = ["a", "b", "metric", "difference", "low", "high", "p", "p_holm", "clusters"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(p_holm=table.groupby("metric")["p"].transform(holm)) if len(table) else table


def shown(levels: pd.DataFrame) -> pd.DataFrame:
    """The table of `levels` to read, a row a system: percent with intervals, and of the way to its ceiling."""
    lines = {}
    for row in levels.itertuples():
        line = lines.setdefault(row.system, {"reads": row.reads, "history": row.history})
        line[row.metric] = level(100 * row.mean, 100 * row.low, 100 * row.high)
        if "share" in levels and row.metric == "WA":
            line |= {"possible": f"{100 * row.ceiling:.1f}",
                     "of the way": level(100 * row.share, 100 * row.share_low, 100 * row.share_high)}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("system")


def level(here: float, low: float, high: float) -> str:
    """A level with its interval, "75.0 (71.4 to 78.6)": without one where there is none, nothing of no number."""
    interval = "" if pd.isna(low) else f" ({low:.1f} to {high:.1f})"
    return "" if pd.isna(here) else f"{here:.1f}{interval}"


def run_of(said: Mapping[str, pd.DataFrame]) -> str:
    """Protocol (which names the corpus), folds and seeds of predictions by system."""
    for table in said.values():
        seeds = ", ".join(map(str, sorted(table["seed"].unique())))
        folds = table["fold"].nunique()
        return f"{table['protocol'].iloc[0]}, {folds} fold{'s' * (folds > 1)}, seed {seeds}"
    return ""
