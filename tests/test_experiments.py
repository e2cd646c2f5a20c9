"""Experiments end to end on a slice of duet: what they share, what they start from, what they may not see."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch
from small_experiments import SMALL, TINY, experiments_on, slice_of_duet

from mer_kit.errors import BadInput
from mer_kit.guidance.controls import CONTROLS
from mer_kit.guidance.label_embeddings import SEMANTIC, TONAL, GuidanceConfig
from mer_kit.models.lemer import LEMERConfig
from mer_kit.training import experiments
from mer_kit.training.building import build
from mer_kit.training.experiments import Experiment, over_folds, run
from mer_kit.training.runs import Ledger, record


@pytest.fixture(scope="module")
def corpus():
    return slice_of_duet()


@pytest.fixture(scope="module", autouse=True)
def small(corpus):
    with experiments_on(corpus):
        yield


def stage_of(experiment: Experiment):
    return experiments._stage("duet", None, None, experiment.protocol, experiment.encoders, "raise")


def test_a_run_trains_what_it_starts_from_once_and_is_read_afterwards(ledger, monkeypatch):
    first = run(SMALL, ledger, progress=False)
    assert sorted(Ledger(ledger).table()["model"]) == ["lemer", "speech", "text"]
    tested = stage_of(SMALL).protocol.folds[0].test
    assert sorted(first.predictions["id"]) == sorted(tested)
    assert {"WA", "UA", "WF1", "best_epoch", "oracle", "padding_share"} <= set(first.metrics)
    monkeypatch.setattr(experiments, "fit", lambda *_, **__: pytest.fail("trained again"))
    again = run(SMALL, ledger, progress=False)
    assert again.hash == first.hash
    pd.testing.assert_frame_equal(again.predictions, first.predictions)


def test_a_model_begins_with_the_encoders_of_its_starting_runs(ledger):
    stage, starts = stage_of(SMALL), {m: run(e, ledger, progress=False) for m, e in SMALL.starts_from.items()}
    model = build(SMALL, stage, stage.protocol.folds[0], starts)
    for modality, start in starts.items():
        weights = getattr(model, f"{modality}_encoder").state_dict()
        assert all(torch.equal(w, start.weights[f"{modality}_encoder.{name}"]) for name, w in weights.items())


def test_nothing_that_is_fitted_sees_the_test_part(ledger, corpus, monkeypatch):
    stage, starts = stage_of(SMALL), {m: run(e, ledger, progress=False) for m, e in SMALL.starts_from.items()}
    fold = stage.protocol.folds[0]
    before = build(SMALL, stage, fold, starts), stage.text(fold)[0].get_vocab()
    texts = corpus.table["text"].where(~corpus.table["id"].isin(fold.test), "zebra zebra furious")
    changed = replace(corpus, table=corpus.table.assign(text=texts))
    monkeypatch.setattr(experiments, "load_corpus", lambda *_: changed)
    stage = experiments._stage.__wrapped__("duet", None, None, "", TINY)
    after = build(SMALL, stage, stage.protocol.folds[0], starts), stage.text(fold)[0].get_vocab()
    assert before[1] == after[1]
    assert torch.equal(before[0].L_t, after[0].L_t) and torch.equal(before[0].L_s, after[0].L_s)


def test_unimodal_models_with_labels_start_from_those_without(ledger):
    for modality, label_map in (("text", "L_g_t"), ("speech", "L_g_s")):
        guided = replace(SMALL, model=modality, labels=True)
        assert list(guided.starts_from) == [modality] and not guided.starts_from[modality].labels
        assert f"loss_{label_map}" in run(guided, ledger, progress=False).history


def test_labels_of_one_modality_are_weighed_by_their_part_of_mu(ledger):
    stage, mu = stage_of(SMALL), (1.0, 0.5, 0.3, 0.0)
    for modality, own in (("text", 0.3), ("speech", 0.0)):
        guided = replace(SMALL, model=modality, labels=True, lemer=replace(SMALL.lemer, mu=mu))
        assert guided.starts_from == replace(guided, lemer=SMALL.lemer).starts_from
        starts = {m: run(e, ledger, progress=False) for m, e in guided.starts_from.items()}
        assert build(guided, stage, stage.protocol.folds[0], starts).config.mu == own


def test_without_progress_no_bar_is_asked_for(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("mer_kit.features.inputs.tqdm", lambda items, *_, disable, **__: asked.append(disable) or items)
    run(replace(SMALL, model="speech", seed=7), tmp_path, progress=False)
    assert asked == [True]


def test_ablations_share_their_starting_runs():
    assert SMALL.starts_from == replace(SMALL, lemer=LEMERConfig("C3", dropout=0.3)).starts_from
    assert SMALL.starts_from == replace(SMALL, guidance=GuidanceConfig(control="shuffled")).starts_from


@pytest.mark.parametrize("guidance", [
    *(GuidanceConfig(semantic=s) for s in SEMANTIC[1:]), *(GuidanceConfig(tonal=t) for t in ("text", "random")),
    *(GuidanceConfig(control=c) for c in CONTROLS if c not in ("none", "synonyms"))], ids=str)
def test_every_init_and_control_starts_labels_elsewhere(ledger, guidance):
    stage, starts = stage_of(SMALL), {m: run(e, ledger, progress=False) for m, e in SMALL.starts_from.items()}
    fold = stage.protocol.folds[0]
    plain, other = (build(replace(SMALL, guidance=g), stage, fold, starts) for g in (GuidanceConfig(), guidance))
    moved = [not torch.allclose(getattr(plain, name), getattr(other, name), atol=1e-3) for name in ("L_t", "L_s")]
    assert any(moved) and (all(moved) or guidance.control == "none")


def test_as_published_keeps_the_last_epoch(ledger):
    published = replace(SMALL, model="text", protocol="session-out/as-published", epochs=2)
    finished = run(published, ledger, progress=False)
    assert finished.metrics["best_epoch"] == 2 and not [c for c in finished.history if c.startswith("dev")]
    assert finished.config["protocol"] == "duet-4/session-out/as-published"


def test_a_teaching_protocol_is_marked_on_its_runs(ledger):
    finished = run(replace(SMALL, model="text", protocol="random-5"), ledger, progress=False)
    assert finished.config["protocol"].startswith("duet-4/random-5 (teaching only: ")


def test_errors_name_what_came(ledger):
    with pytest.raises(BadInput, match=r"unknown model 'lemur'.*did you mean 'lemer'"):
        Experiment("lemur")
    with pytest.raises(BadInput, match="got fold 5 of duet-4/session-out; expected 0 to 4"):
        run(replace(SMALL, fold=5), ledger)


def test_unknown_tonal_inits_are_refused():
    assert "codebook" in TONAL
    with pytest.raises(BadInput, match="unknown tonal 'code book'"):
        replace(SMALL, guidance=GuidanceConfig(tonal="code book"))


def test_recorded_runs_of_another_system_are_never_counted_in(ledger, tmp_path):
    shuffled = replace(SMALL, guidance=GuidanceConfig(control="shuffled"))
    longer, other_fold = replace(SMALL, epochs=2), replace(SMALL, fold=1)
    for experiment in (SMALL, shuffled, other_fold):
        record(run(experiment, ledger, progress=False), tmp_path)
    assert sorted(r.config["fold"] for r in over_folds(SMALL, tmp_path)) == ["Session1", "Session2"]
    assert [r.config["guidance"]["control"] for r in over_folds(shuffled, tmp_path)] == ["shuffled"]
    assert over_folds(longer, tmp_path) == [] == over_folds(SMALL.starts_from["text"], tmp_path)


def test_a_training_that_does_not_fit_is_refused_before_it_starts(tmp_path, monkeypatch):
    monkeypatch.setattr("mer_kit.training.memory.free_memory", lambda _: 1e-4)
    with pytest.raises(BadInput, match=r"training needs about .* GiB are free on cpu; take a smaller batch_size"):
        run(replace(SMALL, model="text"), tmp_path, progress=False)
    assert not len(Ledger(tmp_path).table())
