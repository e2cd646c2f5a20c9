"""Spectrogram encoders: log-mel bands (batch, frames, bands) -> states (batch, steps, dim); an image, its width time.

Layers are AlexNet's (Krizhevsky 2014): convolutions, rectifiers, max-pooling. Time is kept: the feature map's channels
and bands become one state a step. What lies behind the end of a clip is zeroed before every layer, where it is what
the layer's own padding would be, so that neither padding nor neighbours change a state.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mer_kit.batch import Padded
from mer_kit.errors import Missing

BANDS = 80


class SpectrogramEncoder(nn.Module):
    """A stack of convolutions, rectifiers and max-poolings over bands and time.

    frozen: nothing is trained, and it stays in evaluation mode. Clips shorter than `shortest` frames are padded.
    """

    def __init__(self, layers: Iterable[nn.Module], bands: int = BANDS, frozen: bool = False) -> None:
        super().__init__()
        self.layers, self.frozen = nn.ModuleList(layers), frozen
        self.colours = next(layer.in_channels for layer in self.layers if isinstance(layer, nn.Conv2d))
        self.shortest = next(n for n in range(1, 10_000) if _through(self.layers, torch.tensor(n), 1) > 0)
        with torch.no_grad():
            image = self._layers(torch.zeros(1, self.colours, bands, self.shortest), torch.tensor([self.shortest]))[0]
        self.dim: int = image.shape[1] * image.shape[2]
        if frozen:
            self.requires_grad_(False)
        self.train(not frozen)

    def train(self, mode: bool = True) -> SpectrogramEncoder:
        """Training mode, except where frozen."""
        return super().train(mode and not self.frozen)

    def forward(self, x: Padded) -> Padded:
        values = x.values.masked_fill(~x.mask[..., None], 0)
        values = pad(values, (0, 0, 0, max(0, self.shortest - values.shape[1])))
        image = values.transpose(1, 2)[:, None].expand(-1, self.colours, -1, -1)
        image, lengths = self._layers(image, x.lengths.clamp_min(self.shortest))
        mask = torch.arange(image.shape[3], device=image.device) < lengths[:, None]
        states = image.flatten(1, 2).transpose(1, 2)
        return Padded(states * mask[..., None], mask)

    def _layers(self, image: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The feature map (batch, channels, bands, steps) and its real lengths."""
        for layer in self.layers:
            if not isinstance(layer, nn.ReLU):
                real = torch.arange(image.shape[3], device=image.device) < lengths[:, None]
                image = image * real[:, None, None, :]
                lengths = _shorter(layer, lengths, 1)
            image = layer(image)
        return image, lengths


def small_alexnet(bands: int = BANDS, channels: tuple[int, ...] = (16, 32, 32)) -> SpectrogramEncoder:
    """A network of AlexNet's layout for two cores and no weights: a state every 80 ms of 10-ms frames."""
    first, second, third = channels
    return SpectrogramEncoder([
        nn.Conv2d(1, first, 7, stride=(4, 2), padding=3), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1),
        nn.Conv2d(first, second, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1),
        nn.Conv2d(second, third, 3, padding=1), nn.ReLU()], bands)


def imagenet_alexnet(bands: int = BANDS, frozen: bool = True) -> SpectrogramEncoder:
    """torchvision's AlexNet with its ImageNet weights, the classifier left out; the three colours see one image.

    Weights come from torch's cache, or the network: Missing, with the offline choice, where neither has them.
    """
    from torchvision.models import AlexNet_Weights, alexnet

    try:
        network = alexnet(weights=AlexNet_Weights.IMAGENET1K_V1)
    except OSError as why:
        raise Missing(f"AlexNet's ImageNet weights cannot be loaded ({why}); copy {AlexNet_Weights.IMAGENET1K_V1.url} "
                      "into torch's hub cache, or take spectrogram='small', which downloads nothing") from None
    return SpectrogramEncoder(network.features, bands, frozen)


def _shorter(layer: nn.Module, length: Tensor, axis: int) -> Tensor:
    """How long an axis is after a convolution or pooling."""
    kernel, stride, around = (v if isinstance(v, int) else v[axis]
                              for v in (layer.kernel_size, layer.stride, layer.padding))
    return (length + 2 * around - kernel) // stride + 1


def _through(layers: Iterable[nn.Module], length: Tensor, axis: int) -> Tensor:
    for layer in layers:
        length = length if isinstance(layer, nn.ReLU) else _shorter(layer, length, axis).clamp_min(0)
    return length
