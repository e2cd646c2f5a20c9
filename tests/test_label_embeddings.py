"""Label embeddings and their controls: against plain loops, and each of them changes what the model computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mer_kit.batch import Batch, Padded
from mer_kit.encoders.text import offline_text_encoder, train_tokenizer
from mer_kit.errors import BadInput
from mer_kit.guidance import controls
from mer_kit.guidance.label_embeddings import (
    SEMANTIC,
    TONAL,
    GuidanceConfig,
    codebook_embeddings,
    controlled,
    mean_key_states,
    scaled,
    semantic_embeddings,
    text_to_tonal,
    tonal_embeddings,
)
from mer_kit.guidance.tonal import key_codes, key_frames
from mer_kit.models.lemer import LEMER, LEMERConfig
from mer_kit.training.runs import config_hash

CLASSES = ["angry", "happy", "sad"]
TEXTS = ["you are mad and angry", "I am furious", "so happy and glad", "what a great day", "I cry", "sad and sorry"]
TABLE = pd.DataFrame({"class": ["angry"] * 3 + ["happy"] * 2 + ["sad"], "rank": [2, 1, 3, 1, 2, 1],
                      "word": ["furious", "mad", "day", "glad", "great", "sorry"]})
CONFIG = GuidanceConfig(top_words=2)
D_T, D_S = 16, 10


@pytest.fixture(scope="module")
def text():
    """A tokenizer and a small encoder for the texts above."""
    tokenizer = train_tokenizer(TEXTS, size=200)
    return offline_text_encoder(len(tokenizer), dim=D_T, layers=1, heads=2), tokenizer


def sounds() -> tuple[list[torch.Tensor], list[np.ndarray], list[str]]:
    """States, codes and labels of six ragged utterances whose codes lean to their class."""
    random = np.random.default_rng(0)
    labels = CLASSES * 2
    codes = [np.where(random.random(n) < 0.6, 3 * CLASSES.index(c) + random.integers(3, size=n),
                      random.integers(9, size=n)) for n, c in zip((30, 41, 25, 37, 50, 28), labels, strict=True)]
    places = torch.from_numpy(random.normal(size=(9, D_S)))
    noise = torch.Generator().manual_seed(0)
    return [(places[c] + torch.randn(len(c), D_S, generator=noise)).float() for c in codes], codes, labels


def same(got, expected, abs=1e-5):
    assert torch.as_tensor(got).numpy() == pytest.approx(torch.as_tensor(expected).numpy(), abs=abs)


def of_length_root_d(embeddings: torch.Tensor) -> bool:
    return torch.allclose(embeddings.norm(dim=1), torch.full((len(embeddings),), embeddings.shape[1] ** 0.5))


# semantic

@pytest.mark.parametrize(("init", "texts"), [("tf-idf", ["mad furious", "glad great", "sorry"]),
                                             ("label words", CLASSES)])
def test_semantic_embeddings_are_means_over_the_words_without_marks(text, init, texts):
    encoder, tokenizer = text
    expected = []
    encoder.eval()
    for sentence in texts:
        ids = tokenizer(sentence)["input_ids"]
        assert ids[0] == tokenizer.cls_token_id and ids[-1] == tokenizer.sep_token_id
        with torch.no_grad():
            states = encoder(Padded.of([torch.tensor(ids)])).values[0, 1:-1]
        expected.append(sum(states) / len(states))
    encoder.train()
    got = semantic_embeddings(replace(CONFIG, semantic=init), encoder, tokenizer, CLASSES, TABLE)
    same(got, scaled(torch.stack(expected)))
    assert encoder.training and not got.requires_grad


def test_every_init_has_the_same_lengths_and_its_own_directions(text):
    states, codes, labels = sounds()
    semantic = {i: semantic_embeddings(replace(CONFIG, semantic=i), *text, CLASSES, TABLE) for i in SEMANTIC}
    vectors = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
    tonal = {i: tonal_embeddings(replace(CONFIG, tonal=i), D_S, CLASSES, semantic=semantic["tf-idf"], states=states,
                                 codes=codes, labels=labels, vectors=vectors) for i in TONAL}
    for embeddings, dim in ((semantic, D_T), (tonal, D_S)):
        assert all(of_length_root_d(e) and e.shape == (3, dim) for e in embeddings.values())
        pairs = [(a, b) for a in embeddings for b in embeddings if a < b]
        assert all(not torch.allclose(embeddings[a], embeddings[b], atol=0.1) for a, b in pairs)


def test_random_inits_follow_the_seed_and_differ_between_modalities(text):
    config = GuidanceConfig(semantic="random", tonal="random")
    one, again, other = (semantic_embeddings(replace(config, seed=s), *text, CLASSES) for s in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert not torch.equal(one, tonal_embeddings(config, D_T, CLASSES))


def test_a_class_without_keywords_is_refused(text):
    with pytest.raises(BadInput, match="class 'sad' has no keywords"):
        semantic_embeddings(CONFIG, *text, CLASSES, TABLE[:5])


# tonal

def test_text_to_tonal_keeps_the_angles_where_there_is_room():
    L_t = scaled(torch.randn(3, D_T, generator=torch.Generator().manual_seed(0)))
    wide, narrow = text_to_tonal(L_t, 40), text_to_tonal(L_t, D_S)
    same(wide @ wide.T / 40, L_t @ L_t.T / D_T)
    assert narrow.shape == (3, D_S) and of_length_root_d(narrow)
    same(text_to_tonal(L_t, D_T), L_t)
    assert torch.equal(wide, text_to_tonal(L_t, 40)) and not torch.equal(wide, text_to_tonal(L_t, 40, seed=1))


def test_codebook_init_is_the_mean_state_at_the_key_frames():
    states, codes, labels = sounds()
    table = key_codes(codes, labels, CLASSES, top_k=2)
    keys = {c: set(table["code"][table["class"] == c]) for c in CLASSES}
    expected = []
    for c in CLASSES:
        chosen = [h for H, code, label in zip(states, codes, labels, strict=True) if label == c
                  for h, k in zip(H, code, strict=True) if k in keys[c]]
        expected.append(sum(chosen) / len(chosen))
    got = tonal_embeddings(replace(CONFIG, top_codes=2), D_S, CLASSES, states=iter(states), codes=codes, labels=labels)
    same(got, scaled(torch.stack(expected)))


def test_marks_at_another_rate_are_read_at_the_same_share_of_the_time():
    H_s = torch.arange(4.0)[:, None] + torch.tensor([[1.0, 10.0]])
    marks = np.array([False, False, True, True, False, False, False, True])  # twice as many: frames 0, 2, 4, 6 are read
    same(mean_key_states([H_s], ["x"], [marks], ["x"]), scaled(H_s[1:2]))


def test_states_without_key_frames_are_refused():
    marks = [np.array([True, True]), np.array([False, False])]
    with pytest.raises(BadInput, match="class 'y' has no key frame in 2 utterances"):
        mean_key_states([torch.ones(2, 3)] * 2, ["x", "y"], marks, ["x", "y"])


def test_codebook_vectors_are_mapped_by_least_squares():
    states, codes, labels = sounds()
    table = key_codes(codes, labels, CLASSES, top_k=2)
    vectors = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
    frames = np.concatenate([vectors.numpy()[c] for c in codes])
    frames = np.hstack([frames, np.ones((len(frames), 1))])
    onto, *_ = np.linalg.lstsq(frames, torch.cat(states).numpy(), rcond=None)
    expected = [np.append(vectors[table["code"][table["class"] == c].tolist()].numpy().mean(axis=0), 1) @ onto
                for c in CLASSES]
    got = codebook_embeddings(table, vectors, codes, states, CLASSES)
    same(got, scaled(torch.tensor(np.array(expected)).float()), abs=1e-4)


def test_the_codebook_init_points_at_its_own_class():
    states, codes, labels = sounds()
    L_s = tonal_embeddings(CONFIG, D_S, CLASSES, states=states, codes=codes, labels=labels)
    marks = key_frames(codes, labels, key_codes(codes, labels, CLASSES))
    for H_s, mark, label in zip(states, marks, labels, strict=True):
        nearest = torch.cosine_similarity(H_s[torch.from_numpy(mark)].mean(dim=0), L_s, dim=1).argmax()
        assert CLASSES[nearest] == label


# controls

EMBEDDINGS = torch.randn(4, 6, generator=torch.Generator().manual_seed(3)) * torch.tensor([[1.0], [2.0], [3.0], [4.0]])


@pytest.mark.parametrize("seed", range(6))
def test_shuffled_moves_every_class_and_text_otherwise_than_speech(seed):
    text, speech = controls.shuffled(EMBEDDINGS, 2 * seed), controls.shuffled(EMBEDDINGS, 2 * seed + 1)
    for mixed in (text, speech):
        assert sorted(mixed.norm(dim=1).tolist()) == sorted(EMBEDDINGS.norm(dim=1).tolist())
        assert not (mixed == EMBEDDINGS).all(dim=1).any()
    assert not (text == speech).all()
    with pytest.raises(BadInput, match="at least 2 classes"):
        controls.shuffled(EMBEDDINGS[:1])


def test_random_keeps_the_lengths_alone():
    drawn = controls.random_like(EMBEDDINGS, 1)
    same(drawn.norm(dim=1), EMBEDDINGS.norm(dim=1))
    assert torch.cosine_similarity(drawn, EMBEDDINGS).abs().max() < 0.95
    assert torch.equal(drawn, controls.random_like(EMBEDDINGS, 1))


def test_one_hot_is_orthogonal():
    rows = controls.one_hot(EMBEDDINGS)
    same(rows @ rows.T, torch.diag(EMBEDDINGS.norm(dim=1) ** 2))
    assert (rows != 0).sum().item() == 4
    with pytest.raises(BadInput, match="4 classes in 3 dimensions"):
        controls.one_hot(EMBEDDINGS[:, :3])


def test_synonyms_replace_words_and_refuse_to_change_nothing(text):
    assert controls.synonyms({"x": ["Angry", "day"], "y": []}) == {"x": ["furious", "day"], "y": []}
    assert controls.synonyms({"x": ["day"]}, {"day": "night"}) == {"x": ["night"]}
    with pytest.raises(BadInput, match="none of the words day … has a synonym"):
        controls.synonyms({"x": ["day"]})
    for init in ("tf-idf", "label words"):
        normal, other = (semantic_embeddings(replace(CONFIG, semantic=init, control=c), *text, CLASSES, TABLE)
                         for c in ("none", "synonyms"))
        assert not torch.allclose(normal, other, atol=1e-3)


def test_every_init_control_and_size_has_its_own_hash():
    configs = [GuidanceConfig(), *(GuidanceConfig(semantic=i) for i in SEMANTIC[1:]),
               *(GuidanceConfig(tonal=i) for i in TONAL[1:]), *(GuidanceConfig(control=c) for c in controls.CONTROLS
                                                                if c != "none"),
               GuidanceConfig(top_words=5), GuidanceConfig(top_codes=50), GuidanceConfig(seed=1)]
    assert len({config_hash({"guidance": c}) for c in configs}) == len(configs)


@pytest.mark.parametrize(("change", "words"), [
    ({"semantic": "tfidf"}, "unknown semantic 'tfidf'; expected one of: tf-idf, label words, random; did you mean"),
    ({"tonal": "words"}, "expected one of: codebook, codebook vectors, text, random"),
    ({"control": "shuffle"}, "did you mean 'shuffled'"),
])
def test_wrong_names_list_the_right_ones(change, words):
    with pytest.raises(BadInput, match=words):
        GuidanceConfig(**change)


class Same(nn.Module):
    """States are given as they are."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Padded) -> Padded:
        return x


def forward(config: GuidanceConfig, text) -> tuple[torch.Tensor, float]:
    """A_l and the loss of a LEMER whose labels start as `config` says."""
    states, codes, labels = sounds()
    semantic = semantic_embeddings(config, *text, CLASSES, TABLE)
    tonal = tonal_embeddings(config, D_S, CLASSES, semantic=semantic, states=states, codes=codes, labels=labels,
                             vectors=torch.eye(9))
    torch.manual_seed(0)
    model = LEMER(Same(D_T), Same(D_S), controlled(config, semantic, "text"), controlled(config, tonal, "speech"),
                  LEMERConfig(dropout=0.0))
    torch.manual_seed(1)
    tokens = Padded.of([torch.randn(n, D_T) for n in (3, 5, 4, 2, 6, 3)])
    y = torch.tensor([CLASSES.index(c) for c in labels])
    output = model(Batch(tuple("abcdef"), y, tokens, tokens.mask, Padded.of(states)))
    return output.attention["guided"].detach(), output.loss.item()


CHANGES = [{"semantic": "label words"}, {"semantic": "random"}, {"tonal": "codebook vectors"}, {"tonal": "text"},
           {"tonal": "random"}, {"top_words": 1}, {"top_codes": 1}, *({"control": c} for c in controls.CONTROLS
                                                                      if c != "none")]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_init_and_control_changes_the_forward_pass_and_the_loss(change, text):
    (A_l, loss), (other_A_l, other_loss) = forward(CONFIG, text), forward(replace(CONFIG, **change), text)
    assert not torch.allclose(A_l, other_A_l, atol=1e-4) and abs(loss - other_loss) > 1e-5


def test_labels_moved_alike_would_leave_A_l_as_it_is():
    """Why text and speech are shuffled in opposite directions."""
    G_t, G_s = torch.randn(3, 4), torch.randn(5, 4)
    same(G_t.roll(1, 1) @ G_s.roll(1, 1).T, G_t @ G_s.T)
    assert not torch.allclose(G_t.roll(1, 1) @ G_s.roll(-1, 1).T, G_t @ G_s.T)
