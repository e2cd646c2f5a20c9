"""Frozen encoders in experiments, and finished runs that are asked again, with their inputs as they are or damaged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from small_experiments import SMALL, TINY, experiments_on, slice_of_duet

from mer_kit.corpora import corrupt
from mer_kit.models.lsgmer import LSGMERConfig
from mer_kit.training.experiments import run, stage_of
from mer_kit.training.restore import restored
from mer_kit.training.runs import Ledger

SMALL_LSGMER = replace(SMALL, model="lsgmer", lsgmer=LSGMERConfig(dim=16, heads=2), epochs=2)


@pytest.fixture(scope="module", autouse=True)
def small():
    with experiments_on(slice_of_duet()):
        yield


def test_lsgmer_trains_over_states_of_the_unimodal_runs_without_history(ledger):
    finished = run(SMALL_LSGMER, ledger, progress=False)
    models = Ledger(ledger).table()["model"].tolist()
    assert sorted(models) == ["lsgmer", "speech", "text"]
    assert {"loss_L_ce", "loss_L_apc", "drift", "step", "dev_UA"} <= set(finished.history)
    assert not any(name.startswith(("text_encoder", "speech_encoder")) for name in finished.weights)
    assert replace(SMALL_LSGMER, encoders=None).encoders.history_turns == 0
    utterance = finished.predictions["id"][0]
    assert finished.attention[f"gate/{utterance}"].sum() == pytest.approx(1)
    assert set(finished.grounding["part"]) == {"words", "voice"}
    way = finished.attention["labels/L"]
    assert way.shape == (3, 4, 16) and torch.equal(way[0], finished.weights["L_start"])
    assert torch.equal(way[int(finished.metrics["best_epoch"])], finished.weights["L"])
    assert not any(name.startswith("labels/") for name in finished.history)


def test_a_restored_model_shows_what_its_run_attended_to(ledger):
    finished, trained = (do(SMALL_LSGMER, ledger, progress=False) for do in (run, restored))
    utterance = finished.predictions["id"][0]
    again = trained.samples([utterance], maps=0)
    for name in ("label_token", "label_frame", "words", "features"):
        torch.testing.assert_close(again[f"{name}/{utterance}"], finished.attention[f"{name}/{utterance}"], atol=1e-4,
                                   rtol=1e-4)
    assert f"token_frame/{utterance}" not in again and again["frame_rate"] == finished.attention["frame_rate"]


@pytest.mark.parametrize("model", ["text", "speech", "lemer", "lsgmer"])
def test_a_restored_model_says_what_its_run_said(ledger, model):
    experiment = replace(SMALL_LSGMER, model=model) if model == "lsgmer" else replace(SMALL, model=model)
    finished, trained = run(experiment, ledger, progress=False), restored(experiment, ledger, progress=False)
    again = trained.predict(finished.predictions["id"]).set_index("id").loc[finished.predictions["id"]]
    p = [c for c in again if c.startswith("p_")]
    np.testing.assert_allclose(again[p], finished.predictions[p], atol=1e-4)
    assert again["truth"].tolist() == finished.predictions["truth"].tolist()
    assert ("gate_audio" in again) == (model == "lsgmer")


def test_damage_reaches_the_modality_that_it_is_done_to(ledger):
    trained = restored(SMALL_LSGMER, ledger, progress=False)
    ids = trained.fold.test[:9]
    as_it_is = trained.predict(ids)
    silent = trained.predict(ids, sound=lambda _, samples: corrupt.mute(samples))
    wordless = trained.predict(ids, words=lambda u, text: corrupt.drop_words(text, 1.0, 0))
    same = trained.predict(ids, words=lambda _, text: text, sound=lambda _, samples: samples)
    p = [c for c in as_it_is if c.startswith(("p_", "gate"))]
    pd.testing.assert_frame_equal(as_it_is, same)
    for other in (silent, wordless):
        assert (as_it_is.set_index("id")[p] - other.set_index("id")[p]).abs().max().max() > 1e-5
    text = restored(replace(SMALL, model="text"), ledger, progress=False)
    deaf = [text.predict(ids, sound=damage) for damage in (None, lambda _, samples: corrupt.mute(samples))]
    pd.testing.assert_frame_equal(*deaf)


def test_history_can_be_taken_away(ledger):
    trained = restored(replace(SMALL, model="text"), ledger, progress=False)
    ids = trained.fold.test
    usual, none = trained.predict(ids).set_index("id"), trained.predict(ids, history_turns=0).set_index("id")
    first = [u for u in ids if stage_of(SMALL).rows.loc[u, "turn"] == 0]
    changed = (usual["p_sad"] - none["p_sad"].loc[usual.index]).abs() > 1e-6
    assert changed.any() and not changed.loc[first].any()
    assert TINY.history_turns == 2


def test_a_spectrogram_comes_with_frozen_states(ledger):
    stage = stage_of(SMALL_LSGMER)
    utterance = stage.protocol.folds[0].test[0]
    assert torch.equal(stage.bands(stage.frames(utterance)), stage.speech(utterance)[:, :80])
