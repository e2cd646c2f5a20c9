"""Tonal labels: codes against the quantizer's own output, key codes by hand, key frames and the sound they make."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.cluster import KMeans

from mer_kit.errors import BadInput
from mer_kit.guidance.keywords import keywords
from mer_kit.guidance.label_embeddings import wav2vec2_vectors
from mer_kit.guidance.tonal import KMeansCodes, key_codes, key_frames, key_shares, key_waveform, wav2vec2_codes

SETTINGS = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
            "conv_dim": (16, 16), "conv_kernel": (10, 8), "conv_stride": (5, 4), "num_feat_extract_layers": 2,
            "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "codevector_dim": 8,
            "proj_codevector_dim": 8, "num_codevectors_per_group": 6}


def wav2vec2(conformer: bool):
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


@pytest.mark.parametrize("conformer", [False, True])
def test_codes_are_what_the_models_own_output_quantizes_to(conformer):
    model = wav2vec2(conformer).train()
    random = np.random.default_rng(0)
    waveforms = [random.normal(size=n).astype(np.float32) for n in (700, 1000, 95)]
    codes = wav2vec2_codes(model, waveforms)
    assert model.training
    vectors = wav2vec2_vectors(model.eval())
    assert vectors.shape == (6**2, 8) and len(np.unique(np.concatenate(codes))) > 3
    for samples, code in zip(waveforms, codes, strict=True):
        with torch.no_grad():
            own = model(torch.from_numpy(samples)[None]).projected_quantized_states[0]
            chosen = model.project_q(vectors[torch.from_numpy(code)])
        assert code.shape == own.shape[:1] and code.max() < 6**2
        assert chosen.numpy() == pytest.approx(own.numpy(), abs=1e-6)


def clouds(seed=0, n=60) -> list[np.ndarray]:
    """Utterances whose frames lie around three far places, in turn."""
    random = np.random.default_rng(seed)
    places = np.array([[0, 0], [9, 0], [0, 9]])[np.arange(n) % 3]
    return [places + random.normal(scale=0.1, size=(n, 2)) for _ in range(4)]


def test_kmeans_codes_agree_with_kmeans_and_with_the_seed():
    frames = clouds()
    coder = KMeansCodes(clusters=3, seed=1).fit(frames)
    codes, other = coder(frames), KMeans(3, n_init=5, random_state=0).fit(np.concatenate(frames))
    pairs = {(a, b) for a, b in zip(np.concatenate(codes), other.labels_, strict=True)}
    assert len(pairs) == 3 and not coder.notes
    again = KMeansCodes(clusters=3, seed=1).fit(frames)(frames)
    assert all(np.array_equal(a, b) for a, b in zip(codes, again, strict=True))
    assert coder.vectors.shape == (3, 2)


def test_kmeans_sees_both_of_two_scales():
    """A feature in Hz beside one in units of its deviation."""
    frames = [f * [1000, 1] for f in clouds()]
    codes = np.concatenate(KMeansCodes(clusters=3).fit(frames)(frames))
    assert all(len(set(codes[i::3])) == 1 for i in range(3))


def test_few_frames_make_fewer_clusters_and_a_note():
    coder = KMeansCodes().fit(clouds(n=20))
    assert len(coder.vectors) == 8
    assert coder.notes == ("8 clusters instead of 500: only 80 training frames, and a cluster needs 10",)
    assert KMeansCodes(max_frames=41).fit(clouds(n=20)).notes[0].startswith("4 clusters instead of 500: only 40")
    with pytest.raises(BadInput, match="2 utterances without a single frame"):
        KMeansCodes().fit([np.zeros((0, 2))] * 2)


CODES = [np.array(c) for c in ([1, 1, 1, 5, 5, 9], [1, 5, 5], [2, 2, 2, 5, 5, 5, 5, 1])]
LABELS, CLASSES = ["angry", "angry", "sad"], ["angry", "sad"]


def test_key_codes_by_hand():
    """angry: 9 frames, 1 ×4, 5 ×4, 9 ×1; sad: 8 frames, 2 ×3, 5 ×4, 1 ×1. On average 5 is 8 of 17 frames."""
    table = key_codes(CODES, LABELS, CLASSES)
    assert table.values.tolist() == [["angry", 1, 1, 4, 1, pytest.approx(4 * math.log(2))],
                                     ["sad", 1, 5, 4, 1, pytest.approx(4 * math.log(2))],  # 4 / 8 > 8 / 17 > 4 / 9
                                     ["sad", 2, 2, 3, 1, pytest.approx(3 * math.log(2))]]
    assert list(table.columns) == ["class", "rank", "code", "count", "df", "tfidf"]
    assert key_codes(CODES, LABELS, CLASSES, top_k=1)["code"].tolist() == [1, 5]


def test_codes_present_are_words():
    """The literal reading is `keywords` over the codes' names."""
    random = np.random.default_rng(0)
    codes = [random.choice(30, p=np.roll(np.arange(30) / 435, 10 * (i % 3)), size=40) for i in range(12)]
    labels, classes = list("xyz") * 4, list("xyz")
    table = key_codes(codes, labels, classes, top_k=7, common="present")
    words = keywords([" ".join(f"c{k:02d}" for k in c) for c in codes], labels, classes, top_k=7, stop_words="none")
    assert [f"c{k:02d}" for k in table["code"]] == words["word"].tolist()
    assert table.drop(columns="code").equals(words.drop(columns="word"))


def test_key_frames_are_those_of_the_utterances_own_class():
    marks = key_frames(CODES, LABELS, key_codes(CODES, LABELS, CLASSES))
    assert [m.tolist() for m in marks] == [[True] * 3 + [False] * 3, [True, False, False], [True] * 7 + [False]]


@pytest.mark.parametrize(("change", "words"), [
    ({"labels": ["angry"] * 3}, "no training sound of class 'sad'"),
    ({"common": "average"}, "unknown common 'average'; expected one of: above average, present"),
    ({"min_count": 5}, "class 'angry' has no key code"),
    ({"codes": [np.array([1, 1, 1])] * 3}, "lower min_count, take more clusters"),
])
def test_what_has_no_key_codes(change, words):
    with pytest.raises(BadInput, match=words):
        key_codes(**{"codes": CODES, "labels": LABELS, "classes": CLASSES} | change)


def ramps() -> tuple[list[np.ndarray], list[str], list[np.ndarray]]:
    """Two utterances of class x and one of y, 10 samples a frame, each sample its own number."""
    marks = [np.array(list(m)) == "1" for m in ("01100", "1", "11010111")]
    sounds = [np.arange(10 * len(m), dtype=np.float32) + 1000 * i for i, m in enumerate(marks)]
    return sounds, ["x", "y", "x"], marks


def test_key_frames_are_joined_in_order():
    sounds, labels, marks = ramps()
    joined = key_waveform("x", sounds, labels, marks, sample_rate=1000, crossfade_ms=0)
    expected = [*range(10, 30), *range(2000, 2020), *range(2030, 2040), *range(2050, 2080)]
    assert joined.tolist() == expected and joined.dtype == np.float32
    assert key_waveform("y", sounds, labels, marks).tolist() == list(range(1000, 1010))


def test_the_longest_pieces_come_first_when_there_is_no_room_for_all():
    sounds, labels, marks = ramps()
    for seconds, expected in ((0.05, [*range(10, 30), *range(2050, 2080)]), (0.02, range(2050, 2070)),
                              (0.035, [*range(10, 15), *range(2050, 2080)])):
        joined = key_waveform("x", sounds, labels, marks, sample_rate=1000, max_seconds=seconds, crossfade_ms=0)
        assert joined.tolist() == list(expected)


def test_pieces_overlap_by_a_linear_crossfade():
    marks = [np.array([True, False, True])]
    sound = np.concatenate([np.full(10, 1.0), np.zeros(10), np.full(10, 3.0)]).astype(np.float32)
    joined = key_waveform("x", [sound], ["x"], marks, sample_rate=1000, crossfade_ms=4)
    assert joined.tolist() == [1] * 6 + [1, 1.5, 2, 2.5] + [3] * 6


def test_no_fade_is_longer_than_a_piece_and_no_sound_longer_than_asked():
    random = np.random.default_rng(0)
    marks = [random.random(200) < 0.4 for _ in range(5)]
    sounds = [random.normal(size=200 * 320).astype(np.float32) for _ in marks]
    joined = key_waveform("x", sounds, ["x"] * 5, marks, max_seconds=2)
    assert 1.9 * 16_000 < len(joined) <= 2 * 16_000
    assert np.array_equal(joined, key_waveform("x", sounds, ["x"] * 5, marks, max_seconds=2))
    assert len(key_waveform("x", sounds, ["x"] * 5, marks, max_seconds=1, crossfade_ms=100)) <= 16_000


def test_a_class_without_key_frames_has_no_sound():
    with pytest.raises(BadInput, match="no key frame of class 'z' among 3 utterances"):
        key_waveform("z", *ramps())


def test_the_table_keeps_the_order_of_classes():
    table = key_codes(CODES, LABELS, ["sad", "angry"])
    assert table["class"].drop_duplicates().tolist() == ["sad", "angry"]
    assert isinstance(table["class"].dtype, pd.CategoricalDtype)


def test_shares_of_key_frames_by_hand():
    """Key to angry: 1; to sad: 5 and 2. 9 frames of angry hold 1 ×4, 5 ×4; 8 of sad 1 ×1, 5 ×4, 2 ×3."""
    shares = key_shares(CODES, LABELS, key_codes(CODES, LABELS, CLASSES))
    assert shares.index.tolist() == shares.columns.tolist() == CLASSES
    assert shares.to_numpy().ravel().tolist() == pytest.approx([4 / 9, 4 / 9, 1 / 8, 7 / 8])
