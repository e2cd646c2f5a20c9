"""JFM + ICL as experiments: what it starts from, layers from folders, its studies, its runs asked again."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from small_experiments import SIZES, SMALL, TINY, bert_in, experiments_on, slice_of_duet
from test_encoders_patches import vit_in

from mer_kit.errors import BadInput
from mer_kit.models.jfm import JFMConfig
from mer_kit.training import experiments
from mer_kit.training.building import build
from mer_kit.training.experiments import Experiment, run, stage_of
from mer_kit.training.jfm_studies import JFM, STUDIES
from mer_kit.training.presets import PRESETS
from mer_kit.training.restore import restored
from mer_kit.training.runs import Ledger, config_hash
from mer_kit.training.settings import configured, left_out

SMALL_JFM = replace(SMALL, model="jfm", jfm=JFMConfig(extractor=1, feed_forward=16, heads=2, tokens="current"))


@pytest.fixture(scope="module", autouse=True)
def small():
    with experiments_on(slice_of_duet()):
        yield


def test_it_starts_from_a_text_encoder_and_from_its_own_row_a(ledger):
    finished = run(SMALL_JFM, ledger, progress=False)
    assert sorted(Ledger(ledger).table()["model"]) == ["jfm", "jfm-speech", "text"]
    assert {"loss_L_ERC", "loss_L_ICL", "dev_UA"} <= set(finished.history)
    starts, stage = {b: run(e, ledger, progress=False) for b, e in SMALL_JFM.starts_from.items()}, stage_of(SMALL_JFM)
    model = build(SMALL_JFM, stage, stage.protocol.folds[0], starts)
    for part, branch, prefix in ((model.text_encoder, "text", "text_encoder."),
                                 (model.speech_encoder, "vision", "speech_encoder.patches."),
                                 (model.fusion.vision, "vision", "speech_encoder.layers.")):
        assert all(torch.equal(w, starts[branch].weights[prefix + name]) for name, w in part.state_dict().items())


def test_a_run_keeps_what_vectors_attend_to(ledger):
    finished = run(SMALL_JFM, ledger, progress=False)
    stage = stage_of(SMALL_JFM)
    for utterance in finished.predictions["id"][:5]:
        tokens, _ = stage.text(stage.protocol.folds[0])[1](utterance)
        patches = 1 + -(-len(stage.speech(utterance)) // 8)
        kept = {name: finished.attention[f"{name}/{utterance}"] for name in (
            "token_joint", "joint_token", "patch_joint", "joint_patch", "words")}
        assert kept["token_joint"].shape == kept["joint_token"].shape == (len(tokens), 2, 4)
        assert kept["patch_joint"].shape == kept["joint_patch"].shape == (patches, 2, 4)
        assert len(kept["words"]) == len(tokens) and kept["joint_token"][kept["words"] >= 0].any(dim=-1).all()
    assert finished.attention["frame_rate"].item() == 12.5


@pytest.mark.parametrize("model", ["jfm", "jfm-text", "jfm-speech"])
def test_a_restored_model_says_what_its_run_said(ledger, model):
    experiment = replace(SMALL_JFM, model=model)
    finished, trained = run(experiment, ledger, progress=False), restored(experiment, ledger, progress=False)
    again = trained.predict(finished.predictions["id"]).set_index("id").loc[finished.predictions["id"]]
    p = [c for c in again if c.startswith("p_")]
    np.testing.assert_allclose(again[p], finished.predictions[p], atol=1e-4)


def test_what_unimodal_rows_start_from():
    text, speech = (replace(SMALL_JFM, model=m) for m in ("jfm-text", "jfm-speech"))
    assert speech.starts_from == {} and list(text.starts_from) == ["text"]
    assert text.starts_from["text"] == SMALL_JFM.starts_from["text"]
    assert config_hash(experiments._said(text.starts_from["text"])) == config_hash(
        experiments._said(replace(SMALL, model="text")))
    late = replace(SMALL_JFM, jfm=replace(SMALL_JFM.jfm, fusion="late", joint=2, icl=0.0))
    assert late.starts_from == SMALL_JFM.starts_from and late.branches == ("text", "vision")


def test_runs_of_other_models_are_named_as_before():
    for model in ("text", "speech", "lemer", "lsgmer"):
        said = json.dumps(experiments._said(Experiment(model)))
        assert not any(word in said for word in ("jfm", "vision", "language", '"text_layer"'))


def test_every_row_of_the_studies_is_a_model_of_its_own():
    rows = {e for study in STUDIES.values() for e in study.experiments}
    assert len({config_hash(experiments._said(e)) for e in rows}) == len(rows) > 25
    for row in rows:
        wide = TINY if row.encoders.speech_dim == JFM.encoders.speech_dim else replace(TINY, speech_dim=TINY.text_dim)
        tiny = replace(row, encoders=wide)
        stage = stage_of(tiny)
        fold = stage.protocol.folds[0]
        [batch, *_] = stage.batches(fold.test[:3], fold, ("text", "speech"), 3, None)
        assert build(tiny, stage, fold, {}).eval()(batch).logits.shape == (3, 4)


def test_table_2_by_the_names_of_the_command_line():
    for part, changed in (("JFM", {"fusion": "late"}), ("v_j", {"joint": 0}), ("ICL", {"icl": 0.0})):
        named = configured(JFM, left_out("jfm", [part]))
        assert named.jfm == replace(JFM.jfm, **changed) == STUDIES["jfm/table-2"].rows[f"w/o {part}"].jfm


def test_positives_reach_the_batches_of_training_alone(ledger, monkeypatch):
    seen, stage = [], stage_of(SMALL_JFM)
    usual = type(stage).batches
    monkeypatch.setattr(type(stage), "batches", lambda *a, **k: seen.append(usual(*a, **k)) or seen[-1])
    run(replace(SMALL_JFM, jfm=replace(SMALL_JFM.jfm, positives=True)), ledger, progress=False)
    *scored, trained = seen
    assert trained.batch_sampler.classes and not any(part.batch_sampler.classes for part in scored)
    counts = [Counter(batch.labels.tolist()) for batch in trained]
    assert all(n > 1 for count in counts for n in count.values())


def test_layers_and_patches_from_folders_need_no_starting_run(ledger, tmp_path):
    bert, vit = bert_in(tmp_path / "a/bert"), vit_in(tmp_path / "a/vit")
    encoders = replace(TINY, text=bert, language=bert, vision=vit, frozen=True, max_seconds=2.0)
    one = replace(SMALL_JFM, encoders=encoders, jfm=replace(SMALL_JFM.jfm, blocks=1), changes={"batch_size": 64})
    assert one.starts_from == {} and one.train.rates["fusion"] == 5e-5
    finished = run(one, ledger, progress=False)
    assert {"text_weights", "vision_weights", "language_weights"} <= set(finished.config)
    assert "a/vit" in json.dumps(finished.config) and str(tmp_path) not in json.dumps(finished.config)
    stage = stage_of(one)
    fold = stage.protocol.folds[0]
    started = build(one, stage, fold, {})
    weights = started.state_dict()
    moved = {name.split(".")[0] for name, w in finished.weights.items() if not torch.equal(w, weights[name])}
    assert {"speech_encoder", "fusion", "extract", "classify"} <= moved and "text_encoder" not in moved
    assert started.fusion.language[0].dim == started.fusion.vision[0].dim == SIZES["hidden_size"]
    late = build(replace(one, jfm=replace(one.jfm, fusion="late")), stage, fold, {})
    assert len(late.fusion.vision) == 2  # the whole ViT by itself
    with pytest.raises(BadInput, match="got 2 blocks for a model of 1 layers"):
        build(replace(one, jfm=replace(one.jfm, blocks=2)), stage, fold, {})


def test_a_hidden_state_of_the_text_encoder_can_be_chosen(tmp_path):
    encoders = replace(TINY, text=bert_in(tmp_path / "bert"), text_layer=0)
    experiment = replace(SMALL_JFM, model="jfm-text", encoders=encoders)
    stage = stage_of(experiment)
    assert stage.encoder("text", stage.protocol.folds[0], 0).layer == 0
    assert experiments._said(experiment)["encoders"]["text"]["text_layer"] == 0


def test_a_speech_encoder_is_refused():
    with pytest.raises(BadInput, match=r"'facebook/wav2vec2-base' for the model 'jfm', which reads patches"):
        replace(SMALL_JFM, encoders=replace(TINY, speech="facebook/wav2vec2-base"))


def test_the_paper_preset_is_the_papers():
    paper = PRESETS["paper"]["jfm"]
    assert (paper.encoders.text, paper.encoders.frozen, paper.encoders.history_turns) == ("roberta-base", True, 0)
    assert (paper.train.optimizer, paper.train.batch_size, dict(paper.train.rates)) == ("Adam", 32, {"rest": 1e-4})
    assert asdict(paper.jfm)["blocks"] == 2 and Experiment("jfm", preset="paper").starts_from == {}
