"""Two processes under `accelerate launch` are as good as one: the same losses, weights, predictions; one run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import several_processes
import torch
from small_jfm import batch_of

from mer_kit.batch import Padded
from mer_kit.install import ROOT
from mer_kit.training.runs import Ledger

LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
          "--main_process_port", "0"]  # two processes: on CPUs where there is no GPU


def launched(*words: object) -> subprocess.CompletedProcess:
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run([*LAUNCH, *map(str, words)], capture_output=True, text=True, timeout=300, cwd=ROOT,
                          env=os.environ | {"PYTHONPATH": paths, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done


def moved(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the biases of keys, which attention ignores: Adam makes steps of the rounding that is their gradient."""
    def without_keys(name: str, value: torch.Tensor) -> torch.Tensor:
        return torch.cat([value.chunk(3)[0], value.chunk(3)[2]]) if name.endswith("in_proj_bias") else value

    return {name: without_keys(name, value) for name, value in weights.items()
            if not name.endswith(("key.bias", "k_proj.bias"))}


def test_two_processes_are_as_one(tmp_path, monkeypatch):
    """Ragged shares, accumulated batches, a contrast among all utterances, a stop before the last epoch."""
    monkeypatch.setattr(several_processes.runs, "environment", None)  # is put back; `train` sets its own
    launched(Path(several_processes.__file__), tmp_path / "two")
    one = several_processes.train(tmp_path / "one")
    [two] = Ledger(tmp_path / "two").runs()
    assert two.environment == {"processes": "2"} and two.hash == one.hash
    pd.testing.assert_frame_equal(one.history.drop(columns="seconds"), two.history.drop(columns="seconds"), rtol=1e-4)
    pd.testing.assert_frame_equal(one.predictions, two.predictions, rtol=1e-4)
    assert one.metrics["best_epoch"] == two.metrics["best_epoch"] < len(one.history)
    here, there = moved(one.weights), moved(two.weights)
    assert max((here[name] - there[name]).abs().max().item() for name in here) < 1e-4
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == [f".{two.hash}.lock", two.hash]


def manifest(folder: Path) -> Path:
    """Ten speakers with eight tones each, half of them high and angry."""
    import soundfile as sf

    rows = ["audio,text,speaker,label"]
    for i in range(80):
        tone = 0.3 * np.sin(np.arange(6400) * (0.05 + 0.1 * (i % 2)))
        sf.write(folder / f"{i}.wav", tone, 16_000)
        said, label = (("such a calm day", "sadness"), ("you never listen", "anger"))[i % 2]
        rows.append(f"{i}.wav,{said} {i},s{i // 8},{label}")
    (folder / "own.csv").write_text("\n".join(rows) + "\n")
    return folder / "own.csv"


@pytest.mark.slow
def test_the_command_line_in_two_processes_makes_one_run_of_each_config(tmp_path):
    """As a user types it; the second call reads it back."""
    own, two = manifest(tmp_path), tmp_path / "two"
    words = ["-m", "mer_kit", "train", "jfm", "--corpus", own, "--epochs", 1, "--ledger", two]
    said = launched(*words).stdout
    assert said.count("UA") == 1
    assert [run.config["model"] for run in Ledger(two).runs()] == ["jfm", "jfm-speech", "text"]
    assert launched(*words).stdout == said and len(Ledger(two).runs()) == 3


def test_a_part_of_a_batch_is_that_of_its_utterances():
    whole, part = batch_of((0, 1, 2)), batch_of((0, 1, 2))[1::2]
    assert part.ids == ("u1",) and part.labels.tolist() == [whole.labels[1]]
    for ours, theirs in ((part.text, whole.text), (part.speech, whole.speech)):
        assert torch.equal(ours.values[0], theirs.values[1][theirs.mask[1]]) and ours.mask.all()
    assert torch.equal(part.current[0], whole.current[1][whole.text.mask[1]])
    assert torch.equal(Padded.of([torch.arange(3), torch.arange(1)])[1:].values, torch.zeros(1, 1).long())
