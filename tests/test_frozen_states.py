"""What frozen encoders say of utterances: exact, computed once, and as in training where views are wanted."""

from __future__ import annotations

import pytest
import torch
from small_inputs import clips, make

from mer_kit.batch import Padded
from mer_kit.corpora.corpus import Corpus
from mer_kit.encoders.speech import FrameEncoder
from mer_kit.encoders.text import offline_text_encoder, train_tokenizer
from mer_kit.features.inputs import FrozenStates, SpeechInputs, TextInputs, Views, collate
from mer_kit.features.store import FeatureStore, MemoryStore


@pytest.fixture
def sounding(tmp_path) -> Corpus:
    return clips(tmp_path)


def encoder(seed=0) -> FrameEncoder:
    torch.manual_seed(seed)
    return FrameEncoder(dim=16, heads=2, layers=1)


def test_little_of_what_is_encoded_is_padding():
    class Counting(torch.nn.Linear):
        def forward(self, x):
            seen.append(x.mask)
            return Padded(super().forward(x.values) * x.mask[..., None], x.mask)

    seen, lengths = [], [10, 11, 40, 10, 41, 90]
    FrozenStates(Counting(1, 1), lambda u: torch.ones(lengths[u], 1)).fill(range(6))
    assert [mask.sum(dim=1).tolist() for mask in seen] == [[10, 10], [11], [40, 41], [90]]
    seen.clear()
    FrozenStates(Counting(1, 1), lambda u: torch.ones(lengths[u], 1), view=0).fill(range(6))
    assert [len(mask) for mask in seen] == [6]  # views stay as they were drawn before


@pytest.mark.parametrize("store", [MemoryStore, FeatureStore])
@pytest.mark.parametrize("exact", [False, True])
def test_frozen_states_are_what_the_encoder_says_of_each_alone(store, exact, sounding, tmp_path):
    frozen, inputs = encoder().train(), SpeechInputs(sounding)
    kept = store(tmp_path / "store") if store is FeatureStore else store()
    states = FrozenStates(frozen, inputs, kept, batch_size=3, exact=exact)
    ids = list(sounding.table["id"])
    states.fill(ids)
    assert frozen.training
    frozen.eval()
    for u in ids:
        expected = frozen(Padded.of([inputs(u)])).values[0].detach()
        torch.testing.assert_close(states(u), expected, atol=1e-5, rtol=0)
        assert not states(u).requires_grad


def test_exact_extraction_mends_an_encoder_that_reads_padding():
    class Leaky(torch.nn.Module):
        dim = 1

        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))

        def forward(self, x):
            return Padded(self.scale * (x.values.sum(dim=(1, 2), keepdim=True) / x.values.shape[1]
                                        ).expand(-1, x.values.shape[1], 1) * x.mask[..., None], x.mask)

    inputs = {n: torch.arange(n)[:, None] / n for n in (40, 98, 99, 100)}
    alone = {n: Leaky()(Padded.of([x])).values[0] for n, x in inputs.items()}
    wrong = {exact: sum(not torch.allclose(FrozenStates(Leaky(), inputs.__getitem__, exact=exact).fill(alone)(n),
                                           alone[n]) for n in alone) for exact in (False, True)}
    assert wrong[True] == 0 < wrong[False]


def test_frozen_states_of_text_keep_the_mark_of_the_current_words():
    corpus = make(["so happy", "", "oh no", "so sad now"])
    tokenizer = train_tokenizer(["so happy so sad oh no now"] * 2)
    inputs, text = TextInputs(corpus, tokenizer), offline_text_encoder(len(tokenizer), dim=16, heads=2).eval()
    states = FrozenStates(text, inputs).fill(corpus.table["id"])
    for u in corpus.table["id"]:
        ids, current = inputs(u)
        got, marked = states(u)
        assert marked is current
        torch.testing.assert_close(got, text(Padded.of([ids])).values[0].detach(), atol=1e-5, rtol=0)
    batch = collate(["d0", "d3"], states)
    assert batch.text.values.shape == (2, len(inputs("d3")[0]), 16) and batch.current[0].sum() == 2


def test_other_weights_inputs_or_folds_are_other_states(sounding, tmp_path):
    store, inputs = FeatureStore(tmp_path / "store"), SpeechInputs(sounding)
    for i, states in enumerate((
            FrozenStates(encoder(), inputs, store, fold="1"), FrozenStates(encoder(1), inputs, store, fold="1"),
            FrozenStates(encoder(), inputs, store, fold="2"),
            FrozenStates(encoder(), SpeechInputs(sounding, max_seconds=0.5), store, fold="1"))):
        states("d3")
        assert len(list(store.folder.iterdir())) == i + 1
    FrozenStates(encoder(), inputs, store, fold="1")("d3")
    assert len(list(store.folder.iterdir())) == 4


def test_views_are_drawn_once_whole_and_without_a_trace(sounding, tmp_path):
    inputs, ids, folder = SpeechInputs(sounding), list(sounding.table["id"]), tmp_path / "store"
    frozen, before = encoder(), torch.get_rng_state()
    first, other, scored = (FrozenStates(frozen, inputs, FeatureStore(folder), view=v).fill(ids) for v in (0, 1, None))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(not torch.allclose(first(u), other(u)) and not torch.allclose(first(u), scored(u)) for u in ids)
    for half in list(folder.iterdir())[::2]:  # whichever states are lost, a view comes back as it was
        half.unlink()
    again = FrozenStates(frozen, inputs, FeatureStore(folder), view=0).fill(ids)
    assert all(torch.equal(again(u), first(u)) for u in ids)
    lost = FrozenStates(frozen, inputs, FeatureStore(folder), view=0).fill(ids)
    for file in folder.iterdir():
        file.unlink()
    assert all(torch.equal(lost(u), first(u)) for u in ids)  # lost meanwhile: drawn again with those beside it
    drawn = Views(first, other)
    seen = [drawn("d3") for _ in range(30)]
    assert {i for s in seen for i, v in enumerate((first, other)) if torch.equal(s, v("d3"))} == {0, 1}
