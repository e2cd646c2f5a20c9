"""A spectrogram as a ViT sees it: acoustic frames (batch, frames, bands) -> a CLS token and patches, in time order.

Cut into patches, each of which is "derived via a linear projection" (JFM + ICL, 2.3), as in ViT (Dosovitskiy et al.
2021): bands are the height of the image and time is its width, of any length.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from mer_kit.batch import Padded
from mer_kit.encoders.acoustics import BANDS, HOP_MS, MEL_BANDS
from mer_kit.encoders.hub import load_model
from mer_kit.encoders.layers import OFFLINE, layers_of
from mer_kit.encoders.speech import FrameConvolutions
from mer_kit.errors import BadInput


class Patches(nn.Module):
    """Patches of a spectrogram, each projected and told its place, behind a CLS token: (batch, 1 + patches, dim).

    projection: of an image of one colour; its kernel is a patch (bands, frames), its stride how far patches are apart.
    cls (dim,). places (rows, columns, dim): learnt; the columns cover `steps` patches in time, and later ones take the
    last. Of the frames, the first `bands` are read. augment: applied to the frames in training, such as SpecAugment.
    stem: convolutions before them, whose states are then what the patches are cut from. A patch is real where the frame
    is that it begins with; what it reads outside of its clip is 0.
    """

    def __init__(self, projection: nn.Conv2d, cls: Tensor, places: Tensor, steps: int, bands: int = BANDS,
                 augment: nn.Module | None = None, stem: FrameConvolutions | None = None) -> None:
        super().__init__()
        self.projection, self.steps, self.bands, self.augment, self.stem = projection, steps, bands, augment, stem
        self.cls, self.places = nn.Parameter(cls.detach().clone()), nn.Parameter(places.detach().clone())
        self.dim: int = projection.out_channels
        self.rows = len(places)  # patches above one another, low bands first
        frame_rate = stem.frame_rate if stem else 1000 / HOP_MS
        self.frame_rate = frame_rate / projection.stride[1]  # steps in time, a second

    def forward(self, x: Padded) -> Padded:
        if x.values.shape[2] < self.bands:
            raise BadInput(f"got frames of {x.values.shape[2]} bands; these patches read {self.bands}: give acoustic "
                           "frames (acoustic_frames)")
        x = self.augment(x) if self.augment else x
        x = Padded(x.values[..., : self.bands].masked_fill(~x.mask[..., None], 0), x.mask)
        x = self.stem(x) if self.stem else x
        (_, wide), (_, hop) = self.projection.kernel_size, self.projection.stride
        steps, before = -(-x.values.shape[1] // hop), (wide - hop) // 2
        image = pad(x.values, (0, 0, before, (steps - 1) * hop + wide - before - x.values.shape[1])).transpose(1, 2)
        patches = self.projection(image[:, None]).permute(0, 3, 2, 1) + self._places(steps)
        mask = x.mask[:, ::hop].repeat_interleave(self.rows, dim=1)
        patches = patches.flatten(1, 2) * mask[..., None]
        return Padded(torch.cat([self.cls.expand(len(patches), 1, -1), patches], dim=1), pad(mask, (1, 0), value=True))

    def _places(self, steps: int) -> Tensor:
        """(steps, rows, dim): the columns of `places`, read linearly where the steps stand."""
        last = self.places.shape[1] - 1
        at = (torch.arange(steps, device=self.places.device) + 0.5) * (last + 1) / self.steps - 0.5
        at = at.clamp(0, last)
        below, above = at.floor().long(), at.ceil().long()
        return torch.lerp(self.places[:, below], self.places[:, above], (at - below)[:, None]).transpose(0, 1)


class Vision(nn.Module):
    """A ViT: its patches and its layers, which may be asked by themselves; no norm behind the last."""

    def __init__(self, patches: Patches, layers: nn.ModuleList) -> None:
        super().__init__()
        self.patches, self.layers = patches, layers
        self.dim, self.frame_rate = patches.dim, patches.frame_rate

    def forward(self, x: Padded) -> Padded:
        x = self.patches(x)
        for layer in self.layers:
            x, _ = layer(x)
        return x


def small_vision(count: int, dim: int = 96, heads: int = 4, dropout: float = 0.1, size: tuple[int, int] = (BANDS, 8),
                 hop: int = 8, seconds: float = 10.0, augment: nn.Module | None = None, seed: int = 0,
                 convolved: bool = False) -> Vision:
    """A small ViT of `count` layers with random weights, the same for the same seed.

    size: (bands, frames) of a patch; all bands and 80 ms, pitch and energy among them. hop: frames from one to the
    next. seconds: how long a clip has places of its own; they start as sinusoids. convolved: patches of 80 ms are cut
    from what two convolutions make of the frames ("early convolutions", Xiao et al. 2021), so that few clips suffice.
    """
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(hidden_size=dim, num_hidden_layers=count, num_attention_heads=heads, intermediate_size=4 * dim,
                       hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, image_size=16)
    steps, rows = -(-int(seconds * 1000 / HOP_MS) // hop), BANDS // size[0]
    angle = torch.arange(steps)[:, None] / 10_000 ** (torch.arange(0, dim, 2) / dim)
    in_time = torch.cat([angle.sin(), angle.cos()], dim=1)[:, :dim]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        places = in_time + torch.randn(rows, 1, dim) * dim**-0.5
        stem = FrameConvolutions(dim=dim, subsample=4) if convolved else None
        projection = nn.Conv2d(1, dim, (dim, 2), (dim, 2)) if stem else nn.Conv2d(1, dim, size, (size[0], hop))
        patches = Patches(projection, torch.randn(dim) * dim**-0.5, places, steps, rows * size[0], augment, stem)
        return Vision(patches, layers_of(ViTModel(config, add_pooling_layer=False)))


def pretrained_vision(source: str | Path, count: int | None = None, seconds: float = 20.0,
                      augment: nn.Module | None = None) -> Vision:
    """A ViT by its Hugging Face id or folder, in float32, over 80 mel bands, with its first `count` layers.

    The three colours see one image, so that their weights are summed. Its places are resized: the height to the patches
    that fit into the bands, the width to clips of so many seconds. Raises BadInput for what is no ViT.
    """
    model = load_model(source, OFFLINE, torch.float32)
    if model.config.model_type != "vit":
        raise BadInput(f"{str(source)!r} is a {type(model).__name__}; expected a ViT, such as "
                       "google/vit-base-patch16-224-in21k")
    embeddings, projection = model.embeddings, model.embeddings.patch_embeddings.projection
    (high, wide), dim = projection.kernel_size, projection.out_channels
    grey = nn.Conv2d(1, dim, (high, wide), (high, wide))
    grey.load_state_dict({"weight": projection.weight.sum(dim=1, keepdim=True), "bias": projection.bias})
    cls_place, places = embeddings.position_embeddings.detach()[0].tensor_split([1])
    side, rows = round(len(places) ** 0.5), MEL_BANDS // high
    grid = interpolate(places.T.reshape(1, dim, side, side), (rows, side), mode="bilinear")[0]
    patches = Patches(grey, embeddings.cls_token[0, 0] + cls_place[0], grid.permute(1, 2, 0),
                      -(-int(seconds * 1000 / HOP_MS) // wide), rows * high, augment)
    return Vision(patches, layers_of(model, count))
