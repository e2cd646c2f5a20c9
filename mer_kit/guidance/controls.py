"""Controls of the guidance: labels that should guide less, or as well, if it is their meaning that guides.

    none        label embeddings as they are
    shuffled    each class gets another class's embedding: right vectors, wrong classes
    random      random directions of the same lengths: no meaning
    one-hot     orthogonal directions: classes told apart as far as can be, no meaning
    synonyms    keywords replaced before they are embedded: other words, the same meaning

Since label embeddings are learnt, controls differ in where they start. Each but `synonyms`, which replaces words, takes
embeddings (C, d) and a seed and gives (C, d).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from mer_kit.errors import BadInput

SYNONYMS = MappingProxyType({  # of label words and of words that are often keys to them
    "angry": "furious", "anger": "fury", "mad": "enraged", "furious": "angry", "hate": "despise",
    "happy": "glad", "joy": "delight", "glad": "happy", "great": "wonderful", "wonderful": "great", "love": "adore",
    "sad": "unhappy", "sadness": "sorrow", "sorry": "regretful", "miss": "lack", "lonely": "alone",
    "neutral": "impartial",
    "disgust": "revulsion", "gross": "revolting", "fear": "dread", "afraid": "scared", "scared": "afraid",
    "surprise": "astonishment", "surprised": "astonished", "wow": "whoa",
    "excited": "thrilled", "frustrated": "annoyed",
})


def shuffled(embeddings: Tensor, seed: int = 0) -> Tensor:
    """(C, d) with every class's embedding at another class: a random cycle through all of them.

    Seeds 2k and 2k + 1 turn one cycle in opposite directions. Text takes the even, speech the odd: were both moved
    alike, A_l = G_t G_sᵀ, a sum over classes, would not notice (with 2 classes it cannot).
    """
    if len(embeddings) < 2:
        raise BadInput(f"got {len(embeddings)} label embedding; shuffling needs at least 2 classes")
    order = torch.randperm(len(embeddings), generator=torch.Generator().manual_seed(seed // 2))
    mixed = embeddings.clone()
    mixed[order] = embeddings[order.roll(-1 if seed % 2 else 1)]
    return mixed


def random_like(embeddings: Tensor, seed: int = 0) -> Tensor:
    """(C, d) in random directions, each as long as the one it replaces."""
    drawn = torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm(dim=1, keepdim=True) * embeddings.norm(dim=1, keepdim=True)


def one_hot(embeddings: Tensor, seed: int = 0) -> Tensor:
    """(C, d) with a 1 at the class's number and 0 elsewhere, times the length of the one it replaces."""
    classes, dim = embeddings.shape
    if dim < classes:
        raise BadInput(f"got {classes} classes in {dim} dimensions; one-hot labels need a dimension a class")
    return torch.eye(classes, dim) * embeddings.norm(dim=1, keepdim=True)


def synonyms(words: Mapping[str, Sequence[str]], given: Mapping[str, str] = SYNONYMS) -> dict[str, list[str]]:
    """Words by class, each replaced by its synonym where it has one.

    Raises BadInput where none has: such a control would change nothing.
    """
    replaced = {c: [given.get(w.lower(), w) for w in own] for c, own in words.items()}
    if all(list(words[c]) == replaced[c] for c in words):
        first = [w for own in words.values() for w in own][:5]
        raise BadInput(f"none of the words {', '.join(first)} … has a synonym among {len(given)}; the control would "
                       "change nothing: give a mapping that holds some of them")
    return replaced


CONTROLS = MappingProxyType({
    "none": lambda embeddings, seed: embeddings,
    "shuffled": shuffled,
    "random": random_like,
    "one-hot": one_hot,
    "synonyms": lambda embeddings, seed: embeddings,  # the words were replaced before they were embedded
})
