"""What the systems of a study cost, measured beside their scores: parameters, memory, seconds a step."""

from __future__ import annotations

import math
import time

import pandas as pd
import torch

from mer_kit.training.building import build
from mer_kit.training.config import make_optimizer
from mer_kit.training.experiments import Experiment, stage_of
from mer_kit.training.fit import find_device, seed_all
from mer_kit.training.memory import GIB, memory_estimate
from mer_kit.training.presets import MODELS
from mer_kit.training.studies import Study


def measured_costs(study: Study, fold: int = 0, steps: int = 5, device: str = "auto") -> pd.DataFrame:
    """A row a system, in the order of the study: "million parameters" that are trained, "GiB" and "s a step".

    GiB: on a GPU the peak of the steps; elsewhere that of one step on the largest batch, its activations measured
    (`memory_estimate`). s a step: the fastest of `steps` on the largest batch, after one to warm up, as others may use
    the machine; NaN where steps is 0. Weights as drawn.
    """
    rows = {name: _costs(experiment, fold, steps, device) for name, experiment in study.rows.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("system")


def _costs(experiment: Experiment, fold: int, steps: int, device: str) -> dict[str, float]:
    stage, where = stage_of(experiment), find_device(device)
    seed_all(experiment.seed)
    part = stage.protocol.folds[fold]
    model = build(experiment, stage, part, {}).to(where).train()
    batch = stage.batches(part.train, part, MODELS[experiment.model], experiment.train.batch_size, 0).largest.to(where)
    optimizer, seconds = make_optimizer(model, experiment.train), []
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
    for _ in range(steps + 1):
        start = time.perf_counter()
        model(batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        seconds.append(time.perf_counter() - start)
    peak = (torch.cuda.max_memory_allocated(where) / GIB if where.type == "cuda"
            else memory_estimate(model, batch, experiment.train)["total"])
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {"million parameters": trained / 1e6, "GiB": peak, "s a step": min(seconds[1:], default=math.nan)}
