"""LSGMER's second stage: how long one fold takes over cached features, and what of it is not the model's own work.

    python benchmarks/stage_two.py --epochs 50

Trains what it starts from where the ledger lacks it (not counted), then times `fit` on duet's first fold with the
offline preset: training, dev and test scored after each epoch, checkpoints. "outside" is the share of the time that
is not forward, backward or the optimiser's step: loading and collating batches, metrics, checkpoints, the loop.
"""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from accelerate import Accelerator
from torch import nn

from mer_kit.install import ROOT
from mer_kit.training.building import build, frozen_states
from mer_kit.training.experiments import STATES, Experiment, run, stage_of
from mer_kit.training.fit import fit, seed_all
from mer_kit.training.presets import MODELS


@contextmanager
def timed(owner: object, name: str, spent: Counter[str], kind: str) -> Iterator[None]:
    """Within it, every call of a method adds its seconds to `spent[kind]`."""
    method: Callable = getattr(owner, name)

    def measured(*given, **options):
        begun = time.perf_counter()
        try:
            return method(*given, **options)
        finally:
            spent[kind] += time.perf_counter() - begun

    setattr(owner, name, measured)
    try:
        yield
    finally:
        setattr(owner, name, method)


def main(epochs: int = 50, fold: int = 0, ledger: Path = ROOT / "build/runs",
         out: Annotated[Path, typer.Option(help="Where the figures are kept.")] = ROOT / "benchmarks/stage_two.json",
         ) -> None:
    """Time the second stage of one fold."""
    experiment = Experiment("lsgmer", fold=fold)
    stage, device = stage_of(experiment), torch.device("cpu")
    part = stage.protocol.folds[fold]
    stage.read(experiment.built_from, True)
    starts = {m: run(start, ledger, device="cpu") for m, start in experiment.starts_from.items()}
    frozen = frozen_states(experiment, stage, starts, ledger / STATES, device, True)
    seed_all(experiment.seed)
    model: nn.Module = build(experiment, stage, part, starts)
    config, modalities = replace(experiment.train, epochs=epochs), MODELS["lsgmer"]
    parts = {name: stage.batches(ids, part, modalities, 4 * config.batch_size, None, frozen.scored)
             for name, ids in (("dev", part.dev), ("test", part.test))}
    batches = stage.batches(part.train, part, modalities, config.batch_size, 0, frozen.trained)
    spent: Counter[str] = Counter()
    with (tempfile.TemporaryDirectory() as folder, timed(model, "forward", spent, "forward"),
          timed(Accelerator, "backward", spent, "backward"), timed(torch.optim.AdamW, "step", spent, "optimiser")):
        begun = time.perf_counter()
        fit(model, batches, config, stage.corpus.label_set.classes, folder=folder, device="cpu",
            on_epoch_end=[lambda m, _: m.end_epoch()], **parts)
        seconds = time.perf_counter() - begun
    said = {"epochs": epochs, "utterances": len(part.train), "seconds": round(seconds, 1),
            **{f"{kind} share": round(s / seconds, 3) for kind, s in spent.items()},
            "outside share": round(1 - spent.total() / seconds, 3), "threads": torch.get_num_threads(),
            "torch": torch.__version__, "machine": platform.machine()}
    out.write_text(json.dumps(said, indent=1) + "\n")
    print(json.dumps(said))


if __name__ == "__main__":
    typer.run(main)
