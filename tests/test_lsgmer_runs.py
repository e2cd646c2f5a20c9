"""LSGMER under its stated protocols, on releases written from duet; frozen states, AlexNet, the paper's presets."""

from __future__ import annotations

import shutil
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import torch
from numpy.testing import assert_allclose
from small_experiments import TINY, bert_in, experiments_on, wav2vec2_in
from typer.testing import CliRunner

from mer_kit.batch import Padded
from mer_kit.cli import app
from mer_kit.corpora import Corpus, load_corpus
from mer_kit.corpora.layouts import write_as_iemocap, write_as_meld
from mer_kit.corpora.prepare import prepare_meld
from mer_kit.encoders.spectrogram import SpectrogramEncoder
from mer_kit.encoders.speech import FrameEncoder, WaveEncoder
from mer_kit.encoders.text import OfflineTextEncoder, TextEncoder
from mer_kit.errors import BadInput, Missing
from mer_kit.evaluation.metrics import scores
from mer_kit.features.inputs import Views
from mer_kit.models.lsgmer import LSGMERConfig
from mer_kit.training import experiments
from mer_kit.training.building import build, frozen_states
from mer_kit.training.experiments import STATES, Encoders, Experiment, run, stage_of
from mer_kit.training.restore import restored
from mer_kit.training.runs import Ledger, Run, config_hash

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="the program ffmpeg is not installed")
TINY_LSGMER = Experiment("lsgmer", encoders=replace(TINY, history_turns=0), epochs=2,
                         lsgmer=LSGMERConfig(dim=16, heads=2, views=2))


def some_of_duet(each: int, sessions: int = 5) -> Corpus:
    """So many turns of each emotion in the first sessions."""
    corpus = load_corpus("duet")
    table = corpus.table[corpus.table["session"].isin(sorted(corpus.table["session"].unique())[:sessions])]
    return replace(corpus, table=table.groupby(["session", "raw_label"]).head(each).reset_index(drop=True))


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    """Folders with an IEMOCAP of five sessions and a prepared MELD of three."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("iemocap", "meld")}
    write_as_iemocap(some_of_duet(2), folders["iemocap"])
    if shutil.which("ffmpeg"):
        write_as_meld(some_of_duet(1, sessions=3), folders["meld"])
        prepare_meld(folders["meld"], on_error="raise")
    return {name: str(folder) for name, folder in folders.items()}


PROTOCOLS = [("iemocap", "iemocap-4", "session-out", "Session2"),
             pytest.param("meld", "meld-7", "official", "official", marks=needs_ffmpeg)]


@pytest.mark.parametrize("published", [False, True], ids=["with a dev set", "as published"])
@pytest.mark.parametrize(("corpus", "classes", "scheme", "tested"), PROTOCOLS)
def test_a_stated_protocol_runs_from_disk_to_scores(releases, ledger, corpus, classes, scheme, tested, published):
    protocol = scheme + "/as-published" * published
    fold = int(corpus == "iemocap")
    experiment = replace(TINY_LSGMER, corpus=corpus, data_dir=releases[corpus], protocol=protocol, fold=fold)
    finished, part = run(experiment, ledger, progress=False), stage_of(experiment).protocol.folds[fold]
    assert (finished.config["protocol"], finished.config["fold"]) == (f"{classes}/{protocol}", tested)
    assert finished.config["train"]["selection"] == ("last epoch" if published else "dev")
    assert any(c.startswith("dev") for c in finished.history) == (not published) == bool(part.dev)
    assert finished.metrics["best_epoch"] == 2 or not published
    said = finished.predictions
    assert sorted(said["id"]) == sorted(part.test) and not set(part.test) & {*part.train, *part.dev}
    expected = scores(said["truth"], said["predicted"], stage_of(experiment).corpus.label_set.classes)
    assert {name: finished.metrics[name] for name in ("WA", "UA", "WF1")} == pytest.approx(
        {name: expected[name] for name in ("WA", "UA", "WF1")})
    starts = [r for r in Ledger(ledger).runs() if r.hash in finished.config["starts"].values()]
    assert sorted(r.config["model"] for r in starts) == ["speech", "text"]
    assert {r.config["protocol"] for r in starts} == {finished.config["protocol"]}


def test_as_published_trains_on_every_session_but_the_one_tested(releases):
    stage = stage_of(replace(TINY_LSGMER, corpus="iemocap", data_dir=releases["iemocap"],
                             protocol="session-out/as-published"))
    for number, fold in enumerate(stage.protocol.folds, 1):
        assert {u[:5] for u in fold.test} == {f"Ses0{number}"}
        assert {u[:5] for u in fold.train} == {f"Ses0{n}" for n in range(1, 6) if n != number}


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_no_more_views_are_computed_than_epochs_and_asked_for(releases, ledger, tmp_path, epochs):
    asked = replace(TINY_LSGMER, corpus="iemocap", data_dir=releases["iemocap"], epochs=epochs)
    starts = {m: run(replace(e, epochs=1), ledger, progress=False) for m, e in asked.starts_from.items()}
    states = frozen_states(asked, stage_of(asked), starts, tmp_path, torch.device("cpu"), progress=False)
    views = {m: len(of.states) for m, of in states.trained.items() if isinstance(of, Views)}
    assert views == dict.fromkeys(("text", "speech"), min(epochs, asked.lsgmer.views))


@needs_ffmpeg
def test_meld_as_published_leaves_its_dev_set_unused(releases):
    stage = stage_of(replace(TINY_LSGMER, corpus="meld", data_dir=releases["meld"], protocol="official/as-published"))
    (fold,) = stage.protocol.folds
    assert {u.split("_")[0] for u in fold.train} == {"train"} and {u.split("_")[0] for u in fold.test} == {"test"}


def test_the_command_line_runs_it_too(releases, ledger):
    words = ["train", "lsgmer", "--corpus", "iemocap", "--data-dir", releases["iemocap"], "--epochs", "2", "--protocol",
             "session-out/as-published", "--fold", "1", "--history", "0", "--without", "JOO", "--set", "lsgmer.dim=16",
             "--set", "lsgmer.heads=2", "--set", "lsgmer.views=2", "--set", "lsgmer.dropout=0.1"]
    words += ["--ledger", str(ledger), "--device", "cpu"]
    for field in ("vocabulary", "text_dim", "text_layers", "speech_dim", "speech_layers", "clusters"):
        words += ["--set", f"encoders.{field}={getattr(TINY, field)}"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "iemocap-4/session-out/as-published, fold Session2, seed 0: WA 0." in done.stdout
    assert "(epoch 2 of 2)" in done.stdout
    same = replace(TINY_LSGMER, corpus="iemocap", data_dir=releases["iemocap"], protocol="session-out/as-published",
                   fold=1, lsgmer=replace(TINY_LSGMER.lsgmer, joo=False))
    assert config_hash(experiments._config(same, stage_of(same))) in done.stdout


def test_real_sound_runs(shared, ledger):
    """A few of nEMO's recordings: 24 kHz, Polish, speakers left out."""
    whole = load_corpus("nemo", shared / "data/nemo", check="none")
    few = whole.targets.groupby(["speaker", "label"]).head(2)
    with experiments_on(replace(whole, table=few.reset_index(drop=True))):
        finished = run(replace(TINY_LSGMER, corpus="nemo", epochs=1), ledger, progress=False)
    assert finished.config["protocol"] == "nemo-4/speaker-out-5"
    assert set(finished.predictions["truth"]) == {"angry", "happy", "neutral", "sad"}


# frozen states

def anew(experiment: Experiment, ledger, **changed) -> Run:
    """The run of the experiment changed, as another process would have it: nothing is left in memory."""
    experiments._stage.cache_clear()
    return run(replace(experiment, **changed), ledger, progress=False)


@pytest.fixture
def forbid(monkeypatch):
    """`forbid(A, B)`: from now on the test fails where such an encoder reads a batch of several utterances."""
    def guard(encoder: type) -> None:
        forward = encoder.forward

        def guarded(self, x: Padded) -> Padded:
            return pytest.fail("encoded again") if len(x.values) > 1 else forward(self, x)
        monkeypatch.setattr(encoder, "forward", guarded)

    return lambda *encoders: [guard(encoder) for encoder in encoders]


def test_another_loss_weight_on_a_fold_runs_no_encoder_again(releases, ledger, forbid):
    experiment = replace(TINY_LSGMER, corpus="iemocap", data_dir=releases["iemocap"])
    first = anew(experiment, ledger)
    kept = sorted((ledger / STATES).iterdir())
    forbid(FrameEncoder, OfflineTextEncoder)
    second = anew(experiment, ledger, lsgmer=replace(experiment.lsgmer, beta=0.5))
    assert second.hash != first.hash and second.config["starts"] == first.config["starts"]
    assert sorted((ledger / STATES).iterdir()) == kept
    with pytest.raises(pytest.fail.Exception, match="encoded again"):
        anew(experiment, ledger, seed=1)


def test_states_of_encoders_from_the_hub_serve_all_folds(releases, ledger, forbid, tmp_path):
    encoders = Encoders(bert_in(tmp_path / "a/bert"), wav2vec2_in(tmp_path / "a/wav2vec2"), history_turns=0,
                        max_seconds=1.0)
    experiment = replace(TINY_LSGMER, corpus="iemocap", data_dir=releases["iemocap"], encoders=encoders, epochs=1)
    finished = anew(experiment, tmp_path)
    assert finished.config["starts"] == {} and len(finished.config["text_weights"]) == 16
    forbid(TextEncoder, WaveEncoder)
    assert anew(experiment, tmp_path, fold=3).config["fold"] == "Session4"


# AlexNet

@pytest.fixture
def small_imagenet(monkeypatch):
    """In place of AlexNet and its ImageNet weights, a network of two layers."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 11, stride=4, padding=2), torch.nn.ReLU())
    monkeypatch.setattr("torchvision.models.alexnet", lambda weights: SimpleNamespace(features=deepcopy(layers)))
    return layers


def with_alexnet(releases, how: str) -> Experiment:
    return replace(TINY_LSGMER, corpus="iemocap", data_dir=releases["iemocap"],
                   encoders=replace(TINY_LSGMER.encoders, spectrogram=how))


def test_a_frozen_alexnet_is_run_once_and_kept_by_no_run(releases, ledger, small_imagenet, forbid):
    experiment = with_alexnet(releases, "imagenet")
    finished = anew(experiment, ledger)
    assert finished.config["encoders"]["spectrogram"] == {"encoder": "imagenet"}
    assert len(finished.config["spectrogram_weights"]) == 16
    assert not [name for name in finished.weights if name.startswith("spectrogram_encoder")]
    again = restored(experiment, ledger, progress=False).predict(finished.predictions["id"]).set_index("id")
    p = [c for c in again if c.startswith("p_")]
    assert_allclose(again.loc[finished.predictions["id"], p], finished.predictions[p], atol=1e-4)
    forbid(SpectrogramEncoder)
    anew(experiment, ledger, lsgmer=replace(experiment.lsgmer, beta=0.5))


def test_a_fine_tuned_alexnet_begins_with_its_weights_and_learns(releases, ledger, small_imagenet):
    experiment = with_alexnet(releases, "imagenet fine-tuned")
    stage = stage_of(experiment)
    begun = build(experiment, stage, stage.protocol.folds[0], {}).spectrogram_encoder.layers[0].weight
    assert torch.equal(begun, small_imagenet[0].weight)
    ended = anew(experiment, ledger).weights["spectrogram_encoder.layers.0.weight"]
    assert ended.shape == begun.shape and not torch.equal(ended, begun)


def test_without_alexnets_weights_one_sentence_comes_before_any_training(releases, ledger, monkeypatch):
    def unreachable(weights):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.models.alexnet", unreachable)
    monkeypatch.setattr(experiments, "fit", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(Missing, match=r"AlexNet's ImageNet weights cannot be loaded .*no network.* downloads nothing"):
        anew(with_alexnet(releases, "imagenet"), ledger)
    with pytest.raises(BadInput, match=r"unknown spectrogram 'imagnet'.*did you mean 'imagenet'"):
        Encoders(spectrogram="imagnet")


# presets

def test_the_paper_preset_says_what_the_paper_does_and_its_own_beta_for_meld():
    paper = {corpus: Experiment("lsgmer", corpus, preset="paper") for corpus in ("iemocap", "meld")}
    said = {corpus: experiments._said(experiment) for corpus, experiment in paper.items()}
    assert {corpus: s["lsgmer"]["beta"] for corpus, s in said.items()} == {"iemocap": 0.05, "meld": 0.1}
    assert Experiment("lsgmer", "own.tsv", preset="paper-meld").lsgmer == paper["meld"].lsgmer
    assert {m: e["encoder"] for m, e in said["iemocap"]["encoders"].items()} == {
        "text": "roberta-base", "speech": "microsoft/wavlm-large", "spectrogram": "imagenet"}
    assert paper["iemocap"].frozen == ("text", "speech", "spectrogram") and paper["iemocap"].starts_from == {}
    train = paper["iemocap"].train
    assert (train.epochs, train.optimizer, train.rates) == (50, "AdamW", {"rest": 5e-4})
    assert Experiment("lemer", "meld", preset="paper").lemer == Experiment("lemer", preset="paper").lemer


def test_labels_of_le_mer_are_refused():
    with pytest.raises(BadInput, match="got labels=True for the model 'lsgmer'"):
        Experiment("lsgmer", labels=True)
