"""Acoustic frames: log-mel bands with pitch, voicing and energy, and what is done to them in training."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mer_kit.batch import Padded

MEL_BANDS = 80
BANDS = MEL_BANDS + 3  # and pitch, voicing, energy
WINDOW_MS, HOP_MS, PITCH_WINDOW_MS = 25, 10, 40
SHORTEST = 0.1  # s; shorter clips are padded with zeros
LOWEST_PITCH, HIGHEST_PITCH, MIDDLE_PITCH = 60.0, 450.0, 150.0  # Hz
VOICED = 0.45  # of the highest autocorrelation peak, from 0 to 1
FLOOR = 1e-6  # of mel power, a little above the rounding noise of 16-bit samples


def acoustic_frames(samples: Tensor, sample_rate: int = 16_000) -> Tensor:
    """Samples (n,) -> frames (1 + (n - window) // hop, 83), 100 a second, each centred on its 25 ms.

    0-79: log-mel bands; "normalized to the standardized normal distribution in utterance level" (LE-MER, 3.2): each
    band has mean 0 and deviation 1 over the utterance. 80: pitch in octaves above 150 Hz, 0 where unvoiced. 81: how
    strong the voicing is, 0 .. 1. 82: energy, (dB of full scale + 40) / 20. The paper has the bands alone; the last
    three, not normalised by utterance, keep what its normalisation takes away: how high and how loud a voice is.
    """
    window, hop = sample_rate * WINDOW_MS // 1000, sample_rate * HOP_MS // 1000
    samples = pad(samples, (0, max(0, int(SHORTEST * sample_rate) - len(samples))))
    bands = log_mel(samples.unfold(0, window, hop), sample_rate)
    bands = (bands - bands.mean(dim=0)) / bands.std(dim=0, correction=0).clamp_min(1e-3)
    longer = sample_rate * PITCH_WINDOW_MS // 1000
    frames = pad(samples, ((longer - window) // 2,) * 2).unfold(0, longer, hop)
    pitch, voicing = pitch_and_voicing(frames, sample_rate)
    octaves = torch.log2(pitch / MIDDLE_PITCH) * (voicing > VOICED)
    energy = 10 * torch.log10(frames.square().mean(dim=1) + 1e-8) / 20 + 2
    return torch.cat([bands, torch.stack([octaves, voicing, energy], dim=1)], dim=1)


def log_mel(frames: Tensor, sample_rate: int) -> Tensor:
    """Natural log of the power in 80 mel bands, 20 Hz to half the rate; frames (n, window) -> (n, 80)."""
    size = 2 ** math.ceil(math.log2(frames.shape[1]))
    power = torch.fft.rfft(frames * _hann(frames.shape[1]), size).abs().square()
    return torch.log(power @ _mel_filters(size, sample_rate) + FLOOR)


def pitch_and_voicing(frames: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Pitch in Hz (n,) and voicing strength 0 .. 1 (n,) of frames (n, samples).

    The highest peak of the autocorrelation between 60 and 450 Hz, divided by the window's own (Boersma 1993), with a
    small preference for high pitch against errors of an octave.
    """
    shortest, longest = int(sample_rate / HIGHEST_PITCH), math.ceil(sample_rate / LOWEST_PITCH)
    window = _hann(frames.shape[1])
    lags = torch.arange(shortest, longest + 1)
    correlation = _autocorrelation((frames - frames.mean(dim=1, keepdim=True)) * window, longest)
    of_window = _autocorrelation(window[None], longest)
    ratio = correlation / (correlation[:, :1] + 1e-6) / (of_window / of_window[:, :1])
    best = (ratio[:, lags] - 0.02 * torch.log2(lags / shortest)).argmax(dim=1)
    return sample_rate / lags[best], ratio[:, lags].gather(1, best[:, None])[:, 0].clamp(0, 1)


def _autocorrelation(frames: Tensor, longest: int) -> Tensor:
    size = 2 ** math.ceil(math.log2(frames.shape[1] + longest))  # no lag in question wraps around
    return torch.fft.irfft(torch.fft.rfft(frames, size).abs().square(), size)[:, : longest + 1]


@lru_cache
def _hann(length: int) -> Tensor:
    return torch.hann_window(length)


@lru_cache
def _mel_filters(size: int, sample_rate: int) -> Tensor:
    from torchaudio.functional import melscale_fbanks

    return melscale_fbanks(size // 2 + 1, 20.0, sample_rate / 2, MEL_BANDS, sample_rate)


class SpecAugment(nn.Module):
    """Masks stretches of time and of bands in training mode (Park et al. 2019); the masked value is 0, a band's mean.

    time_width: frames, and band_width: bands, are the longest of each of `time_masks` and `band_masks` stretches.
    All stretches together never mask more than `share` of an utterance's real frames. Drawn from torch's generator.
    """

    def __init__(self, time_width: int = 20, time_masks: int = 2, band_width: int = 16, band_masks: int = 2,
                 share: float = 0.3) -> None:
        super().__init__()
        self.time_width, self.time_masks, self.share = time_width, time_masks, share
        self.band_width, self.band_masks = band_width, band_masks

    def forward(self, x: Padded) -> Padded:
        if not self.training:
            return x
        lengths = x.lengths
        widest = (self.share * lengths / max(self.time_masks, 1)).clamp_max(self.time_width)
        in_time = _stretches(x.values.shape[1], lengths, widest, self.time_masks)
        bands = torch.full_like(lengths, x.values.shape[2])
        in_bands = _stretches(x.values.shape[2], bands, bands.clamp_max(self.band_width), self.band_masks)
        return Padded(x.values.masked_fill(in_time[:, :, None] | in_bands[:, None, :], 0), x.mask)


def _stretches(size: int, lengths: Tensor, widest: Tensor, count: int) -> Tensor:
    """(batch, size) True in `count` stretches of 0 .. widest (batch,) places, each within 0 .. lengths (batch,)."""
    random = torch.rand(2, len(lengths), count, 1, device=lengths.device)
    width = (random[0] * (widest.long()[:, None, None] + 1)).floor()
    start = (random[1] * (lengths[:, None, None] - width + 1)).floor()
    place = torch.arange(size, device=lengths.device)
    return ((place >= start) & (place < start + width)).any(dim=1)


class VocalTract(nn.Module):
    """In training mode, each utterance as from another vocal tract (Jaitly and Hinton 2013).

    The mel bands of an utterance are read at `factor` times their place, one factor within 1 ± `spread` an utterance:
    few speakers sound like many. Pitch, voicing and energy stay. Drawn from torch's generator.
    """

    def __init__(self, spread: float = 0.1) -> None:
        super().__init__()
        self.spread = spread

    def forward(self, x: Padded) -> Padded:
        if not self.training:
            return x
        factor = 1 + self.spread * (2 * torch.rand(len(x.values), 1, device=x.values.device) - 1)
        place = (torch.arange(MEL_BANDS, device=factor.device) * factor).clamp_max(MEL_BANDS - 1)
        below = place.long().clamp_max(MEL_BANDS - 2)
        share = (place - below)[:, None, :]
        bands, rest = x.values.split([MEL_BANDS, x.values.shape[2] - MEL_BANDS], dim=2)
        lower, upper = (bands.gather(2, i[:, None, :].expand_as(bands)) for i in (below, below + 1))
        return Padded(torch.cat([torch.lerp(lower, upper, share), rest], dim=2), x.mask)
