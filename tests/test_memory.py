"""The memory estimate, by hand, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from small_training import Batches, train
from torch import nn

from mer_kit.batch import Batch, ModelOutput, Padded
from mer_kit.errors import BadInput
from mer_kit.training.config import TrainConfig
from mer_kit.training.memory import GIB, memory_estimate, require_memory


@pytest.mark.parametrize("part", ["speech", "spectrogram"])
def test_memory_is_counted_by_hand(part):
    class Wide(nn.Module):
        """x (B, L, 4) -> linear(4, 8) -> relu -> sum: backward keeps x (part of the batch) and the relu's output."""

        def __init__(self):
            super().__init__()
            self.frozen = nn.Linear(5, 5).requires_grad_(False)
            self.linear, self.norm = nn.Linear(4, 8), nn.BatchNorm1d(8)

        def forward(self, batch: Batch) -> ModelOutput:
            self.norm.running_mean += 1
            hidden = self.linear(getattr(batch, part).values).relu()
            return ModelOutput(hidden, hidden.sum())

    model, batch = Wide().eval(), Batch(("a", "b"), torch.zeros(2), **{part: Padded.of([torch.ones(6, 4)] * 2)})
    state = torch.get_rng_state()
    needs = {name: round(gib * GIB) for name, gib in memory_estimate(model, batch, TrainConfig()).items()}
    trained = 4 * (4 * 8 + 8 + 16)
    assert needs["parameters"] == trained + 4 * 30 + 4 * 16 + 8  # with running mean, variance and count
    assert (needs["gradients"], needs["optimizer"]) == (trained, 2 * trained)
    assert needs["activations"] == 4 * 2 * 6 * 8 and needs["batch"] == 4 * 2 * 6 * 4 + 2 * 6
    assert needs["total"] == sum(needs.values()) - needs["total"]
    assert not model.training and model.norm.running_mean.eq(0).all() and torch.equal(torch.get_rng_state(), state)


def test_more_memory_than_there_is_is_refused():
    needs = {"parameters": 3.0, "activations": 6.0, "total": 9.0}
    require_memory(needs, "cpu", free=20.0)
    with pytest.warns(UserWarning, match="it may not fit"):
        require_memory(needs, "cpu", free=10.0)
    with pytest.raises(BadInput, match=r"9.00 GiB \(parameters 3.00, activations 6.00\); 8.00 GiB are free.*bf16"):
        require_memory(needs, "cpu", free=8.0)


def test_fit_refuses_before_it_starts(monkeypatch):
    monkeypatch.setattr("mer_kit.training.memory.free_memory", lambda device: 1e-9)
    with pytest.raises(BadInput, match="smaller batch_size"):
        train(largest=next(iter(Batches())), on_epoch_end=[lambda *_: pytest.fail("it started")])
