"""How much memory a training needs, before it starts."""

from __future__ import annotations

import warnings

import psutil
import torch
from torch import Tensor, nn

from mer_kit.batch import Batch
from mer_kit.errors import BadInput
from mer_kit.training.config import TrainConfig

GIB = 2**30
MOMENTS = 2  # that Adam and AdamW keep of every trained parameter


def memory_estimate(model: nn.Module, batch: Batch, config: TrainConfig) -> dict[str, float]:
    """GiB for one step on `batch`, the largest one: parameters, gradients, optimizer, batch, activations, total.

    Activations are measured: what one forward in training mode keeps for its backward, each storage once, parameters
    and batch not counted, under `config.precision`, on the device that holds the model. Not counted are what single
    operations need in passing and what the allocator loses to fragments (on a GPU, rather 10 to 30 %).
    """
    parameters = list(model.parameters())
    trained = sum(p.numel() * p.element_size() for p in parameters if p.requires_grad)
    needs = {"parameters": _bytes([*parameters, *model.buffers()]), "gradients": trained,
             "optimizer": MOMENTS * trained, "batch": _bytes(_tensors(batch)),
             "activations": _activations(model, batch, config.precision)}
    return {name: size / GIB for name, size in (needs | {"total": sum(needs.values())}).items()}


def free_memory(device: torch.device | str) -> float:
    """GiB that are free on a device: of the GPU, or of this computer."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / GIB
    return psutil.virtual_memory().available / GIB


def require_memory(estimate: dict[str, float], device: torch.device | str, free: float | None = None) -> None:
    """Refuse an estimate beyond what is free on the device (GiB); warn from 80 % of it."""
    free = free_memory(device) if free is None else free
    parts = ", ".join(f"{name} {size:.2f}" for name, size in estimate.items() if name != "total")
    text = f"training needs about {estimate['total']:.2f} GiB ({parts}); {free:.2f} GiB are free on {device}"
    if estimate["total"] > free:
        raise BadInput(f"{text}; take a smaller batch_size with gradient_accumulation, cap the length of clips, "
                       "precision='bf16', gradient checkpointing, or freeze the encoders")
    if estimate["total"] > 0.8 * free:
        warnings.warn(f"{text}; it may not fit", stacklevel=2)


def _activations(model: nn.Module, batch: Batch, precision: str) -> int:
    device = next(model.parameters()).device
    batch, buffers = batch.to(device), {name: b.clone() for name, b in model.named_buffers()}
    known = {_storage(t) for t in [*model.parameters(), *model.buffers(), *_tensors(batch)]}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in known:
            kept[_storage(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    training = {module: module.training for module in model.modules()}
    with (torch.random.fork_rng(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
          torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")):
        output = model.train()(batch)  # held until all is counted: no storage is used twice meanwhile
    for module, mode in training.items():
        module.training = mode
    for name, before in buffers.items():
        model.get_buffer(name).copy_(before)
    del output
    return sum(kept.values())


def _tensors(batch: Batch) -> list[Tensor]:
    parts = (batch.text, batch.speech, batch.spectrogram)
    return [t for part in parts if part is not None for t in (part.values, part.mask)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _bytes(tensors: list[Tensor]) -> int:
    return sum({_storage(t): t.untyped_storage().nbytes() for t in tensors}.values())
