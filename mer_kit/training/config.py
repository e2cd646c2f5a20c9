"""How a model is trained: a frozen config, the learning rate of each part, and the rate at each step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import nn

from mer_kit.errors import BadInput, pick, unknown

OPTIMIZERS = MappingProxyType({"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW})
SCHEDULES = MappingProxyType({  # share of the steps after the warm-up that are done -> factor of the rate
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
})
METRICS = ("WA", "UA", "WF1")
REST = "rest"  # the name of the rate for all parameters that no other name covers


@dataclass(frozen=True)
class TrainConfig:
    """All that decides the course of a training besides the model and its batches.

    rates: the name of a part of the model, as in `model.named_parameters()`, -> its learning rate; "rest" is all else:
    `{"text_encoder": 5e-6, "speech_encoder": 1e-6, "rest": 1e-4}`.
    """

    epochs: int = 30
    batch_size: int = 16  # utterances a step, all processes together; read by whoever makes the batches
    rates: Mapping[str, float] = field(default_factory=lambda: {REST: 1e-3})
    optimizer: str = "AdamW"  # one of OPTIMIZERS
    weight_decay: float = 0.0  # of matrices; biases and norms are spared
    warmup: float = 0.0  # the rate rises linearly over so many steps; below 1: over this share of all steps
    schedule: str = "constant"  # one of SCHEDULES, after the warm-up
    patience: int | None = None  # stop after so many epochs without a better dev score; None: never
    gradient_accumulation: int = 1  # batches a step
    gradient_clip: float | None = 1.0  # largest norm of all gradients together; None: as they are
    precision: str = "no"  # "no": float32; "bf16": autocast to bfloat16
    seed: int = 0
    selection: str = "dev"  # whose weights are kept: the epoch best on "dev", or the "last epoch"
    metric: str = "UA"  # the score that dev selects by, one of METRICS

    def __post_init__(self) -> None:
        for name, valid in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("metric", METRICS),
                            ("precision", ("no", "bf16")), ("selection", ("dev", "last epoch"))):
            if getattr(self, name) not in valid:
                raise unknown(name, getattr(self, name), valid)
        for name in ("epochs", "batch_size", "gradient_accumulation", "patience"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise BadInput(f"got {name}={value}; expected at least 1")
        if wrong := {part: rate for part, rate in self.rates.items() if not 0 < rate < 1}:
            raise BadInput(f"got learning rates {wrong}; expected numbers between 0 and 1, such as 1e-3 (a part "
                           "that is not to be trained is frozen by requires_grad_(False))")


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer, a group of trainable parameters for each name in `config.rates`; the longest name counts.

    With `weight_decay`, each is two: matrices, and what is spared (biases, norms: all of one dimension). Groups keep
    their full rate under "rate", which `rate_factor` multiplies into "lr".
    """
    members = {name: [] for name in config.rates}
    fitting = dict.fromkeys(config.rates, 0)
    for parameter_name, parameter in model.named_parameters():
        covering = [n for n in config.rates if n == parameter_name or parameter_name.startswith(f"{n}.")]
        if not covering and REST not in config.rates:
            raise BadInput(f"parameter {parameter_name!r} has no learning rate; add {REST!r} to "
                           f"rates={dict(config.rates)}, or a name that covers it")
        name = max(covering, key=len, default=REST)
        fitting[name] += 1
        if parameter.requires_grad:
            members[name].append(parameter)
    if strangers := [n for n, parameters in fitting.items() if not parameters and n != REST]:
        raise unknown("part of the model in rates", strangers[0], [n for n, _ in model.named_children()] + [REST])
    groups = [{"params": p, "lr": config.rates[name], "rate": config.rates[name], "weight_decay": decay}
              for name, of_part in members.items() for p, decay in _by_decay(of_part, config) if p]
    if not groups:
        raise BadInput("every parameter of the model is frozen; expected at least one to train")
    return pick("optimizer", config.optimizer, OPTIMIZERS)(groups)


def _by_decay(parameters: list[nn.Parameter], config: TrainConfig) -> list[tuple[list[nn.Parameter], float]]:
    if not config.weight_decay:
        return [(parameters, 0.0)]
    return [([p for p in parameters if p.ndim > 1], config.weight_decay), ([p for p in parameters if p.ndim < 2], 0.0)]


def rate_factor(config: TrainConfig, step: int, steps: int | None) -> float:
    """What every learning rate is multiplied by at step 0, 1, ... of `steps` (None: not known beforehand)."""
    if steps is None and (config.schedule != "constant" or 0 < config.warmup < 1):
        raise BadInput(f"schedule={config.schedule!r}, warmup={config.warmup} need to know how many batches come, and "
                       "these have no length; give them __len__, or take schedule='constant' and warmup in steps")
    warmup = config.warmup if config.warmup >= 1 else config.warmup * (steps or 0)
    if step + 1 < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1.0, steps - warmup) if steps else 0.0
    return SCHEDULES[config.schedule](min(1.0, max(0.0, done)))
