"""LE-MER at its smallest: two encoders without context, four classes, three ragged utterances."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mer_kit.batch import Batch, Padded
from mer_kit.models.lemer import LEMER, LEMERConfig, UnimodalConfig, UnimodalModel

C, D_T, D_S, BANDS = 4, 6, 5, 3
TOKENS, FRAMES = (5, 2, 7), (4, 9, 6)
PLAIN = LEMERConfig(dropout=0.0)


class Words(nn.Module):
    """Token ids -> states, each token by itself."""

    dim = D_T

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, D_T)

    def forward(self, x: Padded) -> Padded:
        return Padded(self.table(x.values) * x.mask[..., None], x.mask)


class Sounds(nn.Module):
    """Acoustic frames -> states, each frame by itself."""

    dim = D_S

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(BANDS, D_S)

    def forward(self, x: Padded) -> Padded:
        return Padded(self.linear(x.values) * x.mask[..., None], x.mask)


def model(config: LEMERConfig = PLAIN, **labels) -> LEMER:
    torch.manual_seed(0)
    text, speech, label_t, label_s = Words(), Sounds(), torch.randn(C, D_T), torch.randn(C, D_S)
    return LEMER(text, speech, labels.get("label_t", label_t), labels.get("label_s", label_s), config)


def unimodal(modality: str, labelled: bool = True, **options) -> UnimodalModel:
    torch.manual_seed(0)
    encoder = Words() if modality == "text" else Sounds()
    label = torch.randn(C, encoder.dim) if labelled else None
    return UnimodalModel(encoder, C, UnimodalConfig(modality, dropout=0.0, **options), label)


def batch_of(which=(0, 1, 2), padding: int = 0) -> Batch:
    """Some of three ragged utterances, side by side; `padding` more places at every end, filled with rubbish."""
    random = torch.Generator().manual_seed(1)
    ids = [torch.randint(1, 20, (n,), generator=random) for n in TOKENS]
    frames = [torch.randn(n, BANDS, generator=random) for n in FRAMES]
    own = [torch.arange(n) >= n // 2 for n in TOKENS]
    text, speech = Padded.of([ids[i] for i in which]), Padded.of([frames[i] for i in which])
    current = Padded.of([own[i] for i in which]).values
    if padding:
        def wider(values, filling):
            return torch.cat([values, torch.full((len(values), padding, *values.shape[2:]), filling)], dim=1)

        text = Padded(wider(text.values, 3), wider(text.mask, False))
        speech = Padded(wider(speech.values, 9.0), wider(speech.mask, False))
        current = wider(current, False)
    return Batch(tuple(f"u{i}" for i in which), torch.tensor([[2, 0, 3][i] for i in which]), text, current, speech)


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    assert a.detach().numpy() == pytest.approx(b.detach().numpy(), abs=1e-5)
