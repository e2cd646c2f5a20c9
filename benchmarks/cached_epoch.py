"""An epoch over cached features, against the same batches already in memory.

    python benchmarks/cached_epoch.py

LSGMER at its offline size, whose steps are short, so that reading counts most. `Batches` collates states of a store
as they are asked for; the baseline steps over a list of the very same batches. Both take the same steps: forward,
backward, gradients clipped, optimiser. `fit`, the kit's whole loop, is timed against that baseline as well.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from measure import HERE, alternately, keep, seconds_like_iemocap, times_as_fast, tokens_of
from torch import Tensor, nn

from mer_kit.batch import Batch, Padded
from mer_kit.encoders.spectrogram import small_alexnet
from mer_kit.features.batching import Batches
from mer_kit.features.inputs import FrozenStates, Passed, collate
from mer_kit.features.store import FeatureStore
from mer_kit.models.lsgmer import LSGMER, PRESETS
from mer_kit.training.config import TrainConfig, make_optimizer
from mer_kit.training.fit import fit

CLASSES = ("angry", "happy", "sad", "neutral")
D_T, D_S, BANDS = 128, 96, 80  # of the offline encoders' states, and of the spectrogram
RATES = {"text": 1, "speech": 25, "spectrogram": 100}  # a second; tokens are counted by themselves
CONFIG = TrainConfig(epochs=1, batch_size=32, rates={"rest": 5e-4}, weight_decay=0.01, selection="last epoch")


class Widen(nn.Module):
    """Stands in for a frozen encoder: (batch, length, 1) -> (batch, length, dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(1, dim)

    def forward(self, x: Padded) -> Padded:
        return Padded(self.linear(x.values) * x.mask[..., None], x.mask)


class Utterances:
    """Numbers instead of sound and words, made when asked for: what they need in memory does not grow."""

    def __init__(self, count: int) -> None:
        self.seconds = seconds_like_iemocap(count)
        self.tokens = tokens_of(self.seconds)
        self.ids = [str(i) for i in range(count)]
        self.labels = {u: int(u) % len(CLASSES) for u in self.ids}

    def length(self, modality: str, utterance: str) -> int:
        seconds = self.seconds[int(utterance)]
        return self.tokens[int(utterance)] if modality == "text" else int(seconds * RATES[modality])

    def text(self, utterance: str) -> tuple[Tensor, Tensor]:
        given = self.speech(utterance, "text")
        return given, torch.ones(len(given), dtype=torch.bool)

    def speech(self, utterance: str, modality: str = "speech") -> Tensor:
        places = torch.arange(self.length(modality, utterance)) + 1.0
        return (places * (int(utterance) + 1)).sin()[:, None]

    def spectrogram(self, utterance: str) -> Tensor:
        return self.speech(utterance, "spectrogram").expand(-1, BANDS)


def cached(utterances: Utterances, folder: str | Path, memory: int) -> dict[str, FrozenStates]:
    """States of text and speech in a store in `folder`, as yet unread."""
    torch.manual_seed(0)
    store = FeatureStore(folder, memory)
    return {"text": FrozenStates(Widen(D_T), utterances.text, store),
            "speech": FrozenStates(Widen(D_S), utterances.speech, store)}


def batches(utterances: Utterances, states: Mapping[str, FrozenStates], size: int) -> Batches:
    lengths = [len(states["speech"](u)) for u in utterances.ids]
    return Batches(utterances.ids, lengths, size, lambda ids: collate(
        ids, states["text"], states["speech"], utterances.labels, utterances.spectrogram), 0)


def new_model() -> LSGMER:
    torch.manual_seed(0)
    return LSGMER(Passed(D_T), Passed(D_S), small_alexnet(), len(CLASSES), PRESETS["offline"])


def steps(model: nn.Module, given: Iterable[Batch]) -> None:
    """The plain loop."""
    optimizer = make_optimizer(model, CONFIG)
    model.train()
    for batch in given:
        loss = model(batch).loss
        if not loss.isfinite():
            raise ValueError(f"the loss is {loss.item()}")
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CONFIG.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()


def fitted(model: nn.Module, given: Iterable[Batch]) -> None:
    fit(model, given, CONFIG, CLASSES, device="cpu", progress=False)


def main(count: Annotated[int, typer.Option(help="Utterances.")] = 512, rounds: int = 7,
         out: Path = HERE / "cached_epoch.json") -> None:
    """Time an epoch over cached features."""
    utterances, model = Utterances(count), new_model()
    with tempfile.TemporaryDirectory() as folder:
        for states in cached(utterances, folder, 0).values():
            states.fill(utterances.ids, progress=False)
        loaded = batches(utterances, cached(utterances, folder, 2**30), CONFIG.batch_size)
        loaded.set_epoch(1)
        unkept = batches(utterances, cached(utterances, folder, 0), CONFIG.batch_size)
        unkept.set_epoch(1)
        memory = list(loaded)
        spent = alternately({"in memory": partial(steps, model, memory), "cached": partial(steps, model, loaded),
                             "from disk": partial(steps, model, unkept), "fit": partial(fitted, model, loaded)}, rounds)
    of = f"an epoch of {len(memory)} steps of LSGMER, offline size,"
    keep(out, [times_as_fast(spent, "cached", "in memory", f"{of} over cached features against the same batches in "
                             "memory", "≥ 0.95"),
               times_as_fast(spent, "from disk", "in memory", f"{of} the same, each state read from disk and checked "
                             "anew, as those are that do not fit into the memory set aside"),
               times_as_fast(spent, "fit", "in memory", f"{of} in `fit` over cached features against the plain loop "
                             "over batches in memory")], seconds=spent)


if __name__ == "__main__":
    typer.run(main)
