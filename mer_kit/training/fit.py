"""The training loop, on accelerate: one CPU, one GPU, or several processes under `accelerate launch`.

Batches are any iterable of `Batch`; where it has `set_epoch`, that is called before each epoch (1, 2, ...). Under
several processes each one reads all batches, takes every n-th utterance of each, and gradients are averaged by how
many it took: a step is that of one process on the whole batch, to rounding, but for what is drawn at random (dropout,
augmentation) and for a batch of fewer utterances than processes, which each takes whole. The same seed gives the same
numbers: exactly on a CPU with the same number of threads, to rounding on a GPU.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from mer_kit.batch import Batch
from mer_kit.errors import BadInput, Missing, unknown
from mer_kit.evaluation.metrics import scores
from mer_kit.training import checkpoints
from mer_kit.training.checkpoints import State, plain
from mer_kit.training.config import TrainConfig, make_optimizer, rate_factor
from mer_kit.training.memory import memory_estimate, require_memory

DEVICES = ("auto", "cpu", "cuda")
Hook = Callable[[nn.Module, int], "dict[str, float] | None"]  # (model, epoch) -> columns for the history


@dataclass(frozen=True)
class Fitted:
    """What came of a training; the model itself holds the weights of `best_epoch`."""

    history: pd.DataFrame  # a row an epoch: epoch, loss, loss_<term>, rate, dev_<metric>, test_<metric>, seconds
    best_epoch: int
    predictions: pd.DataFrame | None  # of `test` by the best epoch, as `predict` gives them; None without test
    oracle: float | None  # the best test score of any epoch: the reward of peeking, shown only as a gap


def seed_all(seed: int, *stream: int) -> None:
    """Seed Python's, NumPy's and torch's generators, on every device; `stream` tells apart uses of one seed."""
    mixed = int(np.random.SeedSequence((seed, *stream)).generate_state(1)[0])
    random.seed(mixed)
    np.random.seed(mixed)
    torch.manual_seed(mixed)


def fit(model: nn.Module, batches: Iterable[Batch], config: TrainConfig, classes: Sequence[str], *,
        dev: Iterable[Batch] | None = None, test: Iterable[Batch] | None = None, folder: Path | str | None = None,
        on_epoch_end: Sequence[Hook] = (), largest: Batch | None = None, device: str = "auto",
        progress: bool = True) -> Fitted:
    """Train `model`, keep the weights of the epoch that `config.selection` names, and predict `test` with them.

    classes: names of the class numbers. dev: chooses the epoch and stops early; test never does.
    folder: a checkpoint is written there after each epoch, and a training found there goes on.
    on_epoch_end: called after an epoch's steps and before dev is scored; what they remember belongs into the model's
    buffers or into the columns that they return. largest: the largest batch; with it the memory is estimated first, and
    refused beyond what is free. device: one of DEVICES; under `accelerate launch`, the launcher's.
    """
    if config.selection == "dev" and dev is None:
        raise BadInput("got no dev batches for selection='dev'; give dev=..., or say selection='last epoch'")
    loop = _Loop(model, batches, config, classes, device)
    if largest is not None:
        require_memory(memory_estimate(model, loop.share(largest)[0], config), loop.device)
    model.to(loop.device)
    state = checkpoints.load(Path(folder), model, loop.optimizer, config) if folder else State()
    parts = {name: part for name, part in (("dev", dev), ("test", test)) if part is not None}
    with tqdm(total=_length(batches, config.epochs), initial=_length(batches, len(state.rows)) or 0, unit="batch",
              file=sys.stderr, disable=not (progress and loop.accelerator.is_main_process)) as bar:
        while not _finished(state, config):
            loop.epoch(state, parts, on_epoch_end, bar)
            if folder and loop.accelerator.is_main_process:
                checkpoints.save(Path(folder), state, model, loop.optimizer, config)
    model.load_state_dict(state.best)
    model.eval()
    oracle = max(row[f"test_{config.metric}"] for row in state.rows) if test is not None else None
    predictions = predict(model, test, classes, config.precision) if test is not None else None
    return Fitted(pd.DataFrame(state.rows), state.best_epoch, predictions, oracle)


@torch.no_grad()
def predict(model: nn.Module, batches: Iterable[Batch], classes: Sequence[str], precision: str = "no") -> pd.DataFrame:
    """Columns id, truth (None without labels), predicted, p_<class>; rows in the order of the batches.

    The model is left in evaluation mode. Under several processes each predicts its share, and all get the whole.
    """
    from accelerate import PartialState
    from accelerate.utils import gather_object

    processes, rows = PartialState(), []
    device = next(model.parameters()).device
    model.eval()
    for i, batch in islice(enumerate(batches), processes.process_index, None, processes.num_processes):
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits = model(batch.to(device)).logits
        if logits.shape[1] != len(classes):
            raise BadInput(f"the model gives {logits.shape[1]} logits for {len(classes)} classes: {', '.join(classes)}")
        labels = [None] * len(batch) if batch.labels is None else [classes[c] for c in batch.labels.tolist()]
        p = logits.float().softmax(dim=1).cpu().numpy()
        rows += [(i, j, *row) for j, row in enumerate(zip(batch.ids, labels, p, strict=True))]
    rows = sorted(gather_object(rows), key=lambda row: row[:2])
    if not rows:
        raise BadInput("got no batch to predict; expected at least one")
    p = np.stack([row[4] for row in rows])
    named = pd.DataFrame({"id": [r[2] for r in rows], "truth": [r[3] for r in rows],
                          "predicted": np.asarray(classes, dtype=object)[p.argmax(axis=1)]})
    return named.join(pd.DataFrame(p, columns=[f"p_{c}" for c in classes]))


class _Loop:
    """What stays the same over the epochs of one training."""

    def __init__(self, model: nn.Module, batches: Iterable[Batch], config: TrainConfig, classes: Sequence[str],
                 device: str) -> None:
        from accelerate import Accelerator, DistributedDataParallelKwargs

        self.model, self.batches, self.config, self.classes = model, batches, config, classes
        # Precision and device are set here: an Accelerator would fix both for the life of the Python process.
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)  # an ablation may leave some out
        self.accelerator = Accelerator(mixed_precision="no", device_placement=False, kwargs_handlers=[unused])
        several = self.accelerator.num_processes > 1
        self.device = self.accelerator.device if several else find_device(device)
        self.optimizer = make_optimizer(model, config)
        self.wrapped = self.accelerator.prepare_model(model.to(self.device)) if several else model
        rounds = _length(batches, 1)
        self.steps = None if rounds is None else config.epochs * math.ceil(rounds / config.gradient_accumulation)
        rate_factor(config, 0, self.steps)  # refuses a schedule of unknown length before anything starts

    def share(self, batch: Batch) -> tuple[Batch, float]:
        """What this process takes of a batch, and which share of it that is; the shares of all are 1 together."""
        processes = self.accelerator.num_processes
        if len(batch) < processes:
            return batch, 1 / processes
        own = batch[self.accelerator.process_index::processes] if processes > 1 else batch
        return own, len(own) / len(batch)

    def epoch(self, state: State, parts: dict[str, Iterable[Batch]], hooks: Sequence[Hook], bar: tqdm) -> None:
        """One pass over the batches, the hooks, the scores; `state` moves on by one row."""
        start, epoch = time.perf_counter(), len(state.rows) + 1
        seed_all(self.config.seed, epoch, self.accelerator.process_index)
        if hasattr(self.batches, "set_epoch"):
            self.batches.set_epoch(epoch)
        bar.set_description(f"epoch {epoch}/{self.config.epochs}")
        row = {"epoch": epoch, **self._steps(state, bar)}
        for hook in hooks:
            row |= hook(self.model, epoch) or {}
        for name, part in parts.items():
            said = predict(self.model, part, self.classes, self.config.precision)
            of_part = scores(said["truth"], said["predicted"], self.classes)
            row |= {f"{name}_{metric}": value for metric, value in of_part.items()}
        state.rows.append(row | {"seconds": time.perf_counter() - start})
        if _is_best(state, self.config):
            state.best_epoch, state.best = epoch, plain(self.model.state_dict())
        shown = {n: f"{row[c]:.3f}" for n, c in (("loss", "loss"), ("dev", f"dev_{self.config.metric}")) if c in row}
        bar.set_postfix(shown)

    def _steps(self, state: State, bar: tqdm) -> dict[str, float]:
        """One step a group of batches; the mean loss and its terms over the utterances."""
        _training_mode(self.model)
        sums, factor = Counter(), 1.0
        for group in _groups(self.batches, self.config.gradient_accumulation):
            factor = rate_factor(self.config, state.step, self.steps)
            for of_optimizer in self.optimizer.param_groups:
                of_optimizer["lr"] = of_optimizer["rate"] * factor
            for i, batch in enumerate(group, 1):
                with nullcontext() if i == len(group) else self.accelerator.no_sync(self.wrapped):
                    sums.update(self._backward(batch, len(group), len(state.rows) + 1))
                bar.update()
            self._update([u for batch in group for u in batch.ids], len(state.rows) + 1)
            state.step += 1
        if not sums:
            raise BadInput("got no batch to train on; expected at least one")
        gathered = self.accelerator.reduce(torch.tensor(list(sums.values()), device=self.device), "sum").tolist()
        means = dict(zip(sums, gathered, strict=True))
        utterances = means.pop("utterances")
        return {name: value / utterances for name, value in means.items()} | {"rate": factor}

    def _backward(self, batch: Batch, batches: int, epoch: int) -> dict[str, float]:
        """Add a batch's gradients, divided by `batches`; the loss and its terms times the batch's utterances."""
        own, share = self.share(batch)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            output = self.wrapped(own.to(self.device))
        if output.loss is None:
            raise BadInput(f"the model gave no loss for utterances {_some(own.ids)}; expected labels in every batch")
        names = ["loss", *(f"loss_{term}" for term in output.terms)]
        values = torch.stack([v.detach().float() for v in (output.loss, *output.terms.values())]).tolist()
        if not math.isfinite(values[0]):
            said = ", ".join(f"{n} {v:.4g}" for n, v in zip(names, values, strict=True))
            raise _diverged(said, own.ids, epoch)
        self.accelerator.backward(output.loss * (share * self.accelerator.num_processes) / batches)
        utterances = share * len(batch)
        return {n: v * utterances for n, v in zip(names, values, strict=True)} | {"utterances": utterances}

    def _update(self, ids: Sequence[str], epoch: int) -> None:
        if self.config.gradient_clip is not None:
            norm = self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.config.gradient_clip)
            if not math.isfinite(norm):
                raise _diverged(f"norm of the gradients {norm:.4g}", ids, epoch)
        self.optimizer.step()
        self.optimizer.zero_grad()


def _finished(state: State, config: TrainConfig) -> bool:
    stale = len(state.rows) - state.best_epoch
    return len(state.rows) >= config.epochs or (config.selection == "dev" and config.patience is not None
                                                and stale >= config.patience)


def _is_best(state: State, config: TrainConfig) -> bool:
    """Is the latest epoch the one to keep? On dev, a tie leaves the earlier one."""
    if config.selection == "last epoch" or not state.best_epoch:
        return True
    score = f"dev_{config.metric}"
    return state.rows[-1][score] > state.rows[state.best_epoch - 1][score]


def find_device(name: str) -> torch.device:
    """The device of a name in DEVICES; Missing where it is not here."""
    if name not in DEVICES:
        raise unknown("device", name, DEVICES)
    if name == "cuda" and not torch.cuda.is_available():
        raise Missing("device='cuda' was asked for, and torch sees no GPU here; take device='cpu' or 'auto', or look "
                      "at mer-kit doctor")
    return torch.device("cuda" if torch.cuda.is_available() and name != "cpu" else "cpu")


def _training_mode(model: nn.Module) -> None:
    """Training mode, but evaluation mode (no dropout) for whatever part is frozen as a whole."""
    model.train()
    for module in model.modules():
        if (parameters := list(module.parameters())) and not any(p.requires_grad for p in parameters):
            module.eval()


def _groups(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    remaining = iter(batches)
    while group := list(islice(remaining, size)):
        yield group


def _length(batches: Iterable[Batch], epochs: int) -> int | None:
    return epochs * len(batches) if hasattr(batches, "__len__") else None


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:8]) + f" and {len(ids) - 8} more" * (len(ids) > 8)


def _diverged(what: str, ids: Sequence[str], epoch: int) -> BadInput:
    return BadInput(f"training broke in epoch {epoch} ({what}) at utterances {_some(ids)}; look at these for "
                    "NaN or silence, or try lower rates, a longer warmup, gradient_clip=1.0, precision='no'")
