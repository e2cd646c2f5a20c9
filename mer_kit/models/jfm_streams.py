"""The streams of JFM + ICL before they meet, and without ever meeting.

States of text or mel (batch, length, d), a CLS first. Layers give Padded and what they attended to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from mer_kit.batch import Batch, ModelOutput, Padded
from mer_kit.errors import Missing
from mer_kit.models import encode

if TYPE_CHECKING:
    from mer_kit.models.jfm import JFMConfig


def stream_tokens(H: Padded, batch: Batch, tokens: str) -> Tensor:
    """(batch, tokens) True for those that the stream of text holds: "all", or the utterance's own ("current") and CLS.

    The text encoder has read the history in both cases.
    """
    if tokens == "all":
        return H.mask
    if batch.current is None:
        raise Missing("the batch does not say which tokens are the utterance's own (Batch.current); give it, or let "
                      "the stream of text hold all tokens: tokens='all'")
    first = torch.arange(H.mask.shape[1], device=H.mask.device) == 0
    return H.mask & (batch.current | first)


def take(H: Padded, kept: Tensor) -> Padded:
    """The states (batch, tokens, d) where `kept` (batch, tokens) is True, side by side: (batch, most, d)."""
    return Padded.of(H.values[kept].split(kept.sum(dim=1).tolist())).to(H.values.device)


def of_all_tokens(attention: dict[str, Tensor], taken: Padded, kept: Tensor) -> dict[str, Tensor]:
    """Attention whose axis of tokens is that of the batch again, 0 where a token was not taken.

    The axis is the first after the batch's, of "patch_token" the second.
    """
    whole = {}
    for name, values in attention.items():
        if "token" in name:
            turned = values.transpose(1, 2) if name == "patch_token" else values
            values = values.new_zeros(*kept.shape, *turned.shape[2:])
            values[kept] = turned[taken.mask]
        whole[name] = values.transpose(1, 2) if name == "patch_token" else values
    return whole


class Extractor(nn.Module):
    """The paper's "feature extractor": transformer blocks over text, which is brought to the width of LTrans before."""

    def __init__(self, d_in: int, dim: int, config: JFMConfig) -> None:
        super().__init__()
        self.project = nn.Identity() if d_in == dim else nn.Linear(d_in, dim)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, config.heads, config.feed_forward, config.dropout, "gelu", batch_first=True)
            for _ in range(config.extractor))

    def forward(self, H: Padded) -> Padded:
        values = self.project(H.values)
        for block in self.blocks:
            values = block(values, src_key_padding_mask=~H.mask)
        return Padded(values * H.mask[..., None], H.mask)


def through(layers: nn.ModuleList, mel: Padded) -> Padded:
    """Patches after one layer of a ViT after another."""
    for layer in layers:
        mel, _ = layer(mel)
    return mel


class LateFusion(nn.Module):  # Table 2, w/o JFM
    """Text as it is and mel through a ViT of its own: nothing passes between them."""

    def __init__(self, vision: nn.ModuleList) -> None:
        super().__init__()
        self.vision = vision

    def forward(self, text: Padded, mel: Padded) -> tuple[Padded, Padded, dict[str, Tensor]]:
        return text, through(self.vision, mel), {}


class CrossModalFusion(nn.Module):  # Table 3, CFA
    """Mel through a ViT; then each stream asks the other `blocks` times: multi-head attention, residual, norm.

    attention: of the last time, "token_patch" (batch, tokens, patches) and "patch_token", means over heads.
    """

    def __init__(self, vision: nn.ModuleList, d_t: int, d_m: int, config: JFMConfig) -> None:
        super().__init__()
        self.vision = vision
        self.text, self.mel = (nn.ModuleList(Asking(d, other, config.heads, config.dropout)
                                             for _ in range(config.blocks)) for d, other in ((d_t, d_m), (d_m, d_t)))

    def forward(self, text: Padded, mel: Padded) -> tuple[Padded, Padded, dict[str, Tensor]]:
        mel = through(self.vision, mel)
        for of_text, of_mel in zip(self.text, self.mel, strict=True):
            (text, of_patches), (mel, of_tokens) = of_text(text, mel), of_mel(mel, text)
        return text, mel, {"token_patch": of_patches, "patch_token": of_tokens}


class Asking(nn.Module):
    """A stream (batch, length, dim) attends to another of width `other`: its next states, and the attention."""

    def __init__(self, dim: int, other: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = nn.MultiheadAttention(dim, heads, dropout, kdim=other, vdim=other, batch_first=True)
        self.norm = nn.LayerNorm(dim)

    def forward(self, stream: Padded, asked: Padded) -> tuple[Padded, Tensor]:
        drawn, attention = self.heads(stream.values, asked.values, asked.values, key_padding_mask=~asked.mask)
        real = stream.mask[..., None]
        return Padded(self.norm(stream.values + drawn) * real, stream.mask), attention * real


class OneModality(nn.Module):  # Table 1, T and A
    """One encoder, a head on its CLS token, (5) alone as its loss: of text with transformer blocks, of speech a ViT."""

    def __init__(self, modality: str, encoder: nn.Module, classes: int, config: JFMConfig) -> None:
        """modality: "text" or "speech"."""
        super().__init__()
        self.modality, self.config = modality, config
        self.add_module(f"{modality}_encoder", encoder)
        self.extract = Extractor(encoder.dim, encoder.dim, config) if modality == "text" else None
        self.norm = nn.Identity() if modality == "text" else nn.LayerNorm(encoder.dim)  # as in `JFM`
        self.classify = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(encoder.dim, classes))

    def forward(self, batch: Batch) -> ModelOutput:
        H = encode(self, batch, self.modality)
        if self.extract is not None:
            H = self.extract(take(H, stream_tokens(H, batch, self.config.tokens)))
        cls = self.norm(H.values[:, 0])
        output = ModelOutput(self.classify(cls), features=cls)
        if batch.labels is not None:
            output.loss = output.terms["L_ERC"] = functional.cross_entropy(output.logits, batch.labels)
        return output
