"""The board: a row for each published number, ours or a reason beside it; systems in pairs; what is recorded."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from small_board import ABLATED, CLASSES, TABLE_3, keep_rows, keep_some
from typer.testing import CliRunner

from mer_kit.cli import app, out
from mer_kit.errors import BadInput
from mer_kit.evaluation.metrics import scores
from mer_kit.evaluation.published import published
from mer_kit.evaluation.statistics import holm, paired_cluster_bootstrap
from mer_kit.training import board, comparison
from mer_kit.training.studies import cluster_of, paired, recorded_of


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return keep_some(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def rows(results):
    return board.board(results)


def row_of(rows: pd.DataFrame, *key: str) -> pd.Series:
    """A row by table, system, dataset and metric."""
    [found] = rows[(rows[["table", "system", "dataset", "metric"]] == list(key)).all(axis=1)].to_dict("records")
    return found


@pytest.mark.parametrize("recorded", [True, False])
def test_its_rows_are_the_published_ones_and_none_is_without_a_number_or_a_reason(rows, tmp_path, recorded):
    rows = rows if recorded else board.board(tmp_path)
    pd.testing.assert_frame_equal(rows[board.KEY], published()[board.KEY])
    assert list(rows["published"]) == list(published()["value"]) and not rows.duplicated(board.KEY).any()
    assert rows["here"].notna().any() == recorded
    reasons = rows.loc[rows["here"].isna(), "note"]
    assert reasons.str.fullmatch(r"not run here: .{10,}").all()
    assert (rows["run"] != "").equals(rows["here"].notna()) and rows["note"].str.len().gt(0).all()


def test_every_table_of_the_papers_has_one_study():
    of = [(s.paper, s.table) for s in board.STUDIES.values() if s.paper]
    assert sorted(of) == sorted(set(map(tuple, published()[["paper", "table"]].to_numpy())))


def test_ours_stand_in_their_rows_with_run_note_and_command(rows, results):
    said = recorded_of(TABLE_3, results)["C4 only A_r"]
    by_fold = [scores(t["truth"], t["predicted"], CLASSES)["UA"] for _, t in said.groupby("fold")]
    row = row_of(rows, "Table 3", "C4 only A_r", "IEMOCAP-4", "UA")
    assert row["here"] == pytest.approx(100 * np.mean(by_fold)) and row["low"] < row["here"] < row["high"]
    assert row["run"] == "duet-4/session-out, 2 folds, seed 0"
    assert row["note"] == "duet, offline encoders, in place of IEMOCAP-4"
    assert row["command"] == "mer-kit study le-mer/table-3 --record"
    lacking = row_of(rows, "Table 3", "C3 only A_l", "IEMOCAP-4", "UA")
    assert lacking["note"] == "not run here: nothing of it is recorded on duet; `command` records it"
    other = row_of(rows, "Table 2", "Li et al. [6]", "IEMOCAP-4", "WA")
    assert other["note"] == "not run here: a system of another paper" and other["command"] == ""


def test_voice_is_set_beside_voice_in_le_mers_first_table(tmp_path):
    table = board.STUDIES["le-mer/table-1"]
    keep_rows(table, ["B1 wav2vec2.0", "A2 + historical utterances", "B5 + 2nd stage + LE (codebook init)"], tmp_path)
    rows = board.board(tmp_path / "kept")
    row = row_of(rows, "Table 1", "B5 + 2nd stage + LE (codebook init)", "IEMOCAP-4", "WA")
    b1 = row_of(rows, "Table 1", "B1 wav2vec2.0", "IEMOCAP-4", "WA")
    assert row["published_change"] == pytest.approx(76.74 - 73.92) and np.isnan(b1["change"])
    assert row["change"] == pytest.approx(row["here"] - b1["here"])
    second = row_of(rows, "Table 1", "B2 + 2nd stage", "IEMOCAP-4", "WA")
    assert second["note"].startswith("not run here: the offline encoder has") and second["published_change"] > 0


def test_changes_are_against_the_reference_row_of_the_table(rows, results):
    row = row_of(rows, "Table 3", "C4 only A_r", "IEMOCAP-4", "WA")
    assert row["published_change"] == pytest.approx(81.08 - 82.4)
    said = recorded_of(TABLE_3, results)
    right = {name: (of["truth"] == of["predicted"]).mean() for name, of in said.items()}
    ahead = 100 * (right["C4 only A_r"] - right["C1 attention constraint"])
    assert row["change"] == pytest.approx(ahead) and row["change_low"] <= ahead <= row["change_high"]
    assert row["p"] == pytest.approx(paired(said["C4 only A_r"], said["C1 attention constraint"], "WA").p)
    reference = row_of(rows, "Table 3", "C1 attention constraint", "IEMOCAP-4", "WA")
    assert np.isnan(reference["published_change"]) and np.isnan(reference["change"]) and np.isnan(reference["p"])
    alone = row_of(rows, "Table I", "MSMSER", "IEMOCAP-4", "UA")
    assert alone["published_change"] == pytest.approx(76.4 - 77.9)


def test_a_change_that_is_printed_as_such_stands_in_both_places(rows, results):
    row = row_of(rows, "Table 2", "w/o ICL", "MELD-7", "Acc change")
    assert row["published"] == row["published_change"] == -0.97
    said = recorded_of(ABLATED, results)
    ahead = 100 * paired(said["w/o ICL"], said["JFM"], "WA").difference
    assert row["here"] == row["change"] == pytest.approx(ahead) and row["low"] == row["change_low"]
    assert row["p"] == pytest.approx(paired(said["w/o ICL"], said["JFM"], "WA").p)
    assert row["note"] == "duet, offline encoders, in place of MELD-7"


def test_one_modality_of_a_system_is_told_from_another(tmp_path):
    study = board.STUDIES["jfm/table-1"]
    keep_rows(study, ["T", "T+A"], tmp_path)
    rows = board.board(tmp_path / "kept")
    of = rows[(rows["table"] == "Table 1") & (rows["system"] == "JFM") & (rows["metric"] == "Acc")]
    here = of.set_index(["dataset", "modality"])["here"]
    assert here["IEMOCAP"].notna().to_dict() == {"text": True, "audio": False, "audio+text": True}
    change = of.set_index(["dataset", "modality"])["published_change"]
    assert change["MELD-7", "text"] == pytest.approx(62.82 - 65.62) and np.isnan(change["MELD-7", "audio+text"])


def test_runs_on_the_papers_own_corpus_come_first_and_alone(results, tmp_path):
    """One table, one corpus: where something of it is recorded on IEMOCAP, duet no longer stands in for the rest."""
    keep_rows(TABLE_3, ["C4 only A_r", "C1 attention constraint"], tmp_path)
    keep_rows(TABLE_3, ["C1 attention constraint"], tmp_path, "iemocap")
    keep_rows(ABLATED, ["JFM", "w/o ICL"], tmp_path)
    rows = board.board(tmp_path / "kept")
    row = row_of(rows, "Table 3", "C1 attention constraint", "IEMOCAP-4", "WA")
    assert row["run"] == "iemocap-4/session-out, 2 folds, seed 0" and row["note"] == "iemocap, offline encoders"
    assert row["command"] == "mer-kit study le-mer/table-3 --corpus iemocap --data-dir path/to/iemocap --record"
    assert "nothing of it is recorded on iemocap" in row_of(rows, "Table 3", "C4 only A_r", "IEMOCAP-4", "WA")["note"]
    assert row_of(rows, "Table 2", "w/o ICL", "IEMOCAP", "Acc change")["run"].startswith("duet-4")


def test_another_corpus_may_stand_in(tmp_path):
    keep_rows(comparison.SYSTEMS, ["LSGMER"], tmp_path, "nemo")
    assert board.board(tmp_path / "kept")["here"].isna().all()
    row = row_of(board.board(tmp_path / "kept", "nemo"), "Table I", "LSGMER", "IEMOCAP-4", "WA")
    assert row["here"] > 0 and row["note"] == "nemo, offline encoders, in place of IEMOCAP-4"


def test_ablations_are_the_papers_own_rows_a_line_a_run(rows):
    lines = board.ablations(rows).set_index(["paper", "table", "system", "modality"])
    assert len(lines) == 22 and not lines.index.duplicated().any()
    assert lines.groupby("paper").size().to_dict() == {"LE-MER": 12, "LSGMER": 3, "JFM": 7}
    line = lines.loc["JFM", "Table 2", "w/o ICL", "audio+text"]
    assert list(line[["metric", "IEMOCAP", "MELD"]]) == ["WA", -1.32, -0.97]
    assert line["change"] == row_of(rows, "Table 2", "w/o ICL", "IEMOCAP", "Acc change")["change"]
    other = lines.loc["LSGMER", "Table III", "w/o MA", "audio+text"]
    assert other[["IEMOCAP", "MELD"]].round(6).tolist() == [-0.8, -0.8], "MELD's is of WF1, all that is printed"
    assert np.isnan(other["change"]) and np.isnan(other["p_holm"])
    measured = lines.dropna(subset="p")
    assert list(measured.index.get_level_values("system")) == ["C4 only A_r", "w/o ICL"]
    np.testing.assert_allclose(measured["p_holm"], holm(measured["p"]))


def test_ablations_ask_for_another_metric_and_take_what_is_printed(rows):
    by = {metric: board.ablations(rows, metric).set_index(["table", "system"]) for metric in ("UA", "WF1")}
    assert by["UA"].loc[("Table 3", "C4 only A_r"), ["metric", "IEMOCAP"]].tolist() == ["UA", pytest.approx(-1.43)]
    assert by["UA"].loc[("Table 2", "w/o ICL"), ["metric", "MELD"]].tolist() == ["WA", -0.97]
    assert by["WF1"].loc[("Table 2", "w/o ICL"), ["metric", "MELD"]].tolist() == ["WF1", -0.84]
    assert by["WF1"].loc[("Table 3", "C4 only A_r"), "metric"] == "WA"


def test_ablations_of_two_corpora_are_two_lines(tmp_path):
    """Where a paper's own corpus is recorded, its line is its own; what stands in for the other is another."""
    keep_rows(ABLATED, ["JFM", "w/o ICL"], tmp_path)
    keep_rows(ABLATED, ["JFM", "w/o ICL"], tmp_path, "iemocap")
    lines = board.ablations(board.board(tmp_path / "kept")).query("system == 'w/o ICL'").set_index("run")
    own, other = (lines.loc[f"{corpus}-4/session-out, 2 folds, seed 0"] for corpus in ("iemocap", "duet"))
    assert (own["IEMOCAP"], other["MELD"]) == (-1.32, -0.97) and np.isnan(own["MELD"]) and np.isnan(other["IEMOCAP"])
    assert not board.ablations(board.board(tmp_path / "nothing"))["p_holm"].notna().any()


def test_a_lookup_has_a_row_a_system_with_all_its_metrics(rows):
    wide = board.lookup(rows)
    assert len(wide) == len(published()[board.KEY[:-1]].drop_duplicates()) and not wide.isna().any().any()
    line = wide[(wide["table"] == "Table 3") & (wide["system"] == "C4 only A_r")].iloc[0]
    row = row_of(rows, "Table 3", "C4 only A_r", "IEMOCAP-4", "UA")
    assert line["UA"] == "81.68" and line["UA here"] == f"{row['here']:.1f} ({row['low']:.1f} to {row['high']:.1f})"
    assert line["run"] == row["run"] and line["Acc"] == ""
    assert wide.loc[wide["system"] == "MSMSER", "run"].item() == "not run here: a system of another paper"


def test_it_is_written_as_parquet_and_csv(rows, tmp_path):
    whole = pd.read_parquet(board.write(rows, tmp_path / "new" / "board.parquet"))
    pd.testing.assert_frame_equal(whole, rows, check_dtype=False)
    assert list(pd.read_csv(board.write(rows, tmp_path / "board.csv"))["system"]) == list(rows["system"])
    with pytest.raises(BadInput, match=r"unknown ending of a board's file '.xlsx'"):
        board.write(rows, tmp_path / "board.xlsx")


def test_systems_stand_beside_their_inputs_and_ceilings(results):
    said = comparison.systems(results)
    assert list(said) == ["LE-MER", "LSGMER", "JFM + ICL"]
    assert set(comparison.READS) == set(comparison.SYSTEMS.rows)
    possible = pd.DataFrame({"now": ["text + voice"] * 2, "history": ["none", "text"], "ceiling": [0.8, 0.9],
                             "chance": [0.25] * 2})
    table = comparison.levels(said, possible)
    wa = table[table["metric"] == "WA"].set_index("system")
    assert wa["ceiling"].to_dict() == {"LE-MER": 0.9, "LSGMER": 0.8, "JFM + ICL": 0.9}
    assert wa.loc["LSGMER", "share"] == pytest.approx((wa.loc["LSGMER", "mean"] - 0.25) / 0.55)
    assert table.loc[table["metric"] != "WA", "share"].isna().all()
    text = comparison.shown(table)
    assert text.loc["LE-MER", "possible"] == "90.0" and text.loc["LSGMER", "reads"] == "text + voice"
    assert text.loc["LSGMER", "of the way"].startswith(f"{100 * wa.loc['LSGMER', 'share']:.1f} (")
    assert not len(comparison.shown(comparison.levels({}))) and not comparison.systems(results, "nemo")


def test_every_pair_is_tested_once_on_the_same_utterances(results):
    said = comparison.systems(results)
    table = comparison.pairs(said)
    assert list(zip(table["a"], table["b"], strict=True))[::3] == list(combinations(said, 2))
    row = table[(table["a"] == "LE-MER") & (table["b"] == "LSGMER") & (table["metric"] == "UA")].iloc[0]
    a, b = (said[name].sort_values(["fold", "id"]) for name in ("LE-MER", "LSGMER"))
    expected = paired_cluster_bootstrap(a["truth"], a["predicted"], b["predicted"], a["dialogue"], "UA")
    assert row["difference"] == pytest.approx(expected.difference) and row["p"] == pytest.approx(expected.p, abs=0.02)
    assert row["clusters"] == "24 dialogues"
    of = table[table["metric"] == "UA"]
    np.testing.assert_allclose(of["p_holm"], holm(of["p"]))
    assert not len(comparison.pairs({})) and not len(comparison.pairs({"LE-MER": a}))


def test_labels_start_from_label_words_where_all_emotions_have_the_same_sentences(results, tmp_path):
    keep_rows(comparison.COMPARISONS["systems/nemo"], ["LE-MER"], tmp_path, "nemo")
    assert list(comparison.systems(tmp_path / "kept", "nemo")) == ["LE-MER"]
    keep_rows(comparison.SYSTEMS, ["LE-MER"], tmp_path / "other", "nemo")
    assert not comparison.systems(tmp_path / "other" / "kept", "nemo")


def test_a_system_on_fewer_folds_is_compared_on_these(results, tmp_path):
    keep_rows(comparison.SYSTEMS, ["LE-MER", "LSGMER"], tmp_path)
    keep_rows(comparison.SYSTEMS, ["voice"], tmp_path, folds=(1,))
    table = comparison.levels(comparison.systems(tmp_path / "kept"))
    assert set(table["run"]) == {"duet-4/session-out, 1 fold, seed 0"} and table["low"].isna().all()


def test_speakers_are_resampled_where_dialogues_are_single_utterances(tmp_path):
    keep_rows(comparison.COMPARISONS["systems/nemo"], ["LE-MER", "LSGMER"], tmp_path, "nemo")
    said = comparison.systems(tmp_path / "kept", "nemo")
    assert {cluster_of(of) for of in said.values()} == {"speaker"}
    assert set(comparison.pairs(said, ("WA",))["clusters"]) == {"3 speakers"}


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.02]), [0.5, 0.04])
    np.testing.assert_allclose(holm([0.6, 0.9]), [1, 1])
    assert holm([]).shape == (0,)


def test_the_inventory_counts_runs_and_hours(results, tmp_path):
    table = board.inventory(results)
    assert table["runs"].to_dict() == {("duet", "duet-4/session-out", m): n
                                       for m, n in (("jfm", 4), ("lemer", 4), ("lsgmer", 2))}
    assert table["hours"].sum() == pytest.approx(10 * 0.01) and set(table["folds"]) == {2}
    assert board.inventory(tmp_path / "nothing")["runs"].sum() == 0


def test_the_command_prints_a_table_whole_and_writes_it(results, tmp_path, monkeypatch):
    monkeypatch.setattr(out, "width", 220)
    words, file = ["board", "--results", str(results)], tmp_path / "board.csv"
    shown = CliRunner().invoke(app, [*words, "--paper", "JFM", "--table", "Table 1", "--to", str(file)])
    assert shown.exit_code == 0 and shown.stdout.count("MultiEMO") == 6 and "more" not in shown.stdout
    assert "duet-4/session-out, 2 folds" in shown.stdout and len(pd.read_csv(file)) == len(published("JFM", "Table 1"))
    wrong = CliRunner().invoke(app, [*words, "--paper", "LEMER"])
    assert wrong.exit_code and "did you mean 'LE-MER'" in wrong.stderr.replace("\n", " ")
