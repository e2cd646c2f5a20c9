"""A training step of each model, against a plain loop that pads to the longest clip and text and computes in float32.

    python benchmarks/training_step.py
    python benchmarks/training_step.py --device cuda --preset paper

Models of BERT-base size with random weights (`--preset paper`: LE-MER's conformer-large, WavLM-large's states, batches
of 16 and 32) on utterances of IEMOCAP's lengths. The kit takes batches of like length, from the shortest to the longest
of a corpus of 128, through `fit`, in float32 and in bfloat16. Both baselines take the same utterances in random order,
padded to the longest of the corpus or only within the batch. LSGMER reads states of its frozen encoders in every way:
that they are computed once is not counted here.

Beside each ratio stand utterances a second, the share of the device's matrix rate in bfloat16, measured in the same run
on square matrices, that products of matrices and convolutions reach, and on a GPU the peak memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from measure import HERE, alternately, keep, seconds_like_iemocap, times_as_fast, tokens_of
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mer_kit.batch import Batch, Padded
from mer_kit.encoders.layers import layers_of
from mer_kit.encoders.patches import small_vision
from mer_kit.encoders.speech import SAMPLE_RATE, WaveEncoder
from mer_kit.encoders.text import TextEncoder
from mer_kit.features.batching import length_buckets
from mer_kit.features.inputs import Passed, collate
from mer_kit.models.jfm import JFM, JFMConfig
from mer_kit.models.lemer import LEMER
from mer_kit.models.lsgmer import LSGMER, LSGMERConfig
from mer_kit.training.config import TrainConfig, make_optimizer
from mer_kit.training.costs import CONFORMER_LARGE
from mer_kit.training.fit import find_device, fit

CLASSES, CORPUS, WORDS = ("angry", "happy", "sad", "neutral"), 128, 1000
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
PRESETS = {  # of transformers, empty: BERT-base's sizes; of the speech encoder; batch sizes of the three models
    "tiny": (TINY, {**TINY, "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 4}, (4, 4, 4)),
    "base": ({}, {}, (4, 8, 8)),
    "paper": ({}, dict(CONFORMER_LARGE), (16, 32, 32)),
}
CONFIG = TrainConfig(epochs=1, rates={"rest": 1e-5}, selection="last epoch")
D_A, SPECTROGRAM_RATE, FRAME_RATE, STATE_RATE = 256, 3.125, 100, 50  # AlexNet's states; all rates a second


def text_encoder(sizes: dict, frozen: bool = False) -> TextEncoder:
    from transformers import BertConfig, BertModel

    return TextEncoder(BertModel(BertConfig(**sizes), add_pooling_layer=False), frozen=frozen)


def lemer(sizes: dict, speech: dict) -> LEMER:
    from transformers import Wav2Vec2Config, Wav2Vec2ConformerConfig, Wav2Vec2ConformerModel, Wav2Vec2Model

    conformer = "position_embeddings_type" in speech
    heard = (Wav2Vec2ConformerModel(Wav2Vec2ConformerConfig(**speech)) if conformer
             else Wav2Vec2Model(Wav2Vec2Config(**speech)))
    text, wave = text_encoder(sizes), WaveEncoder(heard)
    return LEMER(text, wave, torch.randn(len(CLASSES), text.dim), torch.randn(len(CLASSES), wave.dim))


def lsgmer(sizes: dict, speech: dict) -> LSGMER:
    d_t, d_s = (made.get("hidden_size", 768) for made in (sizes, speech))
    return LSGMER(Passed(d_t), Passed(d_s), Passed(D_A), len(CLASSES), LSGMERConfig(dim=d_t, heads=8))


def jfm(sizes: dict, speech: dict) -> JFM:
    from transformers import BertConfig, BertModel

    config, text = JFMConfig(), text_encoder(sizes, frozen=True)
    language = layers_of(BertModel(BertConfig(**sizes), add_pooling_layer=False), config.blocks)
    vision = small_vision(config.blocks, text.dim, text.model.config.num_attention_heads, size=(16, 16), hop=16,
                          seconds=20.0)
    return JFM(text, vision.patches, language, vision.layers, len(CLASSES), config)


MODELS = {"LE-MER": lemer, "LSGMER": lsgmer, "JFM + ICL": jfm}


class Utterances:
    """Random words, sounds and states of IEMOCAP's lengths, drawn once, for one of the models."""

    def __init__(self, model: str, count: int, sizes: dict, speech: dict) -> None:
        self.model, self.seconds = model, seconds_like_iemocap(count)
        self.tokens = tokens_of(self.seconds, history=model == "LE-MER")
        self.dims = [made.get("hidden_size", 768) for made in (sizes, speech)]
        self.labels = {u: u % len(CLASSES) for u in range(count)}
        self._drawn: dict[tuple[int, ...], Tensor] = {}

    def _random(self, *place: int) -> Tensor:
        """For an utterance, of a shape."""
        if place not in self._drawn:
            self._drawn[place] = torch.randn(place[1:], generator=torch.Generator().manual_seed(place[0]))
        return self._drawn[place]

    def text(self, utterance: int) -> tuple[Tensor, Tensor]:
        count = int(self.tokens[utterance])
        if self.model == "LSGMER":
            given = self._random(utterance, count, self.dims[0])
        else:
            given = (self._random(utterance, count).abs() * 200).long().clamp(1, WORDS)
        return given, torch.arange(count) >= count // 2

    def speech(self, utterance: int) -> Tensor:
        seconds = self.seconds[utterance]
        if self.model == "LE-MER":
            return self._random(utterance, int(seconds * SAMPLE_RATE))
        per_second, width = (STATE_RATE, self.dims[1]) if self.model == "LSGMER" else (FRAME_RATE, 83)
        return self._random(utterance, int(seconds * per_second), width)

    def spectrogram(self, utterance: int) -> Tensor:
        return self._random(utterance, int(self.seconds[utterance] * SPECTROGRAM_RATE) + 1, D_A)

    def batch(self, ids: Sequence[int]) -> Batch:
        return collate(ids, self.text, self.speech, self.labels, self.spectrogram if self.model == "LSGMER" else None)

    def padded(self, ids: Sequence[int]) -> Batch:
        """The same, as long as the corpus's longest utterance and text."""
        batch, longest = self.batch(ids), int(self.seconds.argmax())
        tokens = int(self.tokens.max()) - batch.text.mask.shape[1]
        longer = {m: wider(x, len(getattr(self, m)(longest)) - x.mask.shape[1]) for m in ("speech", "spectrogram")
                  if (x := getattr(batch, m)) is not None}
        return replace(batch, text=wider(batch.text, tokens), current=nn.functional.pad(batch.current, (0, tokens)),
                       **longer)


def wider(x: Padded, more: int) -> Padded:
    values = nn.functional.pad(x.values, (*[0, 0] * (x.values.ndim - 2), 0, more))
    return Padded(values, nn.functional.pad(x.mask, (0, more)))


def chosen(seconds: np.ndarray, size: int, steps: int) -> list[list[int]]:
    """Batches of like length, at as many even places from the shortest to the longest of a corpus."""
    batches = length_buckets(seconds, size)
    return [batches[int((i + 0.5) * len(batches) / steps)] for i in range(steps)]


def shuffled(batches: Sequence[Sequence[int]]) -> list[list[int]]:
    """The same utterances in random order, in as many batches."""
    ids = np.random.default_rng(0).permutation([u for batch in batches for u in batch])
    return [part.tolist() for part in np.array_split(ids, len(batches))]


def plain_loop(model: nn.Module, batches: Iterable[Batch], device: torch.device) -> None:
    """What a first script does."""
    optimizer = make_optimizer(model.to(device), CONFIG)
    model.train()
    for batch in batches:
        loss = model(batch.to(device)).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CONFIG.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()


def by_the_kit(model: nn.Module, batches: Iterable[Batch], device: torch.device, precision: str) -> None:
    fit(model, batches, replace(CONFIG, precision=precision), CLASSES, device=device.type, progress=False)


class Lazily:
    """Batches made when they are asked for, as often as wanted."""

    def __init__(self, make, batches: Sequence[Sequence[int]]) -> None:
        self.make, self.batches = make, batches

    def __iter__(self) -> Iterator[Batch]:
        return map(self.make, self.batches)


def matrix_rate(device: torch.device) -> float:
    """Operations a second of a product of square matrices in bfloat16, the best of ten."""
    size = 8192 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    return 2 * size**3 / min(alternately({"product": lambda: a @ a}, 10)["product"])


def operations(model: nn.Module, batches: Iterable[Batch], device: torch.device) -> int:
    """Of products of matrices and convolutions in the forwards and backwards of some batches."""
    with FlopCounterMode(display=False) as counted:
        for batch in batches:
            model(batch.to(device)).loss.backward()
    model.zero_grad()
    return counted.get_total_flops()


def measured(name: str, preset: str, device: torch.device, steps: int, rounds: int) -> tuple[list[dict], dict]:
    """A model's rows, and the seconds behind them."""
    torch.manual_seed(0)
    *sizes, batch_sizes = PRESETS[preset]
    utterances, model = Utterances(name, CORPUS, *sizes), MODELS[name](*sizes).to(device)
    size = batch_sizes[list(MODELS).index(name)]
    batches = chosen(utterances.seconds, size, steps)
    mixed, kit = shuffled(batches), Lazily(utterances.batch, batches)
    ways = {"padded to the longest": partial(plain_loop, model, Lazily(utterances.padded, mixed[:1]), device),
            "padded within the batch": partial(plain_loop, model, Lazily(utterances.batch, mixed), device),
            "float32": partial(by_the_kit, model, kit, device, "no"),
            "bfloat16": partial(by_the_kit, model, kit, device, "bf16")}
    short = Lazily(utterances.batch, batches[:1])  # makes whatever is made once
    plain_loop(model, short, device)
    by_the_kit(model, short, device, "bf16")
    spent = alternately(ways, rounds, warm=True)
    best = min(("float32", "bfloat16"), key=lambda way: sorted(spent[way])[rounds // 2])
    goal = "≥ 8 ×" if device.type == "cuda" else "≥ 2 ×"
    of = f"{name}: {steps} steps of {size} through `fit` in {best} against the plain loop in float32, padded"
    rows = [times_as_fast(spent, best, "padded to the longest", f"{of} to the longest", goal, 1 / steps),
            times_as_fast(spent, best, "padded within the batch", f"{of} within the batch"),
            times_as_fast(spent, "bfloat16", "float32", f"{name}: bfloat16 against float32, both by the kit"),
            _speed(name, best, ways[best], sorted(spent[best])[rounds // 2], size * steps,
                   operations(model, kit, device), device)]
    return rows, spent


def _speed(name: str, way: str, step, seconds: float, utterances: int, work: int, device: torch.device) -> dict:
    said = {"utterances a second": utterances / seconds,
            "share of the matrix rate": work / seconds / matrix_rate(device)}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step()
        said["peak GiB"] = torch.cuda.max_memory_allocated() / 2**30
    figure = ", ".join(f"{value:.3g} {unit}" for unit, value in said.items())
    return {"what": f"{name}: the kit's training in {way}", "figure": figure, "goal": "", **said}


def main(preset: Annotated[str, typer.Option(help=f"One of: {', '.join(PRESETS)}.")] = "base",
         device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu", steps: int = 2, rounds: int = 2,
         out: Annotated[Path | None, typer.Option(help="Where the figures are kept.")] = None) -> None:
    """Time a training step of each model."""
    out = out or HERE / f"training_step{'_cuda' * (device == 'cuda')}.json"
    command = "python benchmarks/training_step.py" + " --device cuda --preset paper" * (device == "cuda")
    if device == "cuda" and not torch.cuda.is_available():
        keep(out, [{"what": "training steps of the three models on a GPU, preset paper",
                    "figure": "not run: torch sees no GPU here", "goal": "≥ 8 ×"}], command=command)
        return
    begun, rows, spent = time.perf_counter(), [], {}
    for name in MODELS:
        of_model, spent[name] = measured(name, preset, find_device(device), steps, rounds)
        rows += of_model
    keep(out, rows, seconds=spent, preset=preset, command=command, took=round(time.perf_counter() - begun))


if __name__ == "__main__":
    typer.run(main)
