"""What experiments, and `mer-kit train`, say to input that they cannot use."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile as sf
from small_experiments import TINY, bert_in
from typer.testing import CliRunner

from mer_kit.cli import app
from mer_kit.errors import BadInput, Missing
from mer_kit.training import experiments
from mer_kit.training.experiments import Experiment, run

RATE, SPEAKERS, EACH = 16_000, 4, 8
COLUMNS = ("audio", "text", "speaker", "label")


class Recordings:
    """A manifest that a test may spoil before it is written: four speakers say eight lines each."""

    def __init__(self, folder) -> None:
        self.folder, random = folder, np.random.default_rng(0)
        self.rows = [{"audio": f"{s}_{i}.wav", "text": f"so {('angry', 'happy')[i % 2]} line {i}", "speaker": f"s{s}",
                      "label": ("anger", "joy")[i % 2]} for s in range(SPEAKERS) for i in range(EACH)]
        for row in self.rows:
            self.sound(row["audio"], random.normal(0, 0.1, RATE // 4))

    def sound(self, name: str, samples: np.ndarray) -> None:
        sf.write(self.folder / name, samples, RATE, subtype="FLOAT")

    def path(self, columns=COLUMNS) -> str:
        lines = ["\t".join(columns), *("\t".join(row[c] for c in columns) for row in self.rows)]
        (self.folder / "own.tsv").write_text("\n".join(lines) + "\n")
        return str(self.folder / "own.tsv")

    def run(self, model: str, columns=COLUMNS, **changed):
        experiment = Experiment(model, self.path(columns), protocol="speaker-out-2", encoders=TINY, epochs=1, **changed)
        return run(experiment, self.folder / "runs", progress=False)


@pytest.fixture
def recordings(tmp_path):
    return Recordings(tmp_path)


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr(experiments, "fit", lambda *_, **__: pytest.fail("it trained"))


@pytest.mark.parametrize(("model", "lacking", "said"), [
    ("speech", "audio", r"model 'speech' reads speech: corpus 'own' has no audio for 32 of 32"),
    ("lemer", "audio", r"model 'lemer' reads speech: corpus 'own' has no audio"),
    ("text", "text", r"model 'text' reads text: corpus 'own' has no text"),
    ("lemer", "text", r"model 'lemer' reads text: corpus 'own' has no text")])
def test_an_absent_modality_is_named_before_anything_trains(recordings, no_training, model, lacking, said):
    with pytest.raises(Missing, match=said):
        recordings.run(model, [c for c in COLUMNS if c != lacking])


def test_one_modality_is_enough_for_the_model_that_reads_it(recordings):
    text = recordings.run("text", ["text", "speaker", "label"])
    assert len(text.predictions) == 16 and text.config["corpus"] == "own"  # not where it lies
    experiments._stage.cache_clear()
    assert len(recordings.run("speech", ["audio", "speaker", "label"]).predictions) == 16


def test_a_class_absent_from_a_training_part_is_refused_with_the_reason(recordings, no_training):
    for row in recordings.rows:
        row["label"] = "joy" if row["speaker"] in ("s0", "s1") else "anger"
    with pytest.raises(BadInput, match="class 'joy' is absent from the training part of fold"):
        recordings.run("text")


def test_an_empty_text_a_short_clip_and_a_strange_text_are_trained_on(recordings):
    recordings.rows[0]["text"], recordings.rows[9]["text"] = "", "😀 שלום <b>"
    recordings.rows[1]["text"] = "word " * 10_000
    recordings.sound(recordings.rows[2]["audio"], np.random.default_rng(1).normal(0, 0.1, RATE // 20))
    for model in ("text", "speech"):
        predictions = recordings.run(model).predictions
        assert len(predictions) == 16 and predictions.filter(like="p_").notna().all(axis=None)


def test_nan_audio_is_named_or_skipped_and_counted(recordings, no_training, monkeypatch):
    recordings.sound(recordings.rows[5]["audio"], np.full(4_000, np.nan))
    with pytest.raises(BadInput, match=r"own\.tsv:7: .* NaN or infinite samples; got '0_5\.wav'"):
        recordings.run("speech")
    monkeypatch.undo()
    finished = recordings.run("speech", on_error="skip")
    assert finished.metrics["skipped"] == 1 and len(finished.predictions) == 15


def test_nan_that_the_corpus_did_not_see_is_named_before_anything_trains(recordings, no_training, monkeypatch):
    load = experiments.load_corpus

    def spoiled(*given):
        corpus = load(*given)
        recordings.sound("0_5.wav", np.full(4_000, np.nan))
        return corpus

    monkeypatch.setattr(experiments, "load_corpus", spoiled)
    with pytest.raises(BadInput, match=r"0_5\.wav: utterance own_00007: the audio holds NaN"):
        recordings.run("lemer")


@pytest.fixture
def call():
    return lambda *words: CliRunner().invoke(app, ["train", *map(str, words)])


def test_train_refuses_in_one_sentence(call, recordings, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    ledger = ["--ledger", recordings.folder / "runs"]
    own = ["--corpus", recordings.path(["text", "speaker", "label"]), "--protocol", "speaker-out-2", *ledger]
    for words, said in (
            (["text", *own, "--text-encoder", "nobody/no-such"], "'nobody/no-such' cannot be loaded"),
            (["speech", *own], "model 'speech' reads speech: corpus 'own' has no audio"),
            (["text", *own, "--rate", "text_encoder"], "expected PART=RATE, such as text_encoder=5e-5"),
            (["text", *own, "--rate", "speech_encoder=1e-3"], "did you mean 'text_encoder'"),
            (["text", *own, "--precision", "fp8"], "unknown precision 'fp8'; expected one of: no, bf16"),
            (["text", *own, "--preset", "papers"], "did you mean 'paper'")):
        done = call(*words)
        assert done.exit_code == 2 and said in done.stderr, done.output
        assert done.stderr.splitlines()[-1].startswith("mer-kit: ")


def test_train_takes_a_folder_and_what_changes(call, recordings, tmp_path):
    own = ["--corpus", recordings.path(["text", "speaker", "label"]), "--protocol", "speaker-out-2"]
    done = call("text", *own, "--ledger", tmp_path / "runs", "--text-encoder", bert_in(tmp_path / "a/bert"), "--labels",
                "--semantic", "label words", "--history", 0, "--rate", "text_encoder=1e-4", "--rate", "rest=1e-3",
                "--batch-size", 4, "--warmup", 3, "--epochs", 2, "--metric", "WF1", "--precision", "bf16")
    assert done.exit_code == 0 and "epoch" in done.stdout, done.output
    (folder,) = (tmp_path / "runs").glob("[!.]*")
    config = experiments.Run(folder).config
    assert config["encoders"]["text"] == {"encoder": "a/bert", "history_turns": 0, "max_tokens": 150, "frozen": False,
                                          "gradient_checkpointing": False}
    told = config["train"]
    assert told["rates"] == {"rest": 1e-3, "text_encoder": 1e-4}
    assert [told[n] for n in ("batch_size", "warmup", "epochs", "metric", "precision")] == [4, 3, 2, "WF1", "bf16"]


def test_meld_without_clips_trains_text_and_refuses_speech(shared, no_training, call, tmp_path):
    done = call("speech", "--corpus", "meld", "--data-dir", shared / "data/meld", "--ledger", tmp_path)
    assert done.exit_code == 2 and "model 'speech' reads speech: corpus 'meld' has no audio" in done.stderr
    stage = experiments._stage("meld", str(shared / "data/meld"), None, "", TINY)
    stage.require("text", ["text"])
    assert [fold.name for fold in stage.protocol.folds] == ["official"] and stage.protocol.selection == "dev"
