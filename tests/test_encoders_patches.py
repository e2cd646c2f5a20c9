"""Patches of a spectrogram: by hand, as a ViT has them, any length, padding, neighbours, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_experiments import bert_in

from mer_kit.batch import Padded
from mer_kit.encoders.acoustics import BANDS, SpecAugment
from mer_kit.encoders.patches import Patches, pretrained_vision, small_vision
from mer_kit.errors import BadInput

LENGTHS = (150, 97, 33, 5, 1)
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def vit_in(folder, **sizes) -> str:
    """A folder with a ViT whose image is as high as 80 bands, unless said otherwise."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    ViTModel(ViTConfig(**SIZES | {"image_size": 80, "patch_size": 16} | sizes)).save_pretrained(folder)
    return str(folder)


def variants(tmp_path) -> dict[str, Patches]:
    all_of = {"whole bands": small_vision(1, 16), "overlapping": small_vision(1, 16, size=(BANDS, 12), hop=4),
              "rows": small_vision(1, 16, size=(20, 6), hop=3), "convolved": small_vision(1, 16, convolved=True),
              "ViT": pretrained_vision(vit_in(tmp_path))}
    return {name: vision.patches for name, vision in all_of.items()}


@pytest.mark.parametrize("name", ["whole bands", "overlapping", "rows", "convolved", "ViT"])
def test_padding_and_neighbours_change_nothing(name, tmp_path):
    patches, clips = variants(tmp_path)[name].eval(), [torch.randn(n, BANDS) for n in LENGTHS]
    together, x = patches(Padded.of(clips)), Padded.of(clips)
    rubbish = patches(Padded(x.values + 9 * ~x.mask[..., None], x.mask))
    torch.testing.assert_close(rubbish.values, together.values)
    for i, clip in enumerate(clips):
        alone = patches(Padded.of([clip]))
        n = 1 + patches.rows * -(-len(clip) // round(100 / patches.frame_rate))
        assert alone.mask.all() and together.lengths[i] == n == alone.mask.shape[1]
        torch.testing.assert_close(together.values[i, :n], alone.values[0], atol=1e-5, rtol=1e-4)
        assert not together.values[i, n:].any()


def test_each_patch_by_hand():
    """Patch (t, r) is the projection of its 20 bands and 6 frames, 1.5 -> 1 of them before its 3, and its place."""
    patches = small_vision(1, 16, size=(20, 6), hop=3, seconds=1.0).patches
    clip = torch.randn(10, BANDS)
    weight, bias = patches.projection.weight.detach().numpy(), patches.projection.bias.detach().numpy()
    said, places = patches(Padded.of([clip])).values[0].detach().numpy(), patches.places.detach().numpy()
    np.testing.assert_allclose(said[0], patches.cls.detach())
    image = np.pad(clip.numpy().T[:80], ((0, 0), (1, 6)))  # zeros around the clip
    for t in range(4):
        for r in range(4):
            square = image[20 * r:20 * r + 20, 3 * t:3 * t + 6]
            expected = (weight[:, 0] * square).sum(axis=(1, 2)) + bias + places[r, t]
            np.testing.assert_allclose(said[1 + 4 * t + r], expected, atol=1e-5)


def test_convolved_patches_are_two_states_of_the_convolutions_each():
    """10 frames of 10 ms -> 3 states of 40 ms -> 2 patches of 80 ms, the second half empty."""
    patches, clip = small_vision(1, 16, convolved=True).patches, torch.randn(10, BANDS)
    states = patches.stem.convolved(Padded.of([clip])).values[0]
    said, kernel = patches(Padded.of([clip])).values[0], patches.projection
    assert len(states) == 3 and len(said) == 3 and patches.frame_rate == 12.5
    for t, pair in enumerate((states[:2], torch.stack([states[2], torch.zeros(16)]))):
        by_hand = torch.einsum("odw,wd->o", kernel.weight[:, 0], pair) + kernel.bias + patches.places[0, t]
        torch.testing.assert_close(said[1 + t], by_hand)


def test_a_vit_by_its_own_forward_pass(tmp_path):
    """On a clip of the ViT's own size nothing is resized: the patches are its embeddings, the layers its encoder."""
    from transformers import AutoModel

    folder = vit_in(tmp_path)
    model, vision = AutoModel.from_pretrained(folder).eval(), pretrained_vision(folder, seconds=0.8).eval()
    clip = torch.randn(80, BANDS)
    image = clip[:, :80].T.expand(1, 3, 80, 80)
    embedded, x = model.embeddings(image)[0], vision.patches(Padded.of([clip]))
    order = [0, *(1 + 5 * r + t for t in range(5) for r in range(5))]  # a ViT's patches lie row by row
    torch.testing.assert_close(x.values[0], embedded[order], atol=1e-5, rtol=1e-4)
    states = model(image, output_hidden_states=True).hidden_states[-1][0]
    torch.testing.assert_close(vision(Padded.of([clip])).values[0], states[order], atol=1e-5, rtol=1e-4)
    assert vision.layers[0].dim == vision.dim == 16 and vision.frame_rate == 6.25


def test_places_of_a_vit_are_resized_to_bands_and_seconds(tmp_path):
    """14 x 14 places become 5 rows, and 14 columns over 20 s: read by numpy's interpolation, the last beyond."""
    folder = vit_in(tmp_path, image_size=224)
    patches = pretrained_vision(folder, 1, seconds=20.0).patches
    assert patches.places.shape == (5, 14, 16) and patches.rows == 5
    steps = torch.arange(140)  # 22.4 s
    at = (steps.numpy() + 0.5) * 14 / 125 - 0.5
    read, grid = patches._places(140).detach().numpy(), patches.places.detach().numpy()
    for r, d in ((0, 0), (4, 15), (2, 7)):
        np.testing.assert_allclose(read[:, r, d], np.interp(at, np.arange(14), grid[r, :, d]), atol=1e-6)
    assert patches(Padded.of([torch.randn(3000, BANDS)])).values.isfinite().all()


def test_augmentation_is_for_training_alone():
    patches = small_vision(1, 16, augment=SpecAugment()).patches
    clip = Padded.of([torch.randn(200, BANDS)])
    torch.testing.assert_close(patches.eval()(clip).values, patches(clip).values)
    assert not torch.allclose(patches.train()(clip).values, patches.eval()(clip).values)


def test_small_ones_are_the_same_for_the_same_seed_and_learn():
    a, b, c = small_vision(2, 16), small_vision(2, 16), small_vision(2, 16, seed=1)
    assert torch.equal(a.patches.projection.weight, b.patches.projection.weight)
    assert not torch.equal(a.patches.cls, c.patches.cls)
    a(Padded.of([torch.randn(50, BANDS)])).values.square().sum().backward()
    assert all(p.grad is not None for p in a.parameters()) and a.frame_rate == 12.5


def test_what_is_refused(tmp_path):
    with pytest.raises(BadInput, match="is a BertModel; expected a ViT"):
        pretrained_vision(bert_in(tmp_path))
    with pytest.raises(BadInput, match="got frames of 80 bands; these patches read 83"):
        small_vision(1, 16).patches(Padded.of([torch.randn(9, 80)]))
