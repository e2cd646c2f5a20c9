"""What goes into a model and what comes out of it; the same for the three papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True)
class Padded:
    """Sequences of different lengths side by side.

    values (batch, longest, ...), zeros where `mask` (batch, longest) is False. Encoders turn one Padded into another.
    """

    values: Tensor
    mask: Tensor

    @classmethod
    def of(cls, sequences: Sequence[Tensor]) -> Padded:
        """Pad sequences (length_i, ...) to the longest of them."""
        lengths = torch.tensor([len(s) for s in sequences])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        return cls(pad_sequence(list(sequences), batch_first=True), mask)

    @property
    def lengths(self) -> Tensor:
        """(batch,)"""
        return self.mask.sum(dim=1)

    def __getitem__(self, rows: slice) -> Padded:
        """Some of the sequences, padded to the longest of these."""
        mask = self.mask[rows]
        longest = int(mask.sum(dim=1).max())
        return Padded(self.values[rows, :longest], mask[:, :longest])

    def to(self, device: torch.device | str) -> Padded:
        return Padded(self.values.to(device, non_blocking=True), self.mask.to(device, non_blocking=True))

    def mean(self) -> Tensor:
        """Mean over what is real, (batch, ...)."""
        return masked_mean(self.values, self.mask)

    def max(self) -> Tensor:
        """Maximum over what is real, (batch, ...)."""
        return self.values.masked_fill(~_like(self.mask, self.values), float("-inf")).amax(dim=1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (batch, length, ...) where `mask` (batch, length) is True; zeros where it never is."""
    weight = _like(mask, values).to(values.dtype)
    return (values * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1)


def _like(mask: Tensor, values: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *[1] * (values.ndim - mask.ndim))


@dataclass(frozen=True)
class Batch:
    """Utterances as a model sees them; a corpus without one modality leaves it None."""

    ids: tuple[str, ...]
    labels: Tensor | None  # (batch,) class numbers
    text: Padded | None = None  # token ids (batch, tokens), or states of a frozen encoder (batch, tokens, d_t)
    current: Tensor | None = None  # (batch, tokens) True for words of the utterance itself, not of its history
    speech: Padded | None = None  # waveforms (batch, samples), acoustic frames or frozen states (batch, frames, d)
    spectrogram: Padded | None = None  # log-mel bands (batch, frames of 10 ms, 80) of the same clips

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice) -> Batch:
        """Some of the utterances, one or more: `batch[::2]`."""
        parts = {name: part[rows] for name in ("text", "speech", "spectrogram")
                 if (part := getattr(self, name)) is not None}
        if self.current is not None:
            parts["current"] = self.current[rows, :parts["text"].mask.shape[1]]
        return replace(self, ids=self.ids[rows], labels=None if self.labels is None else self.labels[rows], **parts)

    def to(self, device: torch.device | str) -> Batch:
        """The same on another device."""
        moved = {name: part.to(device) for name in ("labels", "text", "current", "speech", "spectrogram")
                 if (part := getattr(self, name)) is not None}
        return replace(self, **moved)


@dataclass
class ModelOutput:
    """What a model says of a batch: class logits, its loss and the loss's parts, and what it attended to."""

    logits: Tensor  # (batch, C)
    loss: Tensor | None = None  # the weighted sum; None without labels
    terms: dict[str, Tensor] = field(default_factory=dict)  # unweighted parts of the loss, by the paper's symbol
    attention: dict[str, Tensor] = field(default_factory=dict)  # "label_token" (batch, tokens, C), "token_frame", ...
    masks: dict[str, Tensor] = field(default_factory=dict)  # "tokens" (batch, tokens), "frames" (batch, frames)
    features: Tensor | None = None  # (batch, d) what the classifier sees
