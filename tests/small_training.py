"""A small model and batches whose numbers are quick to learn, shared by the tests of training.

As a program, it trains in a folder: `python small_training.py FOLDER EPOCH_TO_BE_KILLED_IN`; 0: never.
"""

from __future__ import annotations

import os
import signal
import sys

import pandas as pd
import torch
from torch import nn

from mer_kit.batch import Batch, ModelOutput, Padded
from mer_kit.training.config import TrainConfig

CLASSES = ("angry", "happy", "sad")
CONFIG = TrainConfig(epochs=5, rates={"rest": 0.02}, seed=3, warmup=2, schedule="cosine")


class Small(nn.Module):
    """Mean of word vectors -> dropout -> linear."""

    def __init__(self, words: int = 12, dim: int = 8, dropout: float = 0.2):
        super().__init__()
        self.encoder = nn.Embedding(words, dim)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(dim, len(CLASSES)))

    def forward(self, batch: Batch) -> ModelOutput:
        logits = self.classifier(Padded(self.encoder(batch.text.values), batch.text.mask).mean())
        if batch.labels is None:
            return ModelOutput(logits)
        loss = nn.functional.cross_entropy(logits, batch.labels)
        return ModelOutput(logits, loss, {"CE": loss, "one": torch.ones((), device=logits.device)})


class Batches:
    """Utterances of 2 to 5 words, the first of which tells the class 4 times in 5; reshuffled by `set_epoch`."""

    def __init__(self, utterances: int = 40, size: int = 8, seed: int = 0, shuffle: bool = True):
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(3, (utterances,), generator=generator)
        tells = torch.rand(utterances, generator=generator) < 0.8
        self.words = [torch.randint(3, 12, (int(n),), generator=generator)
                      for n in torch.randint(2, 6, (utterances,), generator=generator)]
        for words, label, told in zip(self.words, self.labels, tells, strict=True):
            words[0] = label if told else words[0]
        self.size, self.seed, self.shuffle, self.epoch = size, seed, shuffle, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.labels) // self.size)

    def __iter__(self):
        generator = torch.Generator().manual_seed(1000 * self.seed + self.epoch)
        n = len(self.labels)
        order = torch.randperm(n, generator=generator) if self.shuffle else torch.arange(n)
        for rows in order.split(self.size):
            yield Batch(tuple(f"u{i}" for i in rows.tolist()), self.labels[rows],
                        Padded.of([self.words[i] for i in rows]))


def train(folder=None, kill_in: int = 0, config: TrainConfig = CONFIG, **options):
    """Fit a fresh model; the model and what came of it."""
    from mer_kit.training.fit import fit, seed_all

    def kill(model: nn.Module, epoch: int) -> None:
        if epoch == kill_in:
            os.kill(os.getpid(), signal.SIGKILL)

    seed_all(config.seed)
    model = Small()
    sets = {"dev": Batches(30, seed=1, shuffle=False), "test": Batches(30, seed=2, shuffle=False)}
    return model, fit(model, Batches(), config, CLASSES, **sets | {"folder": folder, "on_epoch_end": [kill],
                                                                  "device": "cpu", "progress": False} | options)


def same(a, b) -> None:
    """Models and outcomes of two trainings agree to the last bit."""
    (model_a, fitted_a), (model_b, fitted_b) = a, b
    for name, value in model_a.state_dict().items():
        assert torch.equal(value, model_b.state_dict()[name]), name
    pd.testing.assert_frame_equal(fitted_a.history.drop(columns="seconds"), fitted_b.history.drop(columns="seconds"),
                                  check_exact=True)
    pd.testing.assert_frame_equal(fitted_a.predictions, fitted_b.predictions, check_exact=True)
    assert (fitted_a.best_epoch, fitted_a.oracle) == (fitted_b.best_epoch, fitted_b.oracle)


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(sys.argv[1], int(sys.argv[2]))
