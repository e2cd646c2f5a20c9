"""Batches of like length: every utterance once, little padding, the same for the same seed and epoch."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
import torch
from accelerate import Accelerator
from accelerate.data_loader import BatchSamplerShard
from hypothesis import given
from hypothesis import strategies as st

from mer_kit.batch import Batch, Padded
from mer_kit.corpora import load_corpus
from mer_kit.errors import BadInput
from mer_kit.features.batching import Batches, length_buckets, padding_share


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(1, 9), st.none() | st.integers(0, 5),
       st.none() | st.integers(1, 2000), st.sampled_from([0.0, 0.03, 0.25, 1.0]))
def test_every_place_stands_in_one_batch_within_the_limits(lengths, size, seed, most, padding):
    batches = length_buckets(lengths, size, seed=seed, max_padded=most, most_padding=padding)
    assert sorted(i for b in batches for i in b) == list(range(len(lengths)))
    for batch in batches:
        assert 1 <= len(batch) <= size
        assert most is None or len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= most
        assert padding_share(lengths, [batch]) <= padding + 1e-9
    assert batches == length_buckets(lengths, size, seed=seed, max_padded=most, most_padding=padding)


@given(st.lists(st.tuples(st.integers(1, 500), st.sampled_from("aaabc")), min_size=1, max_size=60), st.integers(3, 9),
       st.none() | st.integers(0, 5))
def test_with_classes_each_that_is_in_a_batch_is_there_twice(rows, size, seed):
    lengths, classes = zip(*rows, strict=True)
    batches, in_all = length_buckets(lengths, size, seed=seed, classes=classes), Counter(classes)
    assert sorted(i for b in batches for i in b) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= size
        assert all(n > 1 or in_all[c] == 1 for c, n in Counter(classes[i] for i in batch).items())


def test_classes_cost_little_padding_on_duet_and_reach_the_loader():
    corpus = load_corpus("duet")
    lengths = [round(100 * ends[-1]) for ends in corpus.truth["word_ends"]]
    classes = corpus.truth["emotion"].tolist()
    usual, paired = (padding_share(lengths, length_buckets(lengths, 16, seed=0, classes=c)) for c in (None, classes))
    assert paired < usual + 0.05
    batches = Batches(list(range(len(lengths))), lengths, 16, list, seed=0, classes=classes)
    assert all(min(Counter(classes[i] for i in batch).values()) > 1 for batch in batches)
    with pytest.raises(BadInput, match="batch_size is 2; expected 1 or more, and with classes 3"):
        length_buckets([1, 2], 2, classes="aa")


def test_without_a_seed_the_shortest_come_first_and_ties_keep_their_order():
    assert length_buckets([3, 1, 3, 2, 1], 2) == [[1, 4], [3, 0], [2]]
    assert length_buckets([], 4) == []
    with pytest.raises(BadInput, match="batch_size is 0; expected 1 or more"):
        length_buckets([1], 0)


def test_padding_share_by_hand():
    assert padding_share([1, 3, 4], [[0, 1], [2]]) == pytest.approx(2 / 10)
    assert padding_share([2, 2], [[0, 1]]) == 0.0


def test_like_lengths_save_most_of_the_padding_on_duet():
    table = load_corpus("duet").truth
    lengths = [round(100 * ends[-1]) for ends in table["word_ends"]]  # frames, about
    plain = [list(range(i, min(i + 16, len(lengths)))) for i in range(0, len(lengths), 16)]
    unsorted = padding_share(lengths, plain)
    shuffled, ordered = (padding_share(lengths, length_buckets(lengths, 16, seed=s)) for s in (0, None))
    assert ordered < 0.02 and shuffled < unsorted / 2 and unsorted > 0.2


def test_epochs_differ_and_come_back():
    lengths = [10 + i % 7 for i in range(60)]
    batches = Batches([str(i) for i in range(60)], lengths, 8, list, seed=1)
    epochs = []
    for epoch in (0, 1, 0):
        batches.set_epoch(epoch)
        epochs.append(list(batches))
        assert len(batches) == len(epochs[-1])
        assert batches.padding_share == pytest.approx(padding_share(lengths, [[int(i) for i in b] for b in epochs[-1]]))
    assert epochs[0] == epochs[2] != epochs[1] and list(Batches([*"abc"], [3, 1, 2], 2, list)) == [["b", "c"], ["a"]]
    together = [{frozenset(b) for b in epoch} for epoch in epochs[:2]]
    assert len(together[0] & together[1]) < len(together[0]) / 2  # other neighbours, not only another order
    assert any(len(b) < len(a) for a, b in pairwise(epochs[0])) and {i for b in epochs[0] for i in b} == set(
        map(str, range(60)))
    other = Batches([str(i) for i in range(60)], lengths, 8, list, seed=2)
    assert list(other) != epochs[0]


def test_the_largest_batch_holds_the_longest():
    batches = Batches([*"abcde"], [3, 9, 1, 7, 2], 2, list, seed=0)
    assert sorted(batches.largest) == ["b", "d"] and Batches([*"ab"], [1, 2], 8, list).largest == ["a", "b"]


def test_accelerate_takes_them_as_they_are_and_moves_the_batch():
    def make(ids):
        return Batch(tuple(ids), torch.tensor([len(i) for i in ids]), text=Padded.of([torch.ones(len(i)) for i in ids]))

    ids = ["a" * (1 + i % 5) for i in range(20)]
    loader = Accelerator(cpu=True).prepare(Batches(ids, [len(i) for i in ids], 4, make, seed=0))
    epochs = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        epochs.append([batch.ids for batch in loader])
        assert sorted(i for b in epochs[-1] for i in b) == sorted(ids)
    assert epochs[0] != epochs[1]


def test_several_processes_share_an_epoch_evenly():
    ids = [str(i) for i in range(50)]
    sampler = Batches(ids, [1 + i % 9 for i in range(50)], 4, list, seed=0).batch_sampler
    shards = [BatchSamplerShard(sampler, 2, process) for process in range(2)]
    parts = [list(shard) for shard in shards]
    assert len(parts[0]) == len(parts[1])  # else one would wait for the other for ever
    assert {i for part in parts for b in part for i in b} == set(range(50))
    before = parts[0]
    shards[0].batch_sampler.sampler.set_epoch(1)  # where accelerate looks for it
    assert list(shards[0]) != before


@pytest.mark.parametrize(("ids", "lengths"), [(["a"], [1, 2]), ([], [])])
def test_ids_and_lengths_must_agree(ids, lengths):
    with pytest.raises(BadInput, match=f"{len(ids)} ids and {len(lengths)} lengths"):
        Batches(ids, lengths, 2, list)
