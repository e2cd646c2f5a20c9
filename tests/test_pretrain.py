"""Second-stage pretraining on a tiny wav2vec2: the loss falls, seeds decide, lengths may differ."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from mer_kit.errors import BadInput
from mer_kit.training import pretrain
from mer_kit.training.pretrain import continue_pretraining, second_stage

SETTINGS = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
            "conv_dim": (16, 16), "conv_kernel": (10, 8), "conv_stride": (5, 4), "num_feat_extract_layers": 2,
            "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "codevector_dim": 8,
            "proj_codevector_dim": 8, "num_codevectors_per_group": 6, "num_negatives": 10, "layerdrop": 0.0}
OPTIONS = {"batch_size": 4, "rate": 5e-3, "mask_length": 4}


def tiny(conformer: bool = False):
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2ConformerConfig,
        Wav2Vec2ConformerForPreTraining,
        Wav2Vec2ForPreTraining,
    )

    torch.manual_seed(0)
    if conformer:
        return Wav2Vec2ConformerForPreTraining(Wav2Vec2ConformerConfig(**SETTINGS))
    return Wav2Vec2ForPreTraining(Wav2Vec2Config(**SETTINGS))


def tones(lengths=(1600, 900, 1250, 2000, 1700, 800, 1000, 1900)) -> list[np.ndarray]:
    """Sounds whose pitch jumps every 200 samples, so that masked frames can be told apart."""
    random = np.random.default_rng(0)
    pitch = [np.repeat(random.choice([0.05, 0.2, 0.6, 1.5], size=-(-n // 200)), 200)[:n] for n in lengths]
    return [np.sin(np.cumsum(p)).astype(np.float32) for p in pitch]


@pytest.mark.parametrize("conformer", [False, True])
def test_the_loss_falls_on_ragged_lengths(conformer):
    history = second_stage(tiny(conformer), tones(), 150, **OPTIONS)
    first, last = history["contrastive"].iloc[:10].mean(), history["contrastive"].iloc[-10:].mean()
    assert last < 0.9 * first
    assert history["step"].tolist() == list(range(150)) and np.isfinite(history.to_numpy()).all()


def test_a_seed_decides_the_run_and_leaves_other_draws_alone():
    def run(seed, elsewhere):
        model = tiny()
        np.random.seed(elsewhere)
        torch.manual_seed(elsewhere)
        expected = np.random.rand(), torch.rand(1).item()
        np.random.seed(elsewhere)
        torch.manual_seed(elsewhere)
        history = second_stage(model, tones(), 3, seed=seed, **OPTIONS)
        assert (np.random.rand(), torch.rand(1).item()) == expected
        return history, torch.cat([p.flatten() for p in model.parameters()]).detach()

    (one, weights), (again, same_weights), (other, _) = run(1, 5), run(1, 6), run(2, 5)
    assert one.equals(again) and torch.equal(weights, same_weights)
    assert not one["loss"].equals(other["loss"])


def test_the_loss_is_the_models_own_per_masked_frame():
    model = tiny().eval()  # without gumbel noise and dropout
    batch = torch.from_numpy(np.stack([w[:800] for w in tones()]))
    with pretrain._seeded(3, torch.device("cpu")):
        losses = pretrain._losses(model, batch, 0.65, 4)
    assert losses["loss"].item() == pytest.approx((losses["contrastive"] + 0.1 * losses["diversity"]).item(), rel=1e-5)
    codevectors = 2 * SETTINGS["num_codevectors_per_group"]
    unused = (codevectors - losses["perplexity"].item()) / codevectors
    assert losses["diversity"].item() == pytest.approx(unused, rel=1e-5)


def test_batches_hold_every_utterance_once_a_round_and_no_padding():
    sounds = [np.full(n, i + 1, dtype=np.float32) for i, n in enumerate((5, 9, 2, 7, 3))]
    batches = pretrain._batches(sounds, 2, np.random.default_rng(0))
    for _ in range(2):
        round_ = [next(batches) for _ in range(3)]
        assert sorted(int(row[0]) for b in round_ for row in b) == [1, 2, 3, 4, 5]
        assert all((b == b[:, :1]).all() and (b > 0).all() for b in round_)
        assert sorted(b.shape for b in round_) == [(1, 9), (2, 2), (2, 5)]


def test_the_rate_rises_then_falls_and_the_temperature_has_a_floor():
    history = second_stage(tiny(), tones(), 10, warmup=0.2, temperature=(2.0, 0.5, 0.6), **OPTIONS)
    assert history["rate"].to_numpy() == pytest.approx(5e-3 * np.array([0.5, 1, *np.arange(8, 0, -1) / 8]))
    assert history["temperature"].tolist() == [2.0, 1.0, *[0.6] * 8]


def test_short_sounds_are_left_out_and_counted():
    clicks = [np.zeros(n, dtype=np.float32) for n in (60, 3)]
    history = second_stage(tiny(), [*tones(), *clicks], 1, **OPTIONS)
    assert history.attrs["too short"] == 2
    with pytest.raises(BadInput, match=r"none of 1 utterances \(longest: 0.01 s\) has the 8 frames"):
        second_stage(tiny(), [np.zeros(100, dtype=np.float32)], 1, **OPTIONS)


def test_the_model_is_left_in_the_mode_that_it_came_in():
    model = tiny().eval()
    second_stage(model, tones(), 1, **OPTIONS)
    assert not model.training


def test_a_second_stage_hears_the_training_part_alone_and_loads_as_the_checkpoint_did(tmp_path, monkeypatch):
    from transformers import Wav2Vec2FeatureExtractor

    from mer_kit.corpora import load_corpus
    from mer_kit.corpora.protocols import Fold
    from mer_kit.encoders.speech import pretrained_speech_encoder

    tiny().save_pretrained(tmp_path / "first")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "first")
    corpus = load_corpus("duet")
    ids = tuple(corpus.targets["id"][:12])
    heard = []
    monkeypatch.setattr(pretrain, "second_stage", lambda model, samples, steps, **options: (
        heard.extend(samples), second_stage(model, samples, steps, **options))[1])
    history = continue_pretraining(tmp_path / "first", tmp_path / "second", corpus, Fold("one", ids[:8], ids[8:10],
                                                                                        ids[10:]), 3, **OPTIONS)
    assert len(heard) == 8 and all(abs(samples.mean()) < 1e-3 for samples in heard)
    assert pd.read_csv(tmp_path / "second/second_stage.csv")["loss"].tolist() == pytest.approx(history["loss"].tolist())
    first, second = (pretrained_speech_encoder(tmp_path / name) for name in ("first", "second"))
    assert not torch.equal(*(e.model.encoder.layers[0].attention.q_proj.weight for e in (first, second)))
    monkeypatch.setattr(pretrain, "pretraining_model", lambda _: None)
    with pytest.raises(BadInput, match="has no quantizer"):
        continue_pretraining(tmp_path / "first", tmp_path / "x", corpus, Fold("one", ids, (), ids), 1)
