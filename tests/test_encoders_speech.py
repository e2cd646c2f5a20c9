"""Speech encoders: the offline one, and waveform models that never read padding."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from mer_kit.batch import Padded
from mer_kit.encoders.acoustics import BANDS, SpecAugment
from mer_kit.encoders.hub import in_eval_mode
from mer_kit.encoders.speech import (
    FrameEncoder,
    WaveEncoder,
    mel_features,
    padding_deviation,
    pretrained_speech_encoder,
)
from mer_kit.errors import BadInput

transformers = pytest.importorskip("transformers")

RATE = 16_000  # Hz
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "layerdrop": 0.5,
         "mask_time_length": 3, "hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0,
         "feat_proj_dropout": 0.0, "conformer_conv_dropout": 0.0, "mask_time_min_masks": 1}
CONVOLUTIONS = {"conv_dim": (16, 16, 16), "conv_kernel": (10, 3, 3), "conv_stride": (5, 8, 8),
                "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
GROUP, LAYER = {"feat_extract_norm": "group"}, {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
KINDS = {
    "wav2vec2 base": (transformers.Wav2Vec2Model, transformers.Wav2Vec2Config, GROUP),
    "wav2vec2 large": (transformers.Wav2Vec2Model, transformers.Wav2Vec2Config, LAYER),
    "conformer relative": (transformers.Wav2Vec2ConformerModel, transformers.Wav2Vec2ConformerConfig,
                           {**LAYER, "position_embeddings_type": "relative"}),
    "conformer rotary": (transformers.Wav2Vec2ConformerModel, transformers.Wav2Vec2ConformerConfig,
                         {**GROUP, "position_embeddings_type": "rotary"}),
    "wavlm base": (transformers.WavLMModel, transformers.WavLMConfig, GROUP),
    "wavlm large": (transformers.WavLMModel, transformers.WavLMConfig, LAYER),
    "hubert base": (transformers.HubertModel, transformers.HubertConfig, GROUP),
    "hubert large": (transformers.HubertModel, transformers.HubertConfig, LAYER),
    "w2v-bert": (transformers.Wav2Vec2BertModel, transformers.Wav2Vec2BertConfig, {}),
}
LEAKING = {"wav2vec2 base", "conformer relative", "conformer rotary", "wavlm base", "hubert base"}  # as the library is


def build(name: str, **more) -> torch.nn.Module:
    torch.manual_seed(0)
    model, config, its_own = KINDS[name]
    convolutions = {} if name == "w2v-bert" else CONVOLUTIONS
    built = model(config(**SMALL | convolutions | its_own | more)).eval()
    for module in built.modules():
        if isinstance(module, torch.nn.BatchNorm1d):  # a trained one has seen something
            module.running_mean.normal_(), module.running_var.uniform_(0.5, 2)
    return built


def waves(*lengths: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [0.3 * torch.randn(n, generator=generator) + 0.1 for n in lengths or (16_000, 12_345, 1_600, 5_000)]


# the offline encoder

@pytest.mark.parametrize("subsample", [2, 4, 8])
def test_the_frame_encoder_reads_neither_padding_nor_neighbours(subsample):
    torch.manual_seed(0)
    encoder = FrameEncoder(dim=32, subsample=subsample)
    sequences = [torch.randn(n, BANDS) for n in (100, 8, 1, 37, 99)]
    assert padding_deviation(encoder, sequences) < 1e-5
    states = encoder(Padded.of(sequences))
    assert states.lengths.tolist() == [-(-n // subsample) for n in (100, 8, 1, 37, 99)]
    assert not states.values[~states.mask].any()
    junk = Padded.of(sequences)
    junk = Padded(junk.values.masked_fill(~junk.mask[..., None], 9.0), junk.mask)
    with torch.no_grad(), in_eval_mode(encoder):  # even where padding is not zero
        assert (encoder(junk).values - encoder(Padded.of(sequences)).values).abs().max() < 1e-5


def test_the_frame_encoder_trains_all_of_itself_and_augments_in_training():
    torch.manual_seed(0)
    encoder = FrameEncoder(dim=16, heads=2, augment=SpecAugment(), dropout=0.0)
    frames = Padded.of([torch.randn(50, BANDS), torch.randn(20, BANDS)])
    encoder(frames).values.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
    assert not encoder(frames).values.equal(encoder(frames).values)
    encoder.eval()
    assert encoder(frames).values.equal(encoder(frames).values)
    with pytest.raises(BadInput, match="subsample is 3; expected a power of two"):
        FrameEncoder(subsample=3)


def test_the_frame_encoder_tells_places_apart():
    torch.manual_seed(0)
    states = FrameEncoder(dim=16, heads=2).eval()(Padded.of([torch.ones(80, BANDS)])).values[0]
    assert torch.pdist(states[2:-2]).min() > 1e-3


# waveform models

@pytest.mark.parametrize("layer", [None, 1])
@pytest.mark.parametrize("name", KINDS)
def test_states_are_the_models_own_whatever_stands_beside_them(name, layer):
    library, sequences = build(name), waves()
    extractor = (transformers.SeamlessM4TFeatureExtractor() if name == "w2v-bert"
                 else transformers.Wav2Vec2FeatureExtractor(do_normalize=True))
    with torch.no_grad():
        given = [extractor(s.numpy(), sampling_rate=RATE, return_tensors="pt") for s in sequences]
        outputs = [library(**g, output_hidden_states=True) for g in given]
        expected = [(o.last_hidden_state if layer is None else o.hidden_states[layer])[0] for o in outputs]
        encoder = WaveEncoder(deepcopy(library), layer)
        got = encoder(Padded.of(sequences))
    for values, mask, states, g in zip(got.values, got.mask, expected, given, strict=True):
        whole = int(g["attention_mask"].sum()) if name == "w2v-bert" else len(states)  # it may end in half a frame
        assert int(mask.sum()) == whole
        torch.testing.assert_close(values[:whole], states[:whole], atol=2e-4, rtol=0)
    assert padding_deviation(encoder, sequences) < 1e-5
    assert not got.values[~got.mask].any() and got.values.shape[2] == encoder.dim == 32


@pytest.mark.parametrize("name", sorted(set(KINDS) - {"w2v-bert"}))
def test_the_library_alone_leaks_just_where_it_is_said_to(name):
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = build(name)

        def forward(self, x):
            mask = self.model._get_feature_vector_attention_mask(
                self.model._get_feat_extract_output_lengths(x.values.shape[1]), x.mask.long())
            return Padded(self.model(x.values, attention_mask=x.mask.long()).last_hidden_state, mask)

    deviation = padding_deviation(Plain(), waves())
    assert (deviation > 1e-3) == (name in LEAKING), deviation


def test_the_mel_features_are_the_librarys():
    for samples in waves(16_000, 12_345, 1_600, 560):
        expected = transformers.SeamlessM4TFeatureExtractor()(samples.numpy(), sampling_rate=RATE, return_tensors="pt")
        whole = int(expected["attention_mask"].sum())
        assert len(mel_features(samples)) == whole
        torch.testing.assert_close(mel_features(samples), expected["input_features"][0, :whole], atol=2e-2, rtol=0)


@pytest.mark.parametrize("name", KINDS)
def test_in_training_no_layer_is_dropped_and_gradients_reach_all_that_is_trainable(name):
    encoder = WaveEncoder(build(name)).train()
    batch = Padded.of(waves())
    first, second = encoder(batch).values, encoder(batch).values
    assert first.equal(second)  # no dropout in these configs: neither layers nor batch statistics draw anything
    assert (first - encoder.eval()(batch).values).abs().max() < 1e-4
    encoder.train()(batch).values.square().sum().backward()
    lacking = [n for n, p in encoder.named_parameters() if p.requires_grad and p.grad is None]
    frozen = {n for n, p in encoder.named_parameters() if not p.requires_grad}
    assert not lacking and {n for n in frozen if "pos_conv_embed" not in n} == {"model.masked_spec_embed"}
    assert all("pos_conv_embed" not in n for n in frozen) or "conformer" in name  # the library's conformer ignores it


@pytest.mark.parametrize("name", ["wav2vec2 base", "conformer relative"])
def test_a_frozen_model_stays_frozen(name):
    encoder = WaveEncoder(build(name), frozen=True)
    torch.nn.Sequential(encoder).train()
    assert not any(m.training for m in encoder.modules())
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not encoder(Padded.of(waves())).values.requires_grad


@pytest.mark.parametrize("name", KINDS)
def test_the_models_own_masks_are_an_option_that_short_batches_survive(name):
    np.random.seed(0)
    encoder = WaveEncoder(build(name, mask_time_prob=0.5), augment=True).train()
    batch = Padded.of(waves())
    assert not encoder(batch).values.equal(encoder(batch).values)
    assert encoder(Padded.of(waves(1_000, 900))).values.isfinite().all()  # too short for a single mask
    assert encoder.eval()(batch).values.equal(encoder(batch).values)


@pytest.mark.parametrize("name", ["wav2vec2 base", "conformer rotary", "wavlm large"])
def test_gradient_checkpointing_changes_no_gradient_though_another_batch_came_between(name):
    gradients = []
    for checkpointing in (False, True):
        encoder = WaveEncoder(build(name)).train()
        if checkpointing:
            encoder.checkpoint_gradients()
        loss = encoder(Padded.of(waves())).values.square().sum()
        with torch.no_grad():
            encoder(Padded.of(waves(16_000, 16_000, 16_000, 2_000)))  # of the same shape, other lengths
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in encoder.parameters() if p.requires_grad]))
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


def test_waveforms_are_normalised_as_the_folder_says_and_states_are_float32(tmp_path):
    batch, loud = Padded.of(waves()), Padded.of([3 * w for w in waves()])
    for normalise in (True, False):
        build("wav2vec2 large").save_pretrained(tmp_path)
        transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise).save_pretrained(tmp_path)
        encoder = pretrained_speech_encoder(tmp_path, frozen=True)
        same = (encoder(batch).values - encoder(loud).values).abs().max() < 1e-4
        assert encoder.normalise == normalise and same == normalise
    half = pretrained_speech_encoder(tmp_path, layer=1, dtype=torch.bfloat16, gradient_checkpointing=True)
    assert half.model.dtype is torch.bfloat16 and half(batch).values.dtype is torch.float32 and half.layer == 1


def test_a_copy_has_lengths_of_its_own():
    encoder = WaveEncoder(build("wav2vec2 base")).eval()
    twin = deepcopy(encoder)
    expected = encoder(Padded.of(waves())).values
    twin(Padded.of(waves(2_000)))
    assert twin.real is not encoder.real and twin(Padded.of(waves())).values.equal(expected)


def test_encoders_say_how_many_states_a_second_they_give():
    frames = Padded.of([torch.zeros(6_000, BANDS)])  # a minute at 100 a second
    for subsample, rate in ((2, 50), (4, 25), (8, 12.5)):
        encoder = FrameEncoder(dim=16, layers=0, subsample=subsample)
        assert encoder.frame_rate == rate and encoder(frames).values.shape[1] == 60 * rate
    for name, rate in (("wav2vec2 base", 50), ("w2v-bert", 50)):
        assert WaveEncoder(build(name)).frame_rate == pytest.approx(rate, abs=0.01)


def test_what_does_not_fit_is_refused():
    config = transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    with pytest.raises(BadInput, match="takes input_ids; a WaveEncoder needs"):
        WaveEncoder(transformers.BertModel(config))
    for name in ("wav2vec2 base", "w2v-bert"):
        with pytest.raises(BadInput, match="a waveform of 30 samples gives no frame; pad clips"):
            WaveEncoder(build(name), frozen=True)(Padded.of(waves(5_000, 30)))


def test_local_frames_hear_their_surroundings_alone_and_states_the_whole():
    """13 frames reach a convolved one, its own and 6 on both sides; real ones alone, in a batch as by themselves."""
    torch.manual_seed(0)
    encoder = FrameEncoder(dim=16, layers=1).eval()
    frames = torch.randn(80, BANDS)
    changed = frames.clone()
    changed[40] += 1
    with torch.no_grad():
        a, b = (encoder.convolved(Padded.of([f, torch.randn(120, BANDS)])) for f in (frames, changed))
        alone = encoder.convolved(Padded.of([frames])).values[0]
        states = [encoder(Padded.of([f])).values[0] for f in (frames, changed)]
    differ = (a.values[0] != b.values[0]).any(dim=1).nonzero().ravel()
    assert differ.tolist() == [9, 10, 11] and a.lengths.tolist() == [20, 30]
    assert alone.numpy() == pytest.approx(a.values[0, :20].numpy(), abs=1e-5)
    assert (states[0] - states[1]).abs().amax(dim=1).min() > 0
