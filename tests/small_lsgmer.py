"""LSGMER at its smallest: encoders without context, four classes, three ragged utterances."""

from __future__ import annotations

from dataclasses import replace

import torch
from small_lemer import BANDS, FRAMES, C, Sounds, Words
from small_lemer import batch_of as without_spectrogram
from torch import nn

from mer_kit.batch import Batch, Padded
from mer_kit.models.lsgmer import LSGMER, LSGMERConfig

D = 8
PLAIN = LSGMERConfig(dim=D, heads=2, dropout=0.0)


class Picture(nn.Module):
    """Spectrogram frames -> a state for every two of them, each pair by itself."""

    dim = 3

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(BANDS, self.dim)

    def forward(self, x: Padded) -> Padded:
        mask = x.mask[:, ::2]
        return Padded(self.linear(x.values)[:, ::2] * mask[..., None], mask)


def model(config: LSGMERConfig = PLAIN) -> LSGMER:
    torch.manual_seed(0)
    return LSGMER(Words(), Sounds(), Picture(), C, config)


def batch_of(which=(0, 1, 2), padding: int = 0) -> Batch:
    """`small_lemer.batch_of` with a spectrogram of twice as many frames."""
    random = torch.Generator().manual_seed(2)
    pictures = [torch.randn(2 * n, BANDS, generator=random) for n in FRAMES]
    chosen = [pictures[i] for i in which]
    longest = max(len(p) for p in chosen) + padding
    values = torch.stack([torch.cat([p, torch.full((longest - len(p), BANDS), 9.0)]) for p in chosen])
    mask = torch.arange(longest) < torch.tensor([len(p) for p in chosen])[:, None]
    return replace(without_spectrogram(which, padding), spectrogram=Padded(values, mask))
