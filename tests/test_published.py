"""The papers' numbers as packaged, and ours beside them."""

from __future__ import annotations

import pandas as pd
import pytest

from mer_kit.errors import BadInput
from mer_kit.evaluation.published import beside, published


def value(paper: str, table: str, system: str, metric: str, dataset: str) -> float:
    rows = published(paper, table)
    [found] = rows["value"][(rows["system"] == system) & (rows["metric"] == metric) & (rows["dataset"] == dataset)
                            & (rows["modality"] == "audio+text")]
    return found


def test_numbers_are_those_of_the_papers():
    assert len(published()) == 135 and len(published("LE-MER")) == 44
    assert published().groupby("paper").size().to_dict() == {"LE-MER": 44, "LSGMER": 41, "JFM": 50}
    assert len(published("LE-MER", "Table 1")) == 20
    assert value("LE-MER", "Table 2", "LE-MER", "UA", "IEMOCAP-4") == 83.11
    assert value("LE-MER", "Table 3", "C4 only A_r", "WA", "IEMOCAP-4") == 81.08
    assert value("LSGMER", "Table III", "w/o JOO", "WF1", "MELD-7") == 61.8
    assert value("JFM", "Table 2", "w/o ICL", "WF1 change", "IEMOCAP") == -1.04


def test_the_packaged_table_is_the_shared_one(shared):
    pd.testing.assert_frame_equal(published(), pd.read_csv(shared / "published/published.csv"))


def test_wrong_names_list_the_valid_ones():
    with pytest.raises(BadInput, match="unknown paper 'LEMER'; expected one of: LE-MER, LSGMER, JFM; did you mean"):
        published("LEMER")
    with pytest.raises(BadInput, match="unknown table 'Table 4'; expected one of: Table 1, Table 2, Table 3"):
        published("LE-MER", "Table 4")


def ours(*rows: tuple, **more) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["system", "metric", "mean", "low", "high"]).assign(
        run="duet-4/session-out", **more)


def test_ours_stand_beside_theirs():
    table = beside(ours(("C1 attention constraint", "UA", 0.8, 0.78, 0.82), ("C3 only A_l", "UA", 0.7, 0.6, 0.8)),
                   "LE-MER", "Table 3", {"C2 A_r + A_l": "see notebook 09"})
    assert table.columns.tolist() == ["system", "modality", "dataset", "metric", "published", "here", "low", "high",
                                      "note"]
    assert table[["system", "metric"]].equals(published("LE-MER", "Table 3")[["system", "metric"]])
    row = table[(table["system"] == "C1 attention constraint") & (table["metric"] == "UA")].iloc[0]
    assert row[["published", "here", "low", "high"]].tolist() == pytest.approx([83.11, 80, 78, 82])
    assert row["note"] == "duet-4/session-out"
    notes = table[table["here"].isna()].groupby("system")["note"].first()
    assert notes["C2 A_r + A_l"] == "not run here: see notebook 09" and notes["C4 only A_r"] == "not run here"


def test_a_system_that_stands_there_twice_is_told_apart_by_dataset():
    row = ("LSGMER", "WF1", 0.6, 0.5, 0.7)
    table = beside(ours(row, dataset="MELD-7"), "LSGMER", "Table III")
    assert table["here"].notna().sum() == 1
    changes = beside(ours(("w/o JFM", "WA change", -0.04, -0.06, -0.02), dataset="IEMOCAP"), "JFM", "Table 2")
    row = changes[changes["here"].notna()].iloc[0]
    assert (row["metric"], row["published"], row["here"]) == ("Acc change", -4.67, -4)


def test_results_that_do_not_fit_the_table_are_refused():
    row = ("C1 attention constraint", "UA", 0.8, 0.7, 0.9)
    with pytest.raises(BadInput, match=r"unknown system of LE-MER's Table 3 'C1'"):
        beside(ours(("C1", *row[1:])), "LE-MER", "Table 3")
    with pytest.raises(BadInput, match="unknown system"):
        beside(ours(row), "LE-MER", "Table 3", {"C9": "why"})
    with pytest.raises(BadInput, match="two results of ours"):
        beside(ours(row, row), "LE-MER", "Table 3")
    with pytest.raises(BadInput, match="lack the columns run, low"):
        beside(ours(row).drop(columns=["run", "low"]), "LE-MER", "Table 3")
