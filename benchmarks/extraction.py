"""Frozen extraction into a store, against bare forwards without any padding, one utterance at a time, and pad-to-max.

    python benchmarks/extraction.py

`FrozenStates` fills an empty `FeatureStore` on disk: weights hashed, like lengths together, states without padding,
check sums, files. Random weights, BERT-base's size and a smaller wav2vec2; sound and tokens are in memory beforehand.
"packed" is the encoder's own model, without the kit, on as many samples or tokens in batches of 16 in which all are
equally long: no mask, no padding, nothing kept. The other two loops keep states in memory, as a first script would.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import torch
import typer
from measure import HERE, alternately, keep, seconds_like_iemocap, times_as_fast, tokens_of
from torch import Tensor, nn

from mer_kit.batch import Padded
from mer_kit.encoders.speech import SAMPLE_RATE, WaveEncoder
from mer_kit.encoders.text import TextEncoder
from mer_kit.features.batching import length_buckets, padding_share
from mer_kit.features.inputs import PADDING, FrozenStates
from mer_kit.features.store import FeatureStore
from mer_kit.training.building import KEPT

MODERATE = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
BASE = {}  # the library's own sizes
CONVOLUTIONS = {"conv_dim": (128,) * 7, "num_conv_pos_embeddings": 32}
BATCH = 16
States = Mapping[str, Tensor]


def models(speech: dict = MODERATE, text: dict = BASE) -> dict[str, tuple[nn.Module, nn.Module]]:
    """Name -> (a model as the library makes it, the kit's encoder of the same weights)."""
    from transformers import BertConfig, BertModel, Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(0)
    bare = {"wav2vec2": Wav2Vec2Model(Wav2Vec2Config(**speech, **CONVOLUTIONS)),
            "BERT": BertModel(BertConfig(**text), add_pooling_layer=False)}
    return {name: (model.eval(), (TextEncoder if name == "BERT" else partial(WaveEncoder, normalise=False))(
        deepcopy(model).eval(), frozen=True)) for name, model in bare.items()}


def utterances(name: str, count: int) -> dict[str, Tensor]:
    """Utterance id -> samples or token ids."""
    torch.manual_seed(0)
    seconds = seconds_like_iemocap(count)
    if name == "BERT":
        return {f"u{i}": torch.randint(1000, 20_000, (int(n),)) for i, n in enumerate(tokens_of(seconds))}
    return {f"u{i}": torch.randn(int(s * SAMPLE_RATE)) for i, s in enumerate(seconds)}


def by_the_kit(encoder: nn.Module, inputs: States, folder: str) -> FrozenStates:
    """Each time into a new folder: files made soon after others were deleted can cost a millisecond each."""
    store = FeatureStore(tempfile.mkdtemp(dir=folder), KEPT)
    return FrozenStates(encoder, inputs.__getitem__, store, batch_size=BATCH).fill(inputs, progress=False)


def packed(inputs: States) -> list[Tensor]:
    """Batches of as many samples or tokens as the kit's, every utterance of a batch as long as their mean."""
    given = list(inputs.values())
    batches = [[given[i] for i in batch] for batch in length_buckets([len(x) for x in given], BATCH)]
    return [torch.cat(b)[: len(b) * (sum(map(len, b)) // len(b))].reshape(len(b), -1) for b in batches]


@torch.no_grad()
def bare(model: nn.Module, batches: list[Tensor]) -> None:
    for batch in batches:
        model(batch)


@torch.no_grad()
def loop(encoder: nn.Module, inputs: States, size: int, longest: int = 0) -> dict[str, Tensor]:
    """States in batches as they come, each padded to `longest`."""
    ids, states = list(inputs), {}
    for start in range(0, len(ids), size):
        chosen = ids[start : start + size]
        padded = Padded.of([inputs[u] for u in chosen])
        more = (0, max(0, longest - padded.values.shape[1]))
        said = encoder(Padded(nn.functional.pad(padded.values, more), nn.functional.pad(padded.mask, more)))
        states |= {u: v[m] for u, v, m in zip(chosen, said.values, said.mask, strict=True)}
    return states


def ways(model: nn.Module, encoder: nn.Module, inputs: States, folder: str) -> dict[str, Callable[[], object]]:
    longest = max(map(len, inputs.values()))
    return {"kit": partial(by_the_kit, encoder, inputs, folder), "packed": partial(bare, model, packed(inputs)),
            "one at a time": partial(loop, encoder, inputs, 1),
            "padded to the longest": partial(loop, encoder, inputs, BATCH, longest)}


def main(count: Annotated[int, typer.Option(help="Utterances of speech; of text there are six times as many.")] = 160,
         rounds: int = 3, out: Path = HERE / "extraction.json") -> None:
    """Time frozen extraction."""
    rows, spent, padding = [], {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (model, encoder) in models().items():
            inputs = utterances(name, count * (6 if name == "BERT" else 1))
            few = dict(islice(inputs.items(), len(inputs) // 4))  # the loops are slow
            timed, against = ways(model, encoder, inputs, folder), ways(model, encoder, few, folder)
            fast = alternately({way: timed[way] for way in ("kit", "packed")}, rounds)
            slow = alternately({way: against[way] for way in against if way != "packed"}, 2, warm=True)
            of = f"{name}: frozen states on disk of"
            rows += [times_as_fast(fast, "kit", "packed", f"{of} {len(inputs)} utterances, against bare forwards "
                                   "without padding", "≥ 0.95"),
                     *(times_as_fast(slow, "kit", way, f"{of} {len(few)} utterances, against a loop, {way}")
                       for way in list(slow)[1:])]
            lengths = [len(x) for x in inputs.values()]
            padding[name] = padding_share(lengths, length_buckets(lengths, BATCH, most_padding=PADDING))
            spent[name] = {"fast": fast, "slow": slow}
    keep(out, rows, seconds=spent, padding_share=padding)


if __name__ == "__main__":
    typer.run(main)
