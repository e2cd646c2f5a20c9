"""LSGMER: Leveraging Label Potential for Enhanced Multimodal Emotion Recognition (Shao, Yu and Wang, 2024).

Symbols: H_t0 (batch, tokens, d), H_a0 (batch, frames, d) states of text and audio; L (C, d) label embeddings; H_t, H_a
(batch, C, d) what each label draws from a modality; g (batch, 2) weights of audio and text. Losses are means over the
batch.

    equation        function                what it gives
    (1)             Text                    H_t0: BiLSTM over the text encoder's states
    (2)             Audio                   H_a0: the speech encoder's states + the spectrogram's, resampled to them
    (3) (4)         CrossAttention          H_t1, H_a1: each modality attends to the other
    (5) (6)         CrossAttention          H_a2, H_t2: each label attends to a modality
    (7) (8)         enhance                 H_a, H_t
    (9)             moving_average          L at the beginning of the next epoch
    (10) (11)       Gate                    g, H_fused
    (12) (13)       `LSGMER.classify`       logits, the softmax of which is p
    (14) (15)       similarity              log q
    (16) (17)       apc_loss, js_divergence L_apc
    (18) (19)       cross-entropy, total    L_ce, L
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mer_kit.batch import Batch, ModelOutput, Padded, masked_mean
from mer_kit.errors import BadInput, Missing, unknown
from mer_kit.models import encode

ORIGINALS = ("mean", "label attention")
GATES = ("utterance", "label", "flat")
APC_MEANS = ("batch", "literal")
WITHOUT = MappingProxyType({"MA": {"ma_rate": 0.0}, "JOO": {"joo": False}, "LSMA": {"lsma": False}})  # of Table III


@dataclass(frozen=True)
class LSGMERConfig:
    """The choices of LSGMER.

    lsma, joo: label signal enhancement (5)-(8) and the consistency loss (14)-(17); without either no label embeddings
    are left. ma_rate: α of (9); 0 is without MA. alpha, beta: of (19). original: what (7) weighs of H_a0, whose length
    is not that of H_a2: its mean, the same for each label, or its mean under the label's attention. gate: one pair of
    weights an utterance, over label-averaged vectors, or one a label; "flat" hands the MLP all C x d numbers.
    apc_mean: (16) is a mean over the batch, or "literal", which divides by the number of classes once more.
    modality_dropout: how often, in training, an utterance comes without one of its modalities. views: how many draws of
    frozen offline encoders' own dropout and augmentation an utterance is trained on, no more than there are epochs;
    0: on what is scored.
    """

    dim: int = 128  # d
    heads: int = 4
    lsma: bool = True
    joo: bool = True
    ma_rate: float = 0.99
    alpha: float = 1.0
    beta: float = 0.05
    original: str = "mean"
    gate: str = "utterance"
    apc_mean: str = "batch"
    modality_dropout: float = 0.0
    dropout: float = 0.1
    views: int = 0

    def __post_init__(self) -> None:
        for kind, valid in (("original", ORIGINALS), ("gate", GATES), ("apc_mean", APC_MEANS)):
            if getattr(self, kind) not in valid:
                raise unknown(kind, getattr(self, kind), valid)
        if not 0 <= self.ma_rate < 1 or not 0 <= self.modality_dropout <= 1:
            raise BadInput(f"got ma_rate {self.ma_rate}, modality_dropout {self.modality_dropout}; expected numbers "
                           "from 0 to 1 (a rate of 1 would never learn a label)")
        if self.heads < 1 or self.dim % self.heads:
            raise BadInput(f"got dim {self.dim} and {self.heads} heads; expected a multiple")


PRESETS = MappingProxyType({
    "paper": LSGMERConfig(dim=768, heads=8),  # width and heads are not stated; 768 is RoBERTa's
    "paper-meld": LSGMERConfig(dim=768, heads=8, beta=0.1),
    "offline": LSGMERConfig(dropout=0.3, views=8),
})


class Text(nn.Module):  # Eq. 1
    """H_t0: a BiLSTM over states (batch, tokens, d_t), half of d each way; padding is never read."""

    def __init__(self, d_t: int, dim: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(d_t, dim // 2, batch_first=True, bidirectional=True)

    def forward(self, H: Padded) -> Padded:
        packed = pack_padded_sequence(H.values, H.lengths.cpu(), batch_first=True, enforce_sorted=False)
        values, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=H.mask.shape[1])
        return Padded(values, H.mask)


class Audio(nn.Module):  # Eq. 2
    """H_a0: states (batch, frames, d_s) + spectrogram states (batch, steps, d_m), both projected to d.

    The paper sums both without saying how their lengths meet: the spectrogram's are resampled to the speech frames.
    """

    def __init__(self, d_s: int, d_m: int, dim: int) -> None:
        super().__init__()
        self.speech, self.spectrogram = nn.Linear(d_s, dim), nn.Linear(d_m, dim)

    def forward(self, H: Padded, M: Padded) -> Padded:
        values = self.speech(H.values) + resample(Padded(self.spectrogram(M.values), M.mask), H.mask)
        return Padded(values * H.mask[..., None], H.mask)


def resample(M: Padded, mask: Tensor) -> Tensor:
    """M (batch, steps, d) read at the places of `mask` (batch, frames), linearly, each over its own real length."""
    steps, frames = M.lengths[:, None], mask.sum(dim=1, keepdim=True).clamp_min(1)
    place = (torch.arange(mask.shape[1], device=mask.device) + 0.5) * steps / frames - 0.5
    place = torch.minimum(place.clamp_min(0), steps - 1)
    below = place.long()
    above = torch.minimum(below + 1, steps - 1)
    lower, upper = (M.values.gather(1, i[..., None].expand(-1, -1, M.values.shape[2])) for i in (below, above))
    return torch.lerp(lower, upper, (place - below)[..., None].to(lower.dtype))


class CrossAttention(nn.Module):  # Eq. 3-6
    """Multi-head attention of queries (batch, q, d) to the real places of keys (batch, k, d)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = nn.MultiheadAttention(dim, heads, dropout, batch_first=True)

    def forward(self, query: Tensor, keys: Padded) -> tuple[Tensor, Tensor]:
        """(batch, q, d), and the weights (batch, q, k), a mean over the heads, 0 at padding."""
        return self.heads(query, keys.values, keys.values, key_padding_mask=~keys.mask)


def enhance(H_2: Tensor, H_0: Tensor) -> Tensor:  # Eq. 7, 8
    """H = σ(H_2) ⊙ H_0 + H_2, each (batch, C, d): the label's signal, and what of the original it lets through."""
    return H_2.sigmoid() * H_0 + H_2


def moving_average(L_before: Tensor, L_after: Tensor, rate: float) -> Tensor:  # Eq. 9
    """L (C, d) for the next epoch, from those at the beginning and the end of this one."""
    return rate * L_before + (1 - rate) * L_after


class Gate(nn.Module):  # Eq. 10, 11
    """g_a, g_t (..., 2) of H_a and H_t (..., d), and H_fused = g_a H_a + g_t H_t."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weigh = nn.Linear(2 * dim, 2)

    def forward(self, H_a: Tensor, H_t: Tensor) -> tuple[Tensor, Tensor]:
        g = self.weigh(torch.cat([H_a, H_t], dim=-1)).softmax(dim=-1)
        return g, g[..., :1] * H_a + g[..., 1:] * H_t


def similarity(H_fused: Tensor, L: Tensor) -> Tensor:  # Eq. 14, 15
    """log q (batch, C): log softmax of the cosines of H_fused (batch, d) with L (C, d)."""
    return (F.normalize(H_fused, dim=-1) @ F.normalize(L, dim=-1).T).log_softmax(dim=-1)


def js_divergence(log_q: Tensor, log_p: Tensor) -> Tensor:  # Eq. 17
    """(batch,): Jensen-Shannon divergence, natural logarithm, of distributions (batch, C) given as logarithms."""
    log_m = torch.logaddexp(log_q, log_p) - math.log(2)
    return 0.5 * ((log_p.exp() * (log_p - log_m)).sum(dim=-1) + (log_q.exp() * (log_q - log_m)).sum(dim=-1))


def apc_loss(log_q: Tensor, log_p: Tensor, mean: str = "batch") -> Tensor:  # Eq. 16
    """L_apc. The paper sums (17) over classes inside (17) and divides by them in (16): "literal" does so."""
    return js_divergence(log_q, log_p).mean() / (log_p.shape[-1] if mean == "literal" else 1)


def total_loss(terms: dict[str, Tensor], alpha: float, beta: float) -> Tensor:  # Eq. 19
    """L = α L_ce + β L_apc; without JOO the latter is not there."""
    return alpha * terms["L_ce"] + (beta * terms["L_apc"] if "L_apc" in terms else 0.0)


def one_modality_out(H_t: Padded, H_a: Padded, share: float) -> tuple[Padded, Padded]:
    """With probability `share`, an utterance's text or, as often, its audio becomes zeros."""
    drawn = torch.rand(len(H_t.values), 1, 1, device=H_t.values.device)
    text, audio = drawn >= share / 2, (drawn < share / 2) | (drawn >= share)
    return Padded(H_t.values * text, H_t.mask), Padded(H_a.values * audio, H_a.mask)


class LSGMER(nn.Module):
    """Encode, let modalities attend to one another, let labels attend to both, gate, classify (the paper's Figure 2).

    `end_epoch` is to be called at the end of each epoch, before anything is scored.
    """

    def __init__(self, text_encoder: nn.Module, speech_encoder: nn.Module, spectrogram_encoder: nn.Module,
                 classes: int, config: LSGMERConfig = PRESETS["offline"]) -> None:
        """Label embeddings start random, with variance 1 / d."""
        super().__init__()
        self.config, d = config, config.dim
        self.text_encoder, self.speech_encoder = text_encoder, speech_encoder
        self.spectrogram_encoder = spectrogram_encoder
        self.text = Text(text_encoder.dim, d)
        self.audio = Audio(speech_encoder.dim, spectrogram_encoder.dim, d)
        names = ("text_to_audio", "audio_to_text") + ("label_to_audio", "label_to_text") * config.lsma
        self.attend = nn.ModuleDict({name: CrossAttention(d, config.heads, config.dropout) for name in names})
        self.gate = Gate(d)
        self.L = nn.Parameter(torch.randn(classes, d) * d**-0.5) if config.lsma or config.joo else None
        if self.L is not None:
            self.register_buffer("L_start", self.L.detach().clone())
            self.register_buffer("L_before", self.L.detach().clone())
        flat = classes if config.gate == "flat" and config.lsma else 1
        self.classify = nn.Sequential(nn.Dropout(config.dropout), nn.Linear(flat * d, d), nn.ReLU(),
                                      nn.Dropout(config.dropout), nn.Linear(d, classes))

    def forward(self, batch: Batch) -> ModelOutput:
        H_t0, H_a0 = self.text(encode(self, batch, "text")), self._audio(batch)
        if self.training and self.config.modality_dropout:
            H_t0, H_a0 = one_modality_out(H_t0, H_a0, self.config.modality_dropout)
        attention = {}
        H_t1, attention["token_frame"] = self.attend["text_to_audio"](H_t0.values, H_a0)
        H_a1, attention["frame_token"] = self.attend["audio_to_text"](H_a0.values, H_t0)
        H_t1, H_a1 = Padded(H_t1, H_t0.mask), Padded(H_a1, H_a0.mask)
        if self.config.lsma:
            H_a, attention["label_frame"] = self._enhanced("label_to_audio", H_a0, H_a1)
            H_t, attention["label_token"] = self._enhanced("label_to_text", H_t0, H_t1)
        else:
            H_a, H_t = H_a1.mean()[:, None], H_t1.mean()[:, None]
        g, H_fused, seen = self._fused(H_a, H_t)
        output = ModelOutput(self.classify(seen), attention=attention | {"gate": g}, features=H_fused,
                             masks={"tokens": H_t0.mask, "frames": H_a0.mask})
        return output if batch.labels is None else self._with_loss(output, batch.labels)

    @torch.no_grad()
    def end_epoch(self) -> dict[str, float]:
        """The label embeddings of the next epoch (9); without MA they stay as they were learnt.

        "drift": how far they are from where they started, "step": from where they were an epoch ago; both a mean over
        labels, in lengths of a label at the start.
        """
        if self.L is None:
            return {}
        self.L.copy_(moving_average(self.L_before, self.L, self.config.ma_rate))
        unit = self.L_start.norm(dim=1)
        moved = {"drift": self.L - self.L_start, "step": self.L - self.L_before}
        self.L_before.copy_(self.L)
        return {name: (way.norm(dim=1) / unit).mean().item() for name, way in moved.items()}

    def _audio(self, batch: Batch) -> Padded:
        H = encode(self, batch, "speech")
        if batch.spectrogram is None:
            raise Missing(f"the batch ({len(batch)} utterances, first: {batch.ids[0]}) has no spectrogram, which the "
                          "second branch of (2) reads; give Batch.spectrogram the log-mel bands of the same clips")
        return self.audio(H, self.spectrogram_encoder(batch.spectrogram))

    def _enhanced(self, name: str, H_0: Padded, H_1: Padded) -> tuple[Tensor, Tensor]:
        """H (batch, C, d) of one modality, and what each label attended to, (batch, length, C)."""
        H_2, weights = self.attend[name](self.L.expand(len(H_0.values), -1, -1), H_1)
        by_label = self.config.original == "label attention"
        original = weights @ H_0.values if by_label else masked_mean(H_0.values, H_0.mask)[:, None].expand_as(H_2)
        return enhance(H_2, original), weights.transpose(1, 2)

    def _fused(self, H_a: Tensor, H_t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """g, H_fused (batch, d), and what the MLP sees."""
        if self.config.gate == "label":
            g, H = self.gate(H_a, H_t)
            return g.mean(dim=1), H.mean(dim=1), H.mean(dim=1)
        g, H_fused = self.gate(H_a.mean(dim=1), H_t.mean(dim=1))
        if self.config.gate == "flat":
            return g, H_fused, (g[:, :1, None] * H_a + g[:, 1:, None] * H_t).flatten(1)
        return g, H_fused, H_fused

    def _with_loss(self, output: ModelOutput, y: Tensor) -> ModelOutput:
        output.terms["L_ce"] = F.cross_entropy(output.logits, y)  # Eq. 18
        if self.config.joo:
            log_p = output.logits.log_softmax(dim=-1)
            output.terms["L_apc"] = apc_loss(similarity(output.features, self.L), log_p, self.config.apc_mean)
        output.loss = total_loss(output.terms, self.config.alpha, self.config.beta)
        return output
