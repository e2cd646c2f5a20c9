"""Computed features, kept under a hash of all that they depend on: in memory, or as files that survive kills.

A file of the store is written to a temporary name and then renamed: other processes see all of it or nothing. Its
header holds a checksum over the whole file, so a flipped byte is noticed, and so is what a power cut may leave of files
that had not reached the disk: they are computed again, which costs less than waiting for the disk at every one. Nothing
is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from mer_kit.errors import BadInput, writing

BLANK = "0" * 64  # stands where the checksum will, while the checksum is taken
MARK = b'"checksum":"'


def digest(value: object) -> str:
    """64 hex digits of bytes, of a tensor (dtype, shape, values), or of anything that JSON can hold."""
    if isinstance(value, Tensor):
        said = hashlib.sha256(f"{value.dtype} {tuple(value.shape)} ".encode())
        said.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return said.hexdigest()
    if not isinstance(value, bytes):
        value = json.dumps(value, sort_keys=True, ensure_ascii=False).encode()
    return hashlib.sha256(value).hexdigest()


def weights_hash(module: nn.Module) -> str:
    """32 hex digits of a module's layers, weights and buffers: it differs wherever its outputs may."""
    parts = [repr(module), *(f"{name} {digest(t)}" for name, t in sorted(module.state_dict().items()))]
    return digest(parts)[:32]


class MemoryStore:
    """Features kept as long as the process lives; `counts`: how many were read, computed, found damaged."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._kept: dict[str, dict[str, Tensor]] = {}

    @staticmethod
    def key(**parts: object) -> str:
        """The name for what `parts` (recipe, weights, audio bytes, text ...) determine: bytes, tensors, plain values.

        >>> MemoryStore.key(recipe="mel", bands=80) == MemoryStore.key(bands=80, recipe="mel")
        True
        """
        return digest({name: [type(part).__name__, digest(part)] for name, part in parts.items()})

    def get(self, key: str) -> dict[str, Tensor] | None:
        """What was put under `key`; None where nothing sound is there."""
        return self._kept.get(key)

    def put(self, key: str, tensors: dict[str, Tensor]) -> None:
        self._kept[key] = tensors

    def fetch(self, key: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """What is kept under `key`, else what `compute` gives, kept from then on."""
        kept = self.get(key)
        self.counts["computed" if kept is None else "read"] += 1
        if kept is None:
            kept = compute()
            self.put(key, kept)
        return kept


class FeatureStore(MemoryStore):
    """Features in a folder, one safetensors file each; several processes may read and write it at once.

    memory: bytes of features that stay in memory too, those that come first; others are read anew whenever asked for.
    """

    def __init__(self, folder: str | Path, memory: int = 0) -> None:
        super().__init__()
        self.folder, self.memory = Path(folder), memory
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors, on the CPU. A damaged file is removed, counted, and None is returned."""
        if key in self._kept:
            return self._kept[key]
        try:
            raw = self.path(key).read_bytes()
        except FileNotFoundError:
            return None
        place = raw.find(MARK) + len(MARK)
        if raw[place : place + len(BLANK)] == _checksum(key, raw, place):
            with suppress(SafetensorError):  # what was made to pass for a feature, such as a pickle
                return self._remembered(key, load(raw))
        self.counts["damaged"] += 1
        self.path(key).unlink(missing_ok=True)
        return None

    def put(self, key: str, tensors: dict[str, Tensor]) -> None:
        """Keep CPU copies of `tensors`; raises Missing where the disk is full or cannot be written to."""
        if not tensors:
            raise BadInput("nothing to store: expected at least one named tensor")
        plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        raw = save(plain, metadata={"checksum": BLANK})
        place = raw.find(MARK) + len(MARK)
        with writing(f"the feature store {self.folder}"):
            self._write(self.path(key), raw[:place] + _checksum(key, raw, place) + raw[place + len(BLANK) :])
        self._remembered(key, plain)

    def _remembered(self, key: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors, from now on in memory where they fit."""
        self.memory += sum(t.nbytes for t in self._kept.pop(key, {}).values())
        if (size := sum(t.nbytes for t in tensors.values())) <= self.memory:
            self._kept[key], self.memory = tensors, self.memory - size
        return tensors

    def _write(self, path: Path, raw: bytes) -> None:
        """The whole file or none, also when the process is killed on the way."""
        temporary = self.folder / f".{path.stem}.{os.getpid()}.{token_hex(4)}.tmp"
        try:
            with open(temporary, "wb") as file:
                file.write(raw)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _checksum(key: str, raw: bytes, place: int) -> bytes:
    """Of a file and the name it belongs to, with zeros at the place where the checksum will stand."""
    said = hashlib.sha256(key.encode())
    for part in (raw[:place], BLANK.encode(), memoryview(raw)[place + len(BLANK) :]):
        said.update(part)
    return said.hexdigest().encode()
