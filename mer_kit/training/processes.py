"""Several processes of one training, as `accelerate launch` starts them: one writes and speaks, and all agree."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")


def is_first() -> bool:
    """Is this the process that writes and speaks? Of several one is; a process by itself always."""
    return os.environ.get("RANK", "0") == "0"


def as_the_first_says(value: T) -> T:
    """The first process's value, once all have come here; a process by itself gets its own."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return value
    import torch
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list, parse_flag_from_env

    # Takes this process's device and joins the others; on CPUs it must be told so, or it stays by itself.
    PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available())
    return broadcast_object_list([value])[0]
