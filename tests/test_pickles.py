"""A pickle in the place of any file that the kit reads is refused in a sentence and never run."""

from __future__ import annotations

import hashlib
import os
import pickle
from functools import partial
from pathlib import Path

import pytest
import torch
from killed_runs import CONFIG, compute
from small_experiments import bert_in
from small_training import train

from mer_kit.corpora import load_corpus
from mer_kit.corpora.audio import AudioReader
from mer_kit.encoders.text import pretrained_text_encoder
from mer_kit.errors import BadInput, MerKitError
from mer_kit.features.store import BLANK, MARK, FeatureStore
from mer_kit.training import checkpoints, runs
from mer_kit.training.runs import run_once


class Planted:
    """Makes a folder wherever it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


@pytest.fixture(params=["pickle", "torch"])
def planted(request, tmp_path) -> bytes:
    """The bytes of a pickle, plain or as torch saves it, that would leave a trace; the trace must not be there."""
    place = tmp_path / "trace"
    if request.param == "pickle":
        content = pickle.dumps(Planted(place))
    else:
        torch.save(Planted(place), tmp_path / "planted")
        content = (tmp_path / "planted").read_bytes()
    yield content
    assert not place.exists(), "it was unpickled"


def test_the_planted_pickle_is_one(tmp_path):
    pickle.loads(pickle.dumps(Planted(tmp_path / "trace")))
    assert (tmp_path / "trace").is_dir()


def test_features_and_checkpoints(planted, tmp_path):
    store = FeatureStore(tmp_path / "store")
    sealed = planted + MARK + BLANK.encode() + b'"'
    seal = hashlib.sha256(b"k" + sealed).hexdigest().encode()
    for content in (planted, sealed.replace(BLANK.encode(), seal)):  # the second has the store's own checksum
        store.path("k").write_bytes(content)
        assert store.get("k") is None
    train(tmp_path / "training")
    (tmp_path / "training" / checkpoints.FILE).write_bytes(planted)
    with pytest.raises(BadInput, match=r"is no checkpoint of mer_kit .*; delete it"):
        train(tmp_path / "training")


@pytest.mark.parametrize(("name", "part"), [
    ("model.safetensors", "weights"), ("attention.safetensors", "attention"), ("predictions.parquet", "predictions"),
    ("history.parquet", "history"), ("config.json", "config"), ("metrics.json", "metrics")])
def test_runs(name, part, planted, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "environment", lambda: {"commit": "c"})
    run = run_once(tmp_path / "runs", CONFIG, compute)
    (run.folder / name).write_bytes(planted)
    with pytest.raises(BadInput, match=rf"{name} is damaged \(.*; delete its folder and run the config again"):
        getattr(run_once(tmp_path / "runs", CONFIG, compute), part)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_models_from_a_folder(name, planted, tmp_path):
    folder = Path(bert_in(tmp_path / "bert"))
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(planted)
    with pytest.raises(MerKitError, match="bert' cannot be loaded"):
        pretrained_text_encoder(folder)


@pytest.mark.parametrize("read", [load_corpus, lambda path: AudioReader().decoded(path.read_bytes(), path.name)])
def test_corpora_and_sound(read, planted, tmp_path):
    (tmp_path / "own.csv").write_bytes(planted)
    with pytest.raises(MerKitError, match=r"own\.csv"):
        partial(read, tmp_path / "own.csv")()
