"""One safetensors file that a killed training goes on from.

Tensors "model/…" (weights now), "best/…" (weights of the best epoch), "optimizer/<parameter>/<name>"; the header holds
the rest as JSON. It is written under another name and renamed, so that it is always whole; nothing in it is a pickle.

The states of random number generators need no place in it: `fit` seeds Python, NumPy and torch (every device) from
(seed, epoch, process) at the start of each epoch, so that an epoch's numbers follow from the weights it begins with.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mer_kit.errors import BadInput, writing
from mer_kit.training.config import TrainConfig

FILE = "checkpoint.safetensors"


@dataclass
class State:
    """How far a training has come."""

    rows: list[dict] = field(default_factory=list)  # of the history, one a finished epoch
    step: int = 0  # optimizer steps taken
    best_epoch: int = 0  # 1, 2, ...; 0: none yet
    best: dict[str, Tensor] = field(default_factory=dict)  # its weights


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies that safetensors takes: on the CPU, contiguous, none sharing memory with another."""
    return {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in tensors.items()}


def save(folder: Path, state: State, model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainConfig) -> None:
    """Write `folder`'s checkpoint, whole or not at all."""
    moments = {f"optimizer/{i}/{name}": value for i, of_one in optimizer.state_dict()["state"].items()
               for name, value in of_one.items()}
    tensors = ({f"model/{n}": t for n, t in model.state_dict().items()}
               | {f"best/{n}": t for n, t in state.best.items()} | moments)
    facts = {"config": asdict(config), "rows": state.rows, "step": state.step, "best_epoch": state.best_epoch}
    with writing(f"the checkpoint's folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        save_file(plain(tensors), folder / f".{FILE}.part", {"facts": json.dumps(facts)})
        os.replace(folder / f".{FILE}.part", folder / FILE)


def load(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainConfig) -> State:
    """Put weights and moments of `folder`'s checkpoint in place and return its state; a fresh one where none is."""
    path = folder / FILE
    if not path.exists():
        return State()
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, KeyError, TypeError, ValueError) as fault:
        raise BadInput(f"{path} is no checkpoint of mer_kit ({fault}); delete it to start anew") from None
    _require_same(path, facts["config"], json.loads(json.dumps(asdict(config))))
    try:
        model.load_state_dict(_below("model/", tensors))
    except RuntimeError as fault:
        raise BadInput(f"{path} holds another model's weights; delete it to start anew. {fault}") from None
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _below("optimizer/", tensors).items():
        parameter, moment = name.split("/")
        moments.setdefault(int(parameter), {})[moment] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return State(facts["rows"], facts["step"], facts["best_epoch"], _below("best/", tensors))


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _require_same(path: Path, theirs: dict, ours: dict) -> None:
    if differing := [f"{k}={theirs.get(k)!r}, now {ours.get(k)!r}" for k in ours if theirs.get(k) != ours.get(k)]:
        raise BadInput(f"{path} belongs to a training with {'; '.join(differing)}; give each config its own folder, or "
                       "delete the file to start anew")
