"""Batches of utterances of like length, so that little is computed on padding."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
from torch.utils.data import DataLoader, Sampler

from mer_kit.batch import Batch
from mer_kit.errors import BadInput

JITTER = 0.1  # a length counts for up to this share more or less, so that neighbours change from epoch to epoch


def length_buckets(lengths: Sequence[int], batch_size: int, *, seed: int | None = None, max_padded: int | None = None,
                   most_padding: float = 1.0, classes: Sequence[Hashable] | None = None) -> list[list[int]]:
    """Places 0 .. n - 1 in batches of up to `batch_size` of like length, each place exactly once.

    seed: of neighbours and of the order of batches; None: the shortest first, ties in the order given, for scoring.
    max_padded: a batch's size times its longest length stays within it (a longer utterance or pair stands alone).
    most_padding: the share of a batch that may be padding; a small corpus gets smaller batches then.
    classes: of the places; with them, a class that is in a batch is there twice or more (or has one place in all).

    >>> length_buckets([5, 1, 4, 2], 2)
    [[1, 3], [2, 0]]
    >>> length_buckets([5, 1, 4, 2], 4, most_padding=0.1)
    [[1], [3], [2, 0]]
    >>> length_buckets([5, 1, 4, 2], 3, classes="abab")
    [[1, 3], [2, 0]]
    """
    if batch_size < (1 if classes is None else 3):
        raise BadInput(f"batch_size is {batch_size}; expected 1 or more, and with classes 3 or more: an odd class has "
                       "three places together")
    lengths = np.asarray(lengths)
    random = np.random.default_rng(seed)
    blurred = lengths if seed is None else lengths * random.uniform(1 - JITTER, 1 + JITTER, len(lengths))
    order = np.argsort(blurred, kind="stable").tolist()
    batches: list[list[int]] = []
    longest = held = 0
    for together in _pairs(order, classes) if classes is not None else ([place] for place in order):
        of_these = max(lengths[place] for place in together)
        longest, held = max(longest, of_these), held + sum(lengths[together])
        size = len(batches[-1]) + len(together) if batches else 0
        padded = size * longest
        if (not batches or size > batch_size or (max_padded and padded > max_padded)
                or held < (1 - most_padding) * padded):
            batches.append([])
            longest, held = of_these, sum(lengths[together])
        batches[-1] += together
    return batches if seed is None else [batches[i] for i in random.permutation(len(batches))]


def _pairs(order: Sequence[int], classes: Sequence[Hashable]) -> list[list[int]]:
    """Places in pairs of one class that are neighbours in `order`, the last three of an odd class together."""
    of_class: dict[Hashable, list[int]] = {}
    for rank, place in enumerate(order):
        of_class.setdefault(classes[place], []).append(rank)
    pairs = []
    for ranks in of_class.values():
        cuts = range(2, len(ranks) - 1, 2)
        pairs += [part.tolist() for part in np.split(np.asarray(ranks), cuts)]
    return [[order[rank] for rank in ranks] for ranks in sorted(pairs)]


def padding_share(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """The share of places in padded batches that hold nothing, 0 .. 1.

    >>> padding_share([1, 2], [[0, 1]])
    0.25
    """
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    return float(1 - sum(lengths[i] for batch in batches for i in batch) / padded)


class BucketSampler(Sampler[list[int]]):
    """`length_buckets`, drawn anew for each epoch from the seed and the epoch's number."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int | None, max_padded: int | None,
                 classes: Sequence[Hashable] | None) -> None:
        self.lengths, self.seed, self.max_padded, self.classes = lengths, seed, max_padded, classes
        self.batch_size = None  # what accelerate calls batches of changing size
        self.most = batch_size
        self.set_epoch(0)

    @property
    def sampler(self) -> BucketSampler:
        """Where accelerate looks for `set_epoch` when it gives each process its share of the batches."""
        return self

    def set_epoch(self, epoch: int) -> None:
        seed = None if self.seed is None else np.random.SeedSequence((self.seed, epoch)).generate_state(1).item()
        self.batches = length_buckets(self.lengths, self.most, seed=seed, max_padded=self.max_padded,
                                      classes=self.classes)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Batches(DataLoader):
    """An epoch of batches of like length: iterate after `set_epoch(n)`; `accelerator.prepare` takes it as it is.

    ids, lengths: of the utterances, side by side. make_batch: ids -> Batch. seed None: one fixed order, for scoring.
    classes: of the utterances; see `length_buckets`.
    """

    def __init__(self, ids: Sequence[str], lengths: Sequence[int], batch_size: int,
                 make_batch: Callable[[list[str]], Batch], seed: int | None = None,
                 max_padded: int | None = None, classes: Sequence[Hashable] | None = None) -> None:
        if len(ids) != len(lengths) or not len(ids):
            raise BadInput(f"{len(ids)} ids and {len(lengths)} lengths; expected one length an id, and at least one")
        sampler = BucketSampler(lengths, batch_size, seed, max_padded, classes)
        super().__init__(list(ids), batch_sampler=sampler, collate_fn=make_batch)

    def set_epoch(self, epoch: int) -> None:
        """Batches of another epoch: others and in another order, the same for the same number."""
        self.batch_sampler.set_epoch(epoch)

    @property
    def largest(self) -> Batch:
        """The longest utterances in one batch: no epoch has a larger one."""
        lengths = self.batch_sampler.lengths
        longest = sorted(range(len(lengths)), key=lengths.__getitem__)[-self.batch_sampler.most:]
        return self.collate_fn([self.dataset[i] for i in longest])

    @property
    def padding_share(self) -> float:
        """Of the epoch at hand."""
        return padding_share(self.batch_sampler.lengths, self.batch_sampler.batches)
