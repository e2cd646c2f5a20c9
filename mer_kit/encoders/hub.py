"""Pretrained models from a Hugging Face id or a folder: loading that says what is wrong, freezing that stays frozen."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mer_kit.batch import Padded
from mer_kit.errors import BadInput, Missing, unknown

if TYPE_CHECKING:
    from transformers import PreTrainedModel

T = TypeVar("T")
UNUSED = ("pooler.", "masked_spec_embed")  # weights that a checkpoint may lack: no state depends on them


def from_hub(what: str, source: str | Path, offline: str, load: Callable[..., T]) -> T:
    """`load(source, local_files_only=…)`, or one sentence: what was wanted, why not, and the `offline` choice.

    Without a network only the folder, or the hub's cache on this machine, is looked at: no minute of retries.
    """
    try:
        return load(source, local_files_only=Path(source).is_dir() or not hub_answers())
    except (OSError, ValueError, ImportError, SafetensorError, UnpicklingError) as error:
        why = " ".join(str(error).split()).split(". ")[0][:200]
        raise Missing(f"the {what} {str(source)!r} cannot be loaded ({why}); expected a folder or a Hugging Face id: "
                      f"check the name and the network, or use {offline}, which downloads nothing") from None


def hub_answers() -> bool:
    """Can the hub, or a proxy on the way to it, be asked?"""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        socket.create_connection((urlsplit(constants.ENDPOINT).hostname, 443), timeout=5).close()
    except OSError:
        return bool(getproxies())
    return True


def download(source: str) -> Path:
    """A checkpoint of the hub in this machine's cache, its folder named by the revision; safetensors where it has them.

    Raises Missing where there is no network or no such checkpoint.
    """
    from huggingface_hub import HfApi, snapshot_download

    def load(source: str, local_files_only: bool) -> str:
        several = not local_files_only and any(f.endswith(".safetensors") for f in HfApi().list_repo_files(source))
        patterns = ["*.json", "*.txt", "*.model", "*.safetensors" if several else "pytorch_model*.bin"]
        return snapshot_download(source, allow_patterns=patterns, local_files_only=local_files_only)

    return Path(from_hub("checkpoint", source, "the offline preset", load))


def load_model(source: str | Path, offline: str, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The model behind an id or a folder, with every weight that its states need.

    dtype: None keeps the checkpoint's. Raises Missing where nothing can be loaded, BadInput where weights are lacking.
    """
    from transformers import AutoModel

    options = {"dtype": dtype} if dtype else {}
    model, info = from_hub("model", source, offline, partial(
        AutoModel.from_pretrained, output_loading_info=True, **options))
    absent = sorted(k for k in info["missing_keys"] if not k.startswith(UNUSED))
    if absent:
        raise BadInput(f"{str(source)!r} lacks {len(absent)} weights of a {type(model).__name__} (first: {absent[0]}); "
                       f"expected a whole checkpoint: they would have been drawn at random")
    return model


class HubEncoder(nn.Module):
    """What text and waveform encoders share: which hidden state is read, in which mode, and what is trained.

    layer: number of a hidden state, 0 (embeddings) .. layers; None: the last, after the model's final norm.
    frozen: nothing is trained and the model stays in eval mode, also after `.train()`.
    Otherwise exactly those parameters are trainable that the chosen states depend on (see `freeze_unread`).
    States are float32, whatever the model's dtype.
    """

    inputs: tuple[str, ...]  # the main inputs of the models that fit

    def __init__(self, model: PreTrainedModel, layer: int | None = None, frozen: bool = False) -> None:
        super().__init__()
        if model.main_input_name not in self.inputs or getattr(model.config, "is_encoder_decoder", False):
            raise BadInput(f"a {type(model).__name__} takes {model.main_input_name}; a {type(self).__name__} needs an "
                           f"encoder that takes {' or '.join(self.inputs)}")
        layers = range(model.config.num_hidden_layers + 1)
        if layer is not None and layer not in layers:
            raise unknown("layer", layer, layers)
        self.model, self.layer, self.frozen = model, layer, frozen
        self.dim: int = model.config.hidden_size
        if frozen:
            self.requires_grad_(False)
        self.train(model.training)

    def train(self, mode: bool = True) -> HubEncoder:
        """Training mode, except where frozen."""
        return super().train(mode and not self.frozen)

    def states(self, **inputs: Tensor) -> Tensor:
        """The chosen hidden states, (batch, length, dim) float32."""
        output = self.model(**inputs, output_hidden_states=self.layer is not None)
        return (output.last_hidden_state if self.layer is None else output.hidden_states[self.layer]).float()

    def freeze_unread(self, example: Padded) -> None:
        """Freeze what the states of an example do not depend on: poolers, higher layers, embeddings of masks.

        Several GPUs need it: distributed training waits for a gradient of every trainable parameter.
        """
        trainable = [p for p in self.parameters() if p.requires_grad]
        with torch.enable_grad(), in_eval_mode(self):
            reached = torch.autograd.grad(self(example).values.sum(), trainable, allow_unused=True)
        for parameter, gradient in zip(trainable, reached, strict=True):
            parameter.requires_grad_(gradient is not None)

    def extra_repr(self) -> str:
        return f"layer={self.layer}"


@contextmanager
def in_mode(module: nn.Module, training: bool) -> Iterator[nn.Module]:
    """The module in training or eval mode; afterwards as it was."""
    before = module.training
    try:
        yield module.train(training)
    finally:
        module.train(before)


def in_eval_mode(module: nn.Module) -> AbstractContextManager[nn.Module]:
    """The module in eval mode; afterwards as it was."""
    return in_mode(module, training=False)
