"""Speech encoders: acoustic frames or waveforms at 16 kHz -> states (batch, frames, dim)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from mer_kit.batch import Padded
from mer_kit.encoders.acoustics import BANDS, HOP_MS
from mer_kit.encoders.hub import HubEncoder, from_hub, in_eval_mode, load_model
from mer_kit.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OFFLINE = "the offline speech encoder (acoustic_frames and FrameEncoder)"
SAMPLE_RATE = 16_000  # Hz
MEL_WINDOW, MEL_HOP = 400, 160  # samples, of w2v-bert-2.0's mel features


class FrameConvolutions(nn.Module):
    """Acoustic frames (batch, frames, bands) -> (batch, frames / subsample, dim), each from its surroundings.

    Strided convolutions halve the frame rate until it is `subsample` times lower (4: a state every 40 ms); padding is
    zeroed before each.
    """

    def __init__(self, bands: int = BANDS, dim: int = 128, subsample: int = 4) -> None:
        super().__init__()
        halvings = int(math.log2(subsample))
        if subsample < 2 or 2**halvings != subsample:
            raise BadInput(f"subsample is {subsample}; expected a power of two: 2, 4, 8 ...")
        self.dim = dim
        self.frame_rate = 1000 / HOP_MS / subsample  # states a second
        self.convolutions = nn.ModuleList(nn.Conv1d(bands if i == 0 else dim, dim, kernel_size=5, stride=2, padding=2)
                                          for i in range(halvings))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(halvings))

    def convolved(self, x: Padded) -> Padded:
        """What the convolutions make of the frames, at the states' rate, before any frame has seen the whole utterance.

        It is what wav2vec2 hands to its quantizer ("the output of the CNN feature encoder"), so codes are made of it.
        """
        values, mask = x.values.masked_fill(~x.mask[..., None], 0), x.mask
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            values = norm(convolution(values.transpose(1, 2)).transpose(1, 2))
            mask = mask[:, ::2]  # a state is real where the frame at its centre is
            values = gelu(values) * mask[..., None]
        return Padded(values, mask)

    forward = convolved


class FrameEncoder(FrameConvolutions):
    """Convolutions over acoustic frames, then a small transformer; trained from scratch in minutes.

    Padding is never attended to. augment: applied to the frames in training mode, such as SpecAugment.
    """

    def __init__(self, bands: int = BANDS, dim: int = 128, layers: int = 3, heads: int = 4, subsample: int = 4,
                 dropout: float = 0.1, augment: nn.Module | None = None) -> None:
        super().__init__(bands, dim, subsample)
        self.augment = augment
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, heads, 4 * dim, dropout, "gelu", batch_first=True, norm_first=True)
            for _ in range(layers))
        self.final_norm = nn.LayerNorm(dim)

    def forward(self, x: Padded) -> Padded:
        x = self.convolved(self.augment(x) if self.augment else x)
        values = self.dropout(x.values + _positions(x.values))
        for layer in self.layers:
            values = layer(values, src_key_padding_mask=~x.mask)
        return Padded(self.final_norm(values).masked_fill(~x.mask[..., None], 0), x.mask)


def _positions(values: Tensor) -> Tensor:
    """Sinusoids (length, dim) that tell places apart (Vaswani et al. 2017)."""
    length, dim = values.shape[1:]
    place = torch.arange(length, device=values.device)[:, None]
    angle = place / 10_000 ** (torch.arange(0, dim, 2, device=values.device) / dim)
    return torch.cat([angle.sin(), angle.cos()], dim=1)[:, :dim].to(values.dtype)


@dataclass
class _Real:
    """How long the utterances of the batch in hand really are; shared by the layers that must know."""

    samples: Tensor | None = None  # (batch,)
    frames: Tensor | None = None  # (batch,)

    def checkpointed(self) -> tuple[AbstractContextManager, AbstractContextManager]:
        """For torch's gradient checkpointing: what is computed again in backward sees the lengths of its own batch."""
        return nullcontext(), self._as(self.samples, self.frames)

    @contextmanager
    def _as(self, samples: Tensor, frames: Tensor) -> Iterator[None]:
        now = self.samples, self.frames
        self.samples, self.frames = samples, frames
        try:
            yield
        finally:
            self.samples, self.frames = now


class _RealNorm(nn.GroupNorm):
    """Group norm of one channel a group whose statistics run over real places alone, (batch, channels, places)."""

    def __init__(self, norm: nn.GroupNorm, convolution: nn.Conv1d, real: _Real) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps)
        self.weight, self.bias, self.real = norm.weight, norm.bias, real
        self.kernel, self.stride = convolution.kernel_size[0], convolution.stride[0]

    def forward(self, x: Tensor) -> Tensor:
        lengths = (self.real.samples - self.kernel) // self.stride + 1
        values = x.float()
        real = [v[:, :n] for v, n in zip(values, lengths.tolist(), strict=True)]
        mean = torch.stack([v.mean(dim=1, keepdim=True) for v in real])
        variance = torch.stack([(v - m).square().mean(dim=1, keepdim=True) for v, m in zip(real, mean, strict=True)])
        scale = self.weight[:, None] * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias[:, None] - mean * scale, values, scale).to(x.dtype)


class _ZeroPadding:
    """A hook before a convolution over frames (batch, channels, frames): what lies past an utterance's end is zero."""

    def __init__(self, real: _Real) -> None:
        self.real = real

    def __call__(self, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        x = inputs[0]
        return (x * (torch.arange(x.shape[2], device=x.device) < self.real.frames[:, None])[:, None],)


class WaveEncoder(HubEncoder):
    """Hugging Face speech models over waveforms: samples (batch, samples) at 16 kHz -> (batch, frames, dim).

    wav2vec2, wav2vec2-conformer, WavLM, HuBERT, and w2v-bert-2.0 by its own mel features. Two of the library's layers
    read padding: the group norm of the base models runs over all of time, and the conformer's convolutions over what
    lies past the end. Both are replaced here by ones that read real samples alone, with the same weights; what is left
    is rounding (`padding_deviation`). Layers are never dropped at random; batch norms keep their running statistics.

    layer, frozen: see HubEncoder. normalise: bring each waveform to mean 0 and variance 1 over its real samples.
    augment: mask time and features in training as the model's own config says (drawn from numpy's generator).
    """

    inputs = ("input_values", "input_features")

    def __init__(self, model: PreTrainedModel, layer: int | None = None, frozen: bool = False, normalise: bool = True,
                 augment: bool = False) -> None:
        super().__init__(model, layer, frozen)
        self.normalise, self.augment, self.real = normalise, augment, _Real()
        model.config.layerdrop = 0.0
        self._read_real_samples_alone()
        if not frozen:
            self.freeze_unread(Padded.of([torch.linspace(-1, 1, SAMPLE_RATE)]))

    def _read_real_samples_alone(self) -> None:
        for name, module in self.model.named_modules():
            if name.endswith("conv_module.depthwise_conv") and module.padding != (0,):
                module.register_forward_pre_hook(_ZeroPadding(self.real))
            if isinstance(getattr(module, "layer_norm", None), nn.GroupNorm):
                module.layer_norm = _RealNorm(module.layer_norm, module.conv, self.real)

    def train(self, mode: bool = True) -> WaveEncoder:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eval()
        return self

    def checkpoint_gradients(self) -> None:
        """Compute activations twice and do not keep them: less memory, more time."""
        self.model.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": self.real.checkpointed})

    def forward(self, x: Padded) -> Padded:
        """Raises BadInput where an utterance is too short for a single frame."""
        self.real.samples, self.real.frames = x.lengths, self._frames(x.lengths)
        if int(self.real.frames.min()) < 1:
            raise BadInput(f"a waveform of {int(x.lengths.min())} samples gives no frame; pad clips to 0.1 s or more")
        if self.model.main_input_name == "input_features":
            features = [mel_features(v[:n]) for v, n in zip(x.values, x.lengths.tolist(), strict=True)]
            inputs = Padded.of(features).to(x.values.device)
        else:
            inputs = Padded(standardised(x) if self.normalise else x.values, x.mask)
        config = self.model.config
        config.apply_spec_augment = self.augment and int(self.real.frames.max()) >= config.mask_time_length
        states = self.states(**{self.model.main_input_name: inputs.values.to(self.model.dtype)},
                             attention_mask=inputs.mask.long())
        mask = torch.arange(states.shape[1], device=states.device) < self.real.frames[:, None]
        return Padded(states.masked_fill(~mask[..., None], 0), mask)

    @property
    def frame_rate(self) -> float:
        """States a second, over an hour of sound."""
        return self._frames(torch.tensor([3600 * SAMPLE_RATE])).item() / 3600

    def _frames(self, samples: Tensor) -> Tensor:
        """How many states waveforms of so many samples (batch,) give, (batch,)."""
        if self.model.main_input_name == "input_features":
            return ((samples - MEL_WINDOW) // MEL_HOP + 1) // 2
        return self.model._get_feat_extract_output_lengths(samples)


def standardised(x: Padded) -> Tensor:
    """Waveforms (batch, samples) at mean 0 and variance 1 over real samples, zeros past the end."""
    centred = (x.values - x.mean()[:, None]) * x.mask
    variance = centred.square().sum(dim=1, keepdim=True) / x.lengths[:, None]
    return centred * torch.rsqrt(variance + 1e-7)


def mel_features(samples: Tensor) -> Tensor:
    """What w2v-bert-2.0 reads: 80 log-mel bands (Kaldi's), each standardised over the utterance, frames in pairs.

    samples (n,) at 16 kHz -> (frames, 160), 50 frames a second; an odd last frame is left out.
    """
    from torchaudio.compliance.kaldi import fbank

    bands = fbank(samples[None] * 2**15, num_mel_bins=80, sample_frequency=SAMPLE_RATE)
    bands = (bands - bands.mean(dim=0)) * torch.rsqrt(bands.var(dim=0) + 1e-7)
    return bands[: len(bands) // 2 * 2].reshape(-1, 160)


def pretrained_speech_encoder(source: str | Path, *, layer: int | None = None, dtype: torch.dtype | None = None,
                              frozen: bool = False, gradient_checkpointing: bool = False,
                              augment: bool = False) -> WaveEncoder:
    """The speech encoder of a Hugging Face id or folder, such as "microsoft/wavlm-large".

    layer, frozen: see HubEncoder. dtype: of the weights; None keeps the checkpoint's. augment: see WaveEncoder.
    gradient_checkpointing: compute activations twice and do not keep them: less memory, more time.
    Whether waveforms are standardised is read from the checkpoint's own feature extractor.
    """
    from transformers import AutoFeatureExtractor

    model = load_model(source, OFFLINE, dtype)
    extractor = from_hub("feature extractor", source, OFFLINE, AutoFeatureExtractor.from_pretrained)
    encoder = WaveEncoder(model, layer, frozen, getattr(extractor, "do_normalize", True), augment)
    if gradient_checkpointing:
        encoder.checkpoint_gradients()
    return encoder


def pretraining_model(source: str | Path) -> PreTrainedModel | None:
    """The model that wav2vec2 was pretrained as, with its quantizer, where a checkpoint holds one; else None.

    A Wav2Vec2ForPreTraining or a Wav2Vec2ConformerForPreTraining; a fine-tuned checkpoint has lost its quantizer.
    """
    from transformers import AutoConfig, AutoModelForPreTraining

    config = from_hub("model", source, OFFLINE, AutoConfig.from_pretrained)
    if not {"Wav2Vec2ForPreTraining", "Wav2Vec2ConformerForPreTraining"} & set(config.architectures or ()):
        return None
    return from_hub("model", source, OFFLINE, partial(AutoModelForPreTraining.from_pretrained, dtype=torch.float32))


def padding_deviation(encoder: nn.Module, sequences: Sequence[Tensor]) -> float:
    """How much padding changes an encoder's states: the largest absolute difference between sequences encoded alone
    and in one padded batch, in units of the states' standard deviation; 1e-5 and less is rounding."""
    with torch.no_grad(), in_eval_mode(encoder):
        batch = encoder(Padded.of(sequences))
        alone = [encoder(Padded.of([s])).values[0] for s in sequences]
    if batch.lengths.tolist() != [len(states) for states in alone]:
        raise BadInput(f"{type(encoder).__name__} gives {batch.lengths.tolist()} real states in a batch and "
                       f"{[len(s) for s in alone]} alone; its mask must count the states of real input")
    difference = max(float((v[: len(s)] - s).abs().max()) for v, s in zip(batch.values, alone, strict=True))
    return difference / float(torch.cat(alone).std())
