"""A training that is the same in one process and in several: `accelerate launch … several_processes.py LEDGER`.

JFM with its contrastive loss among all utterances of a step, 23 ragged ones in batches of 8, nothing drawn at random.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from small_jfm import PLAIN, model
from small_lemer import BANDS, C

from mer_kit.batch import Batch, Padded
from mer_kit.training import runs
from mer_kit.training.config import TrainConfig
from mer_kit.training.fit import fit
from mer_kit.training.runs import Outcome, Run, run_once

CONFIG = {"model": "jfm", "corpus": "toy", "corpus_hash": "c0", "protocol": "toy/session-out", "fold": "S1", "seed": 0}
TRAIN = TrainConfig(epochs=4, rates={"rest": 0.01}, batch_size=8, gradient_accumulation=2, patience=2, warmup=0.2)


def batches(utterances: int, seed: int) -> list[Batch]:
    """2 to 9 tokens and frames an utterance, whose class its first token tells."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(C, (utterances,), generator=random)
    lengths = torch.randint(2, 10, (2, utterances), generator=random).tolist()
    texts = [torch.cat([label[None] + 1, torch.randint(5, 20, (n,), generator=random)])
             for label, n in zip(labels, lengths[0], strict=True)]
    frames = [torch.randn(n, BANDS, generator=random) for n in lengths[1]]
    own = [torch.ones(len(text), dtype=torch.bool) for text in texts]
    return [Batch(tuple(f"u{i}" for i in rows), labels[rows], Padded.of([texts[i] for i in rows]),
                  Padded.of([own[i] for i in rows]).values, Padded.of([frames[i] for i in rows]))
            for rows in torch.arange(utterances).split(TRAIN.batch_size)]


def compute(scratch: Path) -> Outcome:
    trained = model(replace(PLAIN, icl=0.5))
    fitted = fit(trained, batches(23, 0), TRAIN, [f"c{i}" for i in range(C)], dev=batches(17, 1), test=batches(19, 2),
                 folder=scratch, device="cpu", progress=False)
    return Outcome(fitted.predictions, fitted.history, {"best_epoch": fitted.best_epoch}, trained.state_dict())


def train(ledger: Path | str) -> Run:
    runs.environment = lambda: {"processes": os.environ.get("WORLD_SIZE", "1")}  # git and the driver take their time
    return run_once(ledger, CONFIG, compute)


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(sys.argv[1])
