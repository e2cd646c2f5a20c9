"""Studies: every row of a paper's table has an experiment or a reason; rows stand beside their reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mer_kit.cli import app
from mer_kit.errors import BadInput
from mer_kit.evaluation.metrics import scores
from mer_kit.evaluation.published import published
from mer_kit.training import jfm_studies, lsgmer_studies
from mer_kit.training.experiments import Experiment, _said
from mer_kit.training.lemer_studies import STUDIES as LEMER
from mer_kit.training.lemer_studies import TABLE_3, TRAINED_ON
from mer_kit.training.runs import Outcome, config_hash, record, run_once
from mer_kit.training.studies import Study, beside_published, predictions, run_study, study_table

STUDIES = {**LEMER, **lsgmer_studies.STUDIES, **jfm_studies.STUDIES}
CLASSES = ["angry", "happy", "sad"]
A, B = Experiment("text"), Experiment("speech")
PAIR = Study("Which is better?", {"a": A, "b": B, "both": (A, B)}, reference="a")


def keep(experiment: Experiment, results, p: np.ndarray) -> None:
    """Record a run that said `p` (utterances, 3) of utterances in dialogues of four."""
    truth = [CLASSES[i % 3] for i in range(len(p))]
    said = pd.DataFrame({"id": [f"u{i}" for i in range(len(p))], "truth": truth,
                         "predicted": np.array(CLASSES)[p.argmax(axis=1)],
                         "dialogue": [f"d{i // 4}" for i in range(len(p))]})
    said = said.join(pd.DataFrame(p, columns=[f"p_{c}" for c in CLASSES]))
    config = _said(experiment) | {"corpus_hash": "0", "protocol": f"duet-4/{experiment.protocol or 'session-out'}"}
    record(run_once(results / "ledger", config, lambda _: Outcome(said)), results / "kept")


@pytest.fixture
def results(tmp_path):
    draw = np.random.default_rng(0)
    for fold in (0, 1):
        for experiment, strength in ((A, 1.5), (B, 0.5)):
            logits = draw.normal(size=(24, 3)) + strength * np.eye(3)[np.arange(24) % 3]
            p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            keep(replace(experiment, fold=fold), tmp_path, p)
    return tmp_path / "kept"


def test_rows_stand_beside_their_reference(results):
    table = study_table(PAIR, results).set_index(["system", "metric"])
    a, b = (predictions(row, results) for row in (A, B))
    by_fold = [scores(t["truth"], t["predicted"], CLASSES)["UA"] for _, t in b.groupby("fold")]
    assert table.loc[("b", "UA"), "mean"] == pytest.approx(np.mean(by_fold))
    assert table.loc[("b", "WA"), "run"] == "duet-4/session-out, 2 runs"
    difference = (b["truth"] == b["predicted"]).mean() - (a["truth"] == a["predicted"]).mean()
    row = table.loc[("b", "WA")]
    assert row["change"] == pytest.approx(difference) and row["change_low"] < row["change"] < row["change_high"]
    assert np.isnan(table.loc[("a", "WA"), "change"])


def test_rows_stand_on_the_runs_that_all_of_them_have(results, tmp_path):
    before = study_table(PAIR, results)
    keep(replace(A, fold=2), tmp_path, np.eye(3)[np.zeros(24, dtype=int)])
    pd.testing.assert_frame_equal(study_table(PAIR, results), before)
    alone = study_table(Study("", {"a": A}, reference="a"), results)
    assert set(alone["run"]) == {"duet-4/session-out, 3 runs"}


def test_score_fusion_adds_logits(results):
    """Added logits, softmaxed, are the product of the probabilities, scaled to sum to one."""
    fused, p = predictions((A, B), results), [f"p_{c}" for c in CLASSES]
    a, b = (predictions(row, results).set_index(["fold", "id"])[p] for row in (A, B))
    product = a * b.loc[a.index]
    expected = product.div(product.sum(axis=1), axis=0)
    np.testing.assert_allclose(fused.set_index(["fold", "id"])[p], expected, rtol=1e-5)
    assert list(fused["predicted"]) == [c.removeprefix("p_") for c in expected.idxmax(axis=1)]


def test_runs_of_another_system_stay_out(results, tmp_path):
    before = study_table(PAIR, results)
    keep(replace(A, labels=True), tmp_path, np.eye(3)[np.zeros(24, dtype=int)])
    pd.testing.assert_frame_equal(study_table(PAIR, results), before)
    without = study_table(Study("", {"c": Experiment("lemer"), "a": A}, reference="c"), results)
    assert set(without["system"]) == {"a"} and without["change"].isna().all()
    assert not len(study_table(PAIR, tmp_path / "nowhere"))


def test_runs_under_different_protocols_never_stand_in_one_table(results, tmp_path):
    """The config of both is the same but for the protocol's full name, and for what as-published selects by."""
    before, published = study_table(PAIR, results), "session-out/as-published"
    drawn = 0.7 * np.eye(3)[np.arange(24) % 3] + 0.1
    for protocol in (published, "session-out/dev=test"):
        for experiment in (A, B):
            keep(replace(experiment, protocol=protocol), tmp_path, drawn)
    pd.testing.assert_frame_equal(study_table(PAIR, results), before)
    pd.testing.assert_frame_equal(study_table(PAIR.on(protocol="session-out"), results), before)
    under = study_table(PAIR.on(protocol=published), results)
    assert set(under["run"]) == {f"duet-4/{published}, 1 run"} and (under["mean"] == 1).all()
    assert not len(study_table(PAIR.on(protocol="speaker-out-5"), results))


def test_a_manifest_recorded_under_both_usual_protocols_must_say_which(tmp_path):
    own = replace(A, corpus="own.tsv")
    for protocol in ("official", "speaker-out-5"):
        keep(replace(own, protocol=protocol), tmp_path, np.eye(3)[np.arange(24) % 3])
    with pytest.raises(BadInput, match=r"made with different protocol: .*official.*; say which with protocol="):
        predictions(own, tmp_path / "kept")
    assert len(predictions(replace(own, protocol="official"), tmp_path / "kept")) == 24


def test_the_command_shows_a_study_under_the_protocol_asked_for(results, tmp_path, monkeypatch):
    monkeypatch.setattr("mer_kit.training.lemer_studies.STUDIES", {"pair": PAIR})
    words = ["study", "pair", "--results", str(results)]
    assert "duet-4/session-out, 2 runs" in CliRunner().invoke(app, words).stdout
    words += ["--protocol", "speaker-out-3"]
    assert "nothing of pair on duet under speaker-out-3 is recorded" in CliRunner().invoke(app, words).stderr
    asked = []
    monkeypatch.setattr("mer_kit.training.studies.run", lambda e, *_, **__: asked.append(e))
    monkeypatch.setattr("mer_kit.training.runs.record", lambda *_: None)
    CliRunner().invoke(app, [*words, "--record"])
    assert {e.protocol for e in asked} == {"speaker-out-3"} and {e.fold for e in asked} == {0, 1, 2}


def test_a_study_runs_each_experiment_once_on_each_fold(monkeypatch):
    asked = []
    monkeypatch.setattr("mer_kit.training.studies.run", lambda e, ledger, **_: asked.append(e))
    list(run_study(PAIR.on(corpus="nemo", data_dir="x"), "nowhere", folds=(0, 3), seeds=(1, 2)))
    assert [(e.model, e.fold, e.seed) for e in asked] == [(m, f, s) for f in (0, 3) for s in (1, 2)
                                                          for m in ("text", "speech")]
    assert {e.corpus for e in asked} == {"nemo"} and all(e.guidance.seed == e.seed for e in asked)


@pytest.mark.parametrize("study", [s for s in STUDIES.values() if s.paper], ids=lambda s: f"{s.paper} {s.table}")
def test_every_row_that_was_published_has_an_experiment_or_a_reason(study):
    table = published(study.paper, study.table)
    rows = {study.printed.get(row, (row, ""))[0] for row in study.rows}
    if table["metric"].str.endswith(" change").all():
        rows -= {study.reference}  # a change is printed of the others
    assert set(table["system"]) == rows | set(study.reasons) and not rows & set(study.reasons)


@pytest.mark.parametrize("name", STUDIES)
def test_the_rows_of_a_study_are_different_experiments(name):
    study = STUDIES[name]
    assert study.reference in study.rows
    hashes = [config_hash({"e": [_said(e) for e in (row if isinstance(row, tuple) else (row,))]})
              for row in study.rows.values()]
    assert len(set(hashes)) == len(hashes)


def test_a_papers_table_says_what_was_not_run(tmp_path):
    draw = np.random.default_rng(1)
    for name in ("C1 attention constraint", "C4 only A_r"):
        keep(TABLE_3.rows[name], tmp_path, draw.dirichlet(np.ones(3), size=24))
    table = beside_published(TABLE_3, study_table(TABLE_3, tmp_path / "kept")).set_index(["system", "metric"])
    assert table.loc[("C2 A_r + A_l", "WA"), "note"] == "not run here"
    assert table.loc[("C4 only A_r", "WA"), "note"].startswith("duet-4/session-out")


def test_one_system_under_several_modalities_stands_beside_each(tmp_path):
    draw = np.random.default_rng(1)
    for row in jfm_studies.TABLE_1.rows.values():
        keep(row, tmp_path, draw.dirichlet(np.ones(3), size=24))
    ours = study_table(jfm_studies.TABLE_1, tmp_path / "kept", ("WA", "WF1"))
    table = beside_published(jfm_studies.TABLE_1, ours).set_index(["system", "modality", "dataset", "metric"])
    of_row = ours.set_index(["system", "metric"])["mean"]
    for row, modality in (("T", "text"), ("A", "audio"), ("T+A", "audio+text")):
        assert table.loc[("JFM", modality, "MELD-7", "Acc"), "here"] == pytest.approx(100 * of_row[row, "WA"])
    assert table.loc[("SCFA", "text", "MELD-7", "WF1"), "note"] == "not run here: a system of another paper"


def test_changes_stand_beside_changes(tmp_path):
    draw, study = np.random.default_rng(1), jfm_studies.TABLE_2
    for name in ("JFM", "w/o v_j"):
        keep(study.rows[name], tmp_path, draw.dirichlet(np.ones(3), size=24))
    ours = study_table(study, tmp_path / "kept", ("WA", "WF1")).set_index(["system", "metric"])
    table = beside_published(study, ours.reset_index()).set_index(["system", "dataset", "metric"])
    for metric, printed in (("WA", "Acc change"), ("WF1", "WF1 change")):
        row = table.loc[("w/o v_j", "IEMOCAP", printed)]
        expected = [100 * ours.loc[("w/o v_j", metric), c] for c in ("change", "change_low", "change_high")]
        assert row[["here", "low", "high"]].tolist() == pytest.approx(expected)
    assert table.loc[("w/o ICL", "IEMOCAP", "Acc change"), "note"] == "not run here"


def test_the_control_of_table_1_differs_from_its_row_in_the_weight_of_labels_alone():
    for plain, longer, labelled in (("A2", "A2, trained on as long", "A5"), ("B1", "B1, trained on as long", "B5")):
        rows = TRAINED_ON.rows
        assert rows[longer].lemer.mu[2:] == (0, 0) and rows[labelled].lemer.mu[2:] == (0.2, 0.2)
        assert replace(rows[longer], lemer=rows[labelled].lemer) == rows[labelled]
        assert list(rows[longer].starts_from.values()) == list(rows[labelled].starts_from.values()) == [rows[plain]]
