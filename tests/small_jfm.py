"""JFM + ICL at its smallest: patches and layers with random weights, four classes, three ragged utterances."""

from __future__ import annotations

from dataclasses import replace

import torch
from small_lemer import BANDS, C, Words
from small_lemer import batch_of as without_marks
from torch import nn

from mer_kit.batch import Batch
from mer_kit.encoders.layers import small_language
from mer_kit.encoders.patches import Patches, Vision, small_vision
from mer_kit.models.jfm import JFM, JFMConfig
from mer_kit.models.jfm_streams import OneModality

D_T, D_M = 8, 12
PLAIN = JFMConfig(heads=2, feed_forward=16, extractor=1, dropout=0.0)


def language(count: int = 2, dim: int = D_T) -> nn.ModuleList:
    return small_language(count, dim, heads=2, dropout=0.0)


def vision(count: int = 2, dim: int = D_M) -> Vision:
    """A patch for every two frames, and layers."""
    random = torch.Generator().manual_seed(3)
    places = torch.randn(1, 6, dim, generator=random)
    torch.manual_seed(0)
    patches = Patches(nn.Conv2d(1, dim, (BANDS, 2), (BANDS, 2)), torch.randn(dim, generator=random), places, 6, BANDS)
    return Vision(patches, small_vision(count, dim, heads=2, dropout=0.0).layers)


def livelier(module: nn.Module) -> nn.Module:
    """Ten times the weights of layers and vectors: as drawn, attention is even and next to nothing is carried."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1 and (".layer." in name or name.startswith(("v.", "fusion.v.")) or "in_proj" in name):
                parameter.mul_(10)
    return module


def model(config: JFMConfig = PLAIN, d_m: int = D_M) -> JFM:
    eyes = vision(config.blocks, d_m)
    tongue = language(config.blocks) if config.fusion == "joint" else nn.ModuleList()
    torch.manual_seed(0)
    return livelier(JFM(Words(), eyes.patches, tongue, eyes.layers, C, config))


def unimodal(modality: str, config: JFMConfig = PLAIN) -> OneModality:
    encoder = {"text": Words, "speech": vision}[modality]()
    torch.manual_seed(0)
    return OneModality(modality, encoder, C, config)


def batch_of(which=(0, 1, 2), padding: int = 0) -> Batch:
    """`small_lemer.batch_of`, the first two of one class."""
    batch = without_marks(which, padding)
    return replace(batch, labels=torch.tensor([[2, 2, 3][i] for i in which]))
