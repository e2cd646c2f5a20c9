"""Checkpoints: a killed training goes on to the same numbers; none is half-written, foreign or a pickle."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_training import CONFIG, Small, same, train
from torch import nn

from mer_kit.errors import BadInput
from mer_kit.training import checkpoints
from mer_kit.training.config import make_optimizer


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_numbers(tmp_path):
    program = [sys.executable, str(Path(__file__).with_name("small_training.py")), str(tmp_path), "4"]
    killed = subprocess.run(program, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [p.name for p in tmp_path.iterdir()] == [checkpoints.FILE]
    trained = []
    resumed = train(tmp_path, on_epoch_end=[lambda model, epoch: trained.append(epoch)])
    assert trained == [4, 5]
    same(resumed, train())
    same(train(tmp_path, on_epoch_end=[lambda model, epoch: pytest.fail("it was finished")]), resumed)


def test_a_training_goes_on_from_every_epoch(tmp_path):
    whole = train()
    for last in range(1, CONFIG.epochs):
        folder = tmp_path / str(last)
        with pytest.raises(KeyboardInterrupt):
            train(folder, on_epoch_end=[interrupt_after(last)])
        same(train(folder), whole)


def interrupt_after(last: int):
    def hook(model: nn.Module, epoch: int) -> None:
        if epoch > last:
            raise KeyboardInterrupt
    return hook


def test_a_checkpoint_is_written_aside_and_is_no_pickle(tmp_path, monkeypatch):
    train(tmp_path)
    before = (tmp_path / checkpoints.FILE).read_bytes()
    assert {n.split("/")[0] for n in load_file(tmp_path / checkpoints.FILE)} == {"model", "best", "optimizer"}
    monkeypatch.setattr(checkpoints.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    model = Small()
    with pytest.raises(OSError, match="disk full"):
        checkpoints.save(tmp_path, checkpoints.State(), model, make_optimizer(model, CONFIG), CONFIG)
    assert (tmp_path / checkpoints.FILE).read_bytes() == before


def test_a_foreign_checkpoint_is_refused(tmp_path):
    train(tmp_path)
    with pytest.raises(BadInput, match=r"seed=3, now 4; give each config its own folder"):
        train(tmp_path, config=replace(CONFIG, seed=4))
    model = Small(dim=9)
    with pytest.raises(BadInput, match="another model's weights"):
        checkpoints.load(tmp_path, model, make_optimizer(model, CONFIG), CONFIG)
    (tmp_path / checkpoints.FILE).write_bytes(b"\x80\x04N.")
    with pytest.raises(BadInput, match="no checkpoint of mer_kit"):
        train(tmp_path)


def test_tensors_that_share_memory_are_kept(tmp_path):
    model = Small()
    model.twin = model.encoder
    model.turned = nn.Parameter(torch.arange(6.0).view(2, 3).T)
    optimizer = make_optimizer(model, CONFIG)
    checkpoints.save(tmp_path, checkpoints.State(), model, optimizer, CONFIG)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    for p in model.parameters():
        p.data.zero_()
    checkpoints.load(tmp_path, model, optimizer, CONFIG)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
