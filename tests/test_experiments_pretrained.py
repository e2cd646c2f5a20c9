"""Experiments on encoders from folders, as the hub would give them: what they start from, what their configs say."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from small_experiments import TINY, bert_in, experiments_on, slice_of_duet, wav2vec2_in

from mer_kit.batch import Padded
from mer_kit.encoders import hub
from mer_kit.errors import BadInput, Missing
from mer_kit.guidance.label_embeddings import GuidanceConfig
from mer_kit.guidance.tonal import wav2vec2_codes
from mer_kit.models.lemer import LEMERConfig
from mer_kit.training import experiments
from mer_kit.training.building import build
from mer_kit.training.experiments import Encoders, Experiment, over_folds, run
from mer_kit.training.presets import FINE_TUNED, OFFLINE
from mer_kit.training.runs import Ledger, record


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    return {"bert": bert_in(folder / "a/bert"), "other": bert_in(folder / "b/other", seed=1),
            "wav2vec2": wav2vec2_in(folder / "a/wav2vec2"),
            "no quantizer": wav2vec2_in(folder / "a/w2v", quantizer=False)}


@pytest.fixture(scope="module")
def pretrained(folders):
    """LE-MER for one epoch on both folders."""
    encoders = replace(TINY, text=folders["bert"], speech=folders["wav2vec2"], max_seconds=1.0)
    return Experiment(encoders=encoders, epochs=1, changes={"batch_size": 64})


@pytest.fixture(scope="module", autouse=True)
def small():
    with experiments_on(slice_of_duet()):
        yield


def stage_of(experiment: Experiment):
    return experiments._stage("duet", None, None, "", experiment.encoders, "raise")


def weights_of(model: torch.nn.Module, part: str) -> torch.Tensor:
    return torch.cat([p.flatten() for p in getattr(model, part).parameters()])


def test_pretrained_encoders_need_no_starting_run_and_their_folders_stay_out_of_the_config(pretrained, ledger, folders):
    finished = run(pretrained, ledger, progress=False)
    assert pretrained.starts_from == {} and list(Ledger(ledger).table()["model"]) == ["lemer"]
    said = json.dumps(finished.config)
    assert "a/bert" in said and "a/wav2vec2" in said and folders["bert"].rsplit("/a/")[0] not in said
    assert len(finished.config["text_weights"]) == len(finished.config["speech_weights"]) == 16
    trained = weights_of(build(pretrained, stage_of(pretrained), stage_of(pretrained).protocol.folds[0], {}),
                         "text_encoder")
    kept = torch.cat([w.flatten() for n, w in finished.weights.items() if n.startswith("text_encoder.")])
    assert len(kept) >= len(trained) and not torch.equal(kept[: len(trained)], trained)  # it learnt


def test_the_config_tells_weights_apart_and_not_where_they_lie(pretrained, folders, tmp_path):
    def config(**encoders):
        experiment = replace(pretrained, encoders=replace(pretrained.encoders, **encoders))
        return experiments._config(experiment, stage_of(experiment))

    first, other = config(), config(text=folders["other"])
    elsewhere = config(text=bert_in(tmp_path / "a/bert"))
    assert elsewhere == first
    assert first["text_weights"] != other["text_weights"] and first["speech_weights"] == other["speech_weights"]
    offline = config(text="offline", speech="offline")
    assert "text_weights" not in offline and sorted(offline["starts"]) == ["speech", "text"]
    assert len({json.dumps(c, sort_keys=True, default=dict) for c in (first, other, offline)}) == 3


def test_a_mixed_model_starts_from_the_offline_half(pretrained, ledger, folders):
    mixed = replace(pretrained, encoders=replace(TINY, text=folders["bert"]))
    assert list(mixed.starts_from) == ["speech"]
    start = experiments._config(mixed.starts_from["speech"], stage_of(mixed))
    plain = replace(mixed, model="speech", encoders=replace(TINY, history_turns=7), changes={})
    assert start == experiments._config(plain, stage_of(plain))  # a run on speech says nothing of text
    assert run(mixed, ledger, progress=False).config["starts"]["speech"] in set(Ledger(ledger).table()["hash"])


def test_codes_are_the_quantizers_own_where_there_is_one_else_k_means(pretrained, folders):
    stage = stage_of(pretrained)
    fold = stage.protocol.folds[0]
    ids = fold.train[:3]
    encoder = stage.encoder("speech", fold, 0)
    codes, vectors = stage.codes(encoder, ids, 0, "cpu")
    waves = [(w - w.mean()) / np.sqrt(w.var() + 1e-7) for w in (stage.speech(u).numpy() for u in ids)]
    expected = wav2vec2_codes(experiments_quantizer(folders["wav2vec2"]), waves)
    assert all(np.array_equal(a, b) for a, b in zip(codes, expected, strict=True)) and vectors.shape == (16**2, 8)
    bare = replace(pretrained, encoders=replace(pretrained.encoders, speech=folders["no quantizer"]))
    codes, vectors = stage_of(bare).codes(stage_of(bare).encoder("speech", fold, 0), ids, 0, "cpu")
    assert vectors.shape[1] == 16 and [len(c) for c in codes] == [len(c) for c in expected]


def experiments_quantizer(folder: str) -> torch.nn.Module:
    from transformers import Wav2Vec2ForPreTraining

    return Wav2Vec2ForPreTraining.from_pretrained(folder).eval()


def test_semantic_labels_are_the_pretrained_encoders_own_states(pretrained):
    guided = replace(pretrained, model="text", labels=True, guidance=GuidanceConfig(semantic="label words"))
    stage = stage_of(guided)
    fold, classes = stage.protocol.folds[0], stage.corpus.label_set.classes
    model = build(guided, stage, fold, {}).eval()
    ids = torch.tensor(stage.text(fold)[0](classes[0])["input_ids"])
    mean = model.text_encoder(Padded.of([ids])).values[0, 1:-1].mean(dim=0)
    torch.testing.assert_close(model.L[0], mean / mean.norm() * 4, atol=1e-4, rtol=1e-4)  # length √16
    assert guided.starts_from == {}


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_encoders_stay_as_they_were(pretrained, ledger, frozen):
    held = replace(pretrained, model="text", encoders=replace(pretrained.encoders, frozen=frozen))
    finished = run(held, ledger, progress=False)
    before = stage_of(held).encoder("text", stage_of(held).protocol.folds[0], 0).state_dict()
    assert all(torch.equal(w, finished.weights[f"text_encoder.{n}"]) for n, w in before.items()) == frozen


def test_codebook_vectors_and_words_start_tonal_labels_too(ledger):
    for tonal, starts in (("codebook vectors", ["speech"]), ("text", ["speech", "text"])):
        guided = Experiment("speech", encoders=TINY, epochs=1, labels=True, guidance=GuidanceConfig(tonal=tonal))
        assert sorted(guided.starts_from) == starts
        assert "loss_L_g_s" in run(guided, ledger, progress=False).history


def test_the_offline_preset_fine_tunes_what_is_pretrained_at_rates_of_its_own():
    both = Experiment(encoders=Encoders(text="some/bert", speech="some/wav2vec2"))
    assert both.train.rates == {"text_encoder": FINE_TUNED["text"], "speech_encoder": FINE_TUNED["speech"],
                                "rest": OFFLINE["lemer"].rates["rest"]}
    changed = replace(both, model="text", changes={"rates": {"text_encoder": 1e-6}, "batch_size": 8})
    assert changed.train.rates["text_encoder"] == 1e-6 and changed.train.batch_size == 8
    assert Experiment(changes={"batch_size": 8}).starts_from["text"].train == Experiment("text").train


def test_the_paper_preset_is_the_papers():
    paper = Experiment(preset="paper")
    assert paper.train.rates == {"text_encoder": 5e-6, "speech_encoder": 1e-6, "rest": 1e-4}
    told = asdict(paper.train)
    assert {n: told[n] for n in ("optimizer", "warmup", "schedule", "batch_size", "precision", "weight_decay")} == {
        "optimizer": "Adam", "warmup": 8000, "schedule": "constant", "batch_size": 16, "precision": "bf16",
        "weight_decay": 0.0}
    assert paper.lemer == LEMERConfig("C1", "raw", mu=(1.0, 0.5, 0.2, 0.2), dropout=0.0)
    assert (paper.guidance.top_words, paper.guidance.top_codes) == (9, 100)
    assert paper.encoders.text == "bert-base-uncased" and "conformer" in paper.encoders.speech
    assert (paper.encoders.history_turns, paper.encoders.max_tokens) == (10, 150)
    assert paper.starts_from == {} and replace(paper, model="text").train.rates == {"text_encoder": 5e-6, "rest": 1e-4}
    assert 3300 / 16 * paper.train.epochs > paper.train.warmup  # a fold of IEMOCAP outlasts the warm-up


def test_recorded_runs_of_other_weights_are_not_joined(pretrained, ledger, tmp_path):
    text = replace(pretrained, model="text")
    record(run(text, ledger, progress=False), tmp_path)
    assert [r.config["text_weights"] for r in over_folds(text, tmp_path)]
    assert over_folds(replace(text, encoders=replace(text.encoders, text="a/bert")), tmp_path)  # without the folder
    (folder,) = tmp_path.iterdir()
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/config.json").write_text(json.dumps(config | {"text_weights": "0" * 16}))
    with pytest.raises(BadInput, match="made with different text_weights"):
        over_folds(text, tmp_path)


@pytest.mark.parametrize("encoders", [Encoders(text="nobody/no-such-bert"), Encoders(speech="nobody/no-such-wav2vec2")])
def test_a_wrong_id_without_network_is_one_sentence_before_anything_trains(encoders, ledger, monkeypatch):
    monkeypatch.setattr(hub, "hub_answers", lambda: False)
    monkeypatch.setattr(experiments, "fit", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(Missing, match=r"'nobody/no-such-\w+' cannot be loaded .* which downloads nothing"):
        run(Experiment(encoders=encoders), ledger, progress=False)


def test_wrong_settings_are_named():
    with pytest.raises(BadInput, match=r"unknown training setting 'batchsize'.*did you mean 'batch_size'"):
        Experiment(changes={"batchsize": 3})
    with pytest.raises(BadInput, match=r"unknown preset 'papers'.*did you mean 'paper'"):
        Experiment(preset="papers")
