"""Acoustic frames against numpy and known tones; SpecAugment within its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mer_kit.batch import Padded
from mer_kit.encoders.acoustics import BANDS, SpecAugment, VocalTract, acoustic_frames

RATE = 16_000  # Hz


def noise() -> torch.Tensor:
    return 0.3 * torch.randn(RATE, generator=torch.Generator().manual_seed(2))


def tone(hertz: float, seconds: float = 1.0, amplitude: float = 0.5) -> torch.Tensor:
    time = torch.arange(int(seconds * RATE)) / RATE
    return amplitude * sum(torch.sin(2 * torch.pi * hertz * k * time) / k for k in (1, 2, 3))


def test_frames_count_a_hop_each_and_short_clips_are_padded():
    assert acoustic_frames(torch.randn(RATE)).shape == (1 + (RATE - 400) // 160, BANDS)
    short = acoustic_frames(0.1 * torch.randn(800))  # 0.05 s
    assert short.shape == (1 + (1_600 - 400) // 160, BANDS) and short.isfinite().all()
    assert acoustic_frames(torch.zeros(RATE)).isfinite().all()


def test_bands_are_log_mel_normalised_over_the_utterance():
    samples = noise()
    bands = acoustic_frames(samples)[:, :80]
    torch.testing.assert_close(bands.mean(dim=0), torch.zeros(80), atol=1e-4, rtol=0)
    torch.testing.assert_close(bands.std(dim=0, correction=0), torch.ones(80), atol=1e-4, rtol=0)
    window = np.hanning(401)[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(samples.numpy(), 400)[::160]
    power = np.abs(np.fft.rfft(frames * window, 512)) ** 2
    mel = np.linspace(*(2595 * np.log10(1 + f / 700) for f in (20.0, 8000.0)), 82)
    edges = 700 * (10 ** (mel / 2595) - 1)
    hertz = np.arange(257) * RATE / 512
    up = (hertz[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    down = (edges[2:] - hertz[:, None]) / np.diff(edges)[1:]
    expected = np.log(power @ np.maximum(0, np.minimum(up, down)) + 1e-6)
    expected = (expected - expected.mean(0)) / np.maximum(expected.std(0), 1e-3)
    np.testing.assert_allclose(bands.numpy(), expected, atol=2e-3)


@pytest.mark.parametrize("hertz", [80.0, 120.0, 200.0, 333.0, 430.0])
def test_pitch_in_octaves_voicing_and_energy(hertz):
    samples = tone(hertz)
    frames = acoustic_frames(samples)[5:-5]
    torch.testing.assert_close(frames[:, 80], torch.full((len(frames),), np.log2(hertz / 150)), atol=0.03, rtol=0)
    assert frames[:, 81].min() > 0.9
    expected = (10 * torch.log10(samples.square().mean()) + 40) / 20
    torch.testing.assert_close(frames[:, 82].mean(), expected, atol=0.02, rtol=0)
    louder = acoustic_frames(2 * samples)[5:-5]
    torch.testing.assert_close(louder[:, 82] - frames[:, 82], torch.full((len(frames),), 6.02 / 20), atol=1e-3, rtol=0)
    torch.testing.assert_close(louder[:, 80], frames[:, 80])


def test_noise_is_unvoiced_and_has_no_pitch():
    frames = acoustic_frames(noise())
    assert frames[:, 81].mean() < 0.4 and (frames[:, 80] != 0).float().mean() < 0.15


# SpecAugment

def test_spec_augment_masks_stretches_within_its_limits_in_training_alone():
    torch.manual_seed(0)
    frames = Padded.of([torch.ones(n, 83) for n in (150, 40, 3, 1)])
    augment = SpecAugment(time_width=20, time_masks=2, band_width=16, band_masks=2, share=0.3)
    assert augment.eval()(frames) is frames
    augment.train()
    drawn = [augment(frames).values for _ in range(60)]
    for values in drawn:
        in_time = [(values[i, :n] == 0).all(dim=1) for i, n in enumerate((150, 40, 3, 1))]
        assert all(gone.sum() <= min(0.3 * len(gone), 40) for gone in in_time)
        in_bands = (values[0][~in_time[0]] == 0).all(dim=0)
        assert in_bands.sum() <= 32
    masked = torch.stack([v[0] == 0 for v in drawn]).float()
    assert masked.mean(dim=(0, 2)).min() > 0 and masked.mean(dim=(0, 1)).min() > 0  # every place has its turn
    short = torch.stack([(v[1, :40] == 0).all(dim=1).any() for v in drawn])
    assert short.float().mean() > 0.8  # stretches lie within short utterances too, not in their padding
    assert (masked.all(dim=2).sum(dim=1).max()) > 20  # and both stretches do fall side by side


def test_spec_augment_is_seeded_by_torch_and_can_be_turned_off():
    frames = Padded.of(list(torch.ones(2, 100, 83)))
    augment = SpecAugment()
    twice = []
    for _ in range(2):
        torch.manual_seed(5)
        twice.append(augment(frames).values)
    assert twice[0].equal(twice[1]) and not augment(frames).values.equal(twice[0])
    assert SpecAugment(time_masks=0, band_masks=0)(frames).values.equal(frames.values)


def test_another_vocal_tract_moves_the_bands_of_an_utterance_alike():
    """On a ramp over the bands, the value is the place that was read; the rest stays, and so does padding."""
    ramp = torch.cat([torch.arange(80.0), torch.tensor([7.0, 8.0, 9.0])])
    frames = Padded.of([ramp.expand(n, 83) for n in (5, 3)])
    other = VocalTract(spread=0.2)
    assert other.eval()(frames) is frames
    torch.manual_seed(0)
    drawn = torch.stack([other.train()(frames).values for _ in range(200)])
    assert drawn[..., 80:].equal(frames.values[..., 80:].expand(200, 2, 5, 3)) and not drawn[:, 1, 3:].any()
    factors = drawn[:, 0, 0, 10] / 10
    assert 0.8 <= factors.min() < 0.82 and 1.18 < factors.max() <= 1.2
    expected = (torch.arange(80.0) * factors[:, None]).clamp_max(79)
    assert torch.allclose(drawn[:, 0, 4, :80], expected, atol=1e-4)
    assert not torch.allclose(factors, drawn[:, 1, 0, 10] / 10)  # each utterance its own
