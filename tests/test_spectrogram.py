"""Spectrogram encoders: padding, neighbours, short clips, torchvision's own feature map."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mer_kit.batch import Padded
from mer_kit.encoders.spectrogram import SpectrogramEncoder, small_alexnet

LENGTHS = (150, 97, 33, 5, 1)


def alexnet() -> nn.Module:
    from torchvision.models import alexnet

    torch.manual_seed(0)
    return alexnet(weights=None)


def encoders():
    torch.manual_seed(0)
    return {"small": small_alexnet(), "AlexNet": SpectrogramEncoder(alexnet().features)}


@pytest.mark.parametrize("name", ["small", "AlexNet"])
def test_padding_and_neighbours_change_nothing(name):
    encoder, clips = encoders()[name].eval(), [torch.randn(n, 80) for n in LENGTHS]
    together = encoder(Padded.of(clips))
    rubbish = Padded(Padded.of(clips).values + 9 * ~Padded.of(clips).mask[..., None], Padded.of(clips).mask)
    torch.testing.assert_close(encoder(rubbish).values, together.values)
    for i, clip in enumerate(clips):
        alone = encoder(Padded.of([clip]))
        steps = alone.lengths.item()
        assert steps == together.lengths[i] and together.values.shape[2] == encoder.dim
        torch.testing.assert_close(together.values[i, :steps], alone.values[0], atol=1e-5, rtol=1e-4)
        assert not together.values[i, steps:].any()


def test_alexnet_is_torchvisions_feature_map():
    network = alexnet().eval()
    clip = torch.randn(200, 80)
    expected = network.features(clip.T[None, None].expand(1, 3, 80, 200))[0]  # (256, bands, steps)
    states = SpectrogramEncoder(network.features).eval()(Padded.of([clip]))
    torch.testing.assert_close(states.values[0], expected.flatten(0, 1).T, atol=1e-5, rtol=1e-4)


def test_clips_shorter_than_the_network_give_one_state():
    for encoder in encoders().values():
        assert encoder(Padded.of([torch.randn(1, 80)])).lengths.tolist() == [1]
        assert encoder(Padded.of([torch.randn(encoder.shortest, 80)])).lengths.tolist() == [1]


def test_frozen_stays_frozen_and_trained_along_learns():
    frozen = SpectrogramEncoder(alexnet().features, frozen=True)
    assert not any(m.training for m in frozen.train().modules())
    assert not any(p.requires_grad for p in frozen.parameters())
    small = small_alexnet()
    small(Padded.of([torch.randn(40, 80)])).values.square().sum().backward()
    assert all(p.grad is not None for p in small.parameters())
