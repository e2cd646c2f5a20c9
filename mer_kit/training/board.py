"""The results board: every number that the three papers print, and what was measured here beside it, or why not.

Ours come from recorded runs, by the study of a paper's table (`studies.Study`). Runs on the corpus of the paper count
first; where there are none, those on another corpus stand in, and the note says so: then differences between rows can
be compared, levels cannot.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from mer_kit.errors import pick
from mer_kit.evaluation.published import OUR_NAME, published
from mer_kit.evaluation.statistics import holm
from mer_kit.training.comparison import IN_PACKAGE, METRICS, command, level, run_of
from mer_kit.training.jfm_studies import STUDIES as JFM_STUDIES
from mer_kit.training.lemer_studies import STUDIES as LEMER_STUDIES
from mer_kit.training.lsgmer_studies import STUDIES as LSGMER_STUDIES
from mer_kit.training.runs import Ledger, recorded
from mer_kit.training.studies import Study, beside_published, compared, recorded_of

KEY = ["paper", "table", "system", "modality", "dataset", "metric"]
CHANGES = ["published_change", "change", "change_low", "change_high", "p"]
COLUMNS = [*KEY, "published", "here", "low", "high", *CHANGES, "run", "note", "command"]
LINE = ["paper", "table", "system", "modality", "run"]  # of `ablations`
PRINTED_ON = ["IEMOCAP", "MELD"]
ELSEWHERE = "a system of another paper"  # the reason of rows that a paper quotes
OWN = MappingProxyType({"IEMOCAP-4": "iemocap", "IEMOCAP": "iemocap", "MELD-7": "meld"})  # dataset -> corpus
STUDIES = MappingProxyType({**LEMER_STUDIES, **LSGMER_STUDIES, **JFM_STUDIES})


def _part(study: Study, letter: str, reference: str) -> Study:
    """The rows of a study whose names begin so, with a reference of their own."""
    rows, reasons = ({name: of[name] for name in of if name.startswith(letter)} for of in (study.rows, study.reasons))
    return replace(study, rows=rows, reasons=reasons, reference=reference)


TABLES = (  # (name, study) of each printed table; LE-MER's Table 1 sets text beside text and voice beside voice
    ("le-mer/table-1", _part(STUDIES["le-mer/table-1"], "A", "A2 + historical utterances")),
    ("le-mer/table-1", _part(STUDIES["le-mer/table-1"], "B", "B1 wav2vec2.0")),
    *((name, study) for name, study in STUDIES.items() if study.paper and name != "le-mer/table-1"))


def board(results: Path | str, corpus: str = IN_PACKAGE, protocol: str = "") -> pd.DataFrame:
    """A row for each of `published`, in its order; columns COLUMNS.

    published, here, low, high: percent (of "… change": points), the interval over runs; published_change, change,
    change_low, change_high: points against the table's reference row, of ours by the paired bootstrap; p: of no change.
    run: protocol, folds and seeds; note: what it stands on, or "not run here" and why. command: what makes the row.
    corpus, protocol: what stands in where nothing on the paper's own corpus is recorded; "": the corpus's usual one.
    """
    there = {run.config["corpus"] for run in recorded(results)}
    measured = cache(lambda number, place: _measured(*TABLES[number], results, *place))
    parts = []
    for number, (_, study) in enumerate(TABLES):
        for dataset in published(study.paper, study.table)["dataset"].unique():
            places = [*[(OWN[dataset], "")] * (OWN[dataset] in there - {corpus}), (corpus, protocol)]
            tables = [measured(number, place) for place in places]
            first = next((table for table in tables if table["here"].notna().any()), tables[-1])
            parts.append(first[first["dataset"] == dataset])
    return published()[KEY].merge(pd.concat(parts), on=KEY, how="left", validate="one_to_one")[COLUMNS]


def _measured(name: str, study: Study, results: Path | str, corpus: str, protocol: str) -> pd.DataFrame:
    """The board's rows of a study, for all datasets of its table, by what is recorded on a corpus."""
    said = recorded_of(study.on(corpus=corpus, protocol=protocol), results)
    ours = compared(said, study.reference, METRICS)
    rows = beside_published(study, ours).assign(paper=study.paper, table=study.table)
    rows[CHANGES] = np.column_stack([_published_changes(study, rows), _changes(study, ours, rows)])
    known = {study.printed.get(row, (row,))[0] for row in study.rows}
    rows = rows[rows["system"].isin(known | set(study.reasons))]
    here, possible = rows["here"].notna(), rows["system"].isin(known)
    elsewhere = rows["dataset"].map(OWN) != corpus
    stands_on = f"{corpus}, offline encoders" + (", in place of " + rows["dataset"]).where(elsewhere, "")
    lacking = f"not run here: nothing of it is recorded on {corpus}; `command` records it"
    return rows.assign(note=rows["note"].mask(here, stands_on).mask(~here & possible, lacking),
                       run=here.map({True: run_of(said), False: ""}),
                       command=possible.map({True: command(name, corpus, protocol), False: ""}))


def _changes(study: Study, ours: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Change, low, high (points), p of each of `rows` against the reference; of a printed change they are the row's."""
    moved = ours[["system", "metric", "run", "change", "change_low", "change_high"]].rename(
        columns={"change": "mean", "change_low": "low", "change_high": "high"})
    beside = beside_published(study, moved.assign(change=float("nan")))[["here", "low", "high"]]
    printed, chance = rows["metric"].str.endswith(" change"), ours["p"] / 100  # `beside` speaks in percent
    p = beside_published(study, ours.assign(mean=chance, change=chance.where(ours["change"].notna())))["here"]
    return beside.mask(printed, rows[["here", "low", "high"]], axis=0).assign(p=p)


def _published_changes(study: Study, rows: pd.DataFrame) -> pd.Series:
    """What the paper prints of each of `rows` less what it prints of the reference row, in points."""
    system, *modality = study.printed.get(study.reference, (study.reference,))
    reference = rows["system"].eq(system) & rows["modality"].isin(modality or rows["modality"])
    of = rows[reference].set_index(["dataset", "metric"])["published"]
    change = rows["published"] - of.reindex(pd.MultiIndex.from_frame(rows[["dataset", "metric"]])).to_numpy()
    return change.mask(reference).mask(rows["metric"].str.endswith(" change"), rows["published"])


def ablations(rows: pd.DataFrame, metric: str = "WA") -> pd.DataFrame:
    """Rows of a board that say what a part of a paper's own system is worth, a line a system and run.

    Columns LINE; metric (WA, else WF1, where a paper prints none of the one asked for); change, change_low, change_high
    (ours, points); p, p_holm (over all lines that were measured); PRINTED_ON: the published change on each corpus.
    """
    own = rows[rows["published_change"].notna() & ~rows["note"].str.endswith(ELSEWHERE)]
    named = own["metric"].replace(OUR_NAME).str.removesuffix(" change")
    choice = {name: rank for rank, name in enumerate(dict.fromkeys([metric, "WA", "WF1"]))}
    own = own.assign(metric=named, rank=named.map(choice), corpus=own["dataset"].str.split("-").str[0])
    own = own.dropna(subset="rank").sort_values("rank", kind="stable").drop_duplicates([*LINE, "corpus"]).sort_index()
    lines = own.drop_duplicates(LINE).set_index(LINE)[["metric", *CHANGES[1:]]]
    printed = own.pivot(index=LINE, columns="corpus", values="published_change").reindex(columns=PRINTED_ON)
    measured = lines["p"].dropna()
    return lines.assign(p_holm=pd.Series(holm(measured), measured.index)).join(printed).reset_index()


def lookup(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a board to read, a row a system and dataset: what is printed and what was measured here, by metric."""
    lines = []
    for (paper, table, system, modality, dataset), of in rows.groupby(KEY[:-1], sort=False):
        levels = {name: text for row in of.itertuples() for name, text in (
            (row.metric, f"{row.published:.2f}"), (f"{row.metric} here", level(row.here, row.low, row.high)))}
        lines.append({"paper": paper, "table": table, "system": system, "modality": modality, "dataset": dataset,
                      **levels, "run": of["run"].iloc[0] or of["note"].iloc[0]})
    wide = pd.DataFrame(lines).fillna("")
    return wide[[*[c for c in wide if c != "run"], "run"]]


def write(rows: pd.DataFrame, path: Path | str) -> Path:
    """Leave a board's rows in a .parquet or .csv file, its folder made if need be; another ending is refused."""
    path = Path(path)
    save = pick("ending of a board's file", path.suffix, {".parquet": rows.to_parquet, ".csv": rows.to_csv})
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, index=False)
    return path


def inventory(results: Path | str) -> pd.DataFrame:
    """What is recorded, by corpus, protocol and model: runs, folds, seeds, and hours of training by the clock."""
    table = Ledger(results).table()
    of = table.groupby(["corpus", "protocol", "model"])
    return of.agg(runs=("hash", "size"), folds=("fold", "nunique"), seeds=("seed", "nunique"),
                  hours=("seconds", lambda seconds: seconds.sum() / 3600))
