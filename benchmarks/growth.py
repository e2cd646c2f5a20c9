"""Cost as work grows: 1, 4 and 16 times the corpus at as many training steps, in time and in memory.

    python benchmarks/growth.py

Each size in a process of its own: states extracted into a store on disk, then read by a fresh `FrozenStates`, batched
and trained on (see cached_epoch.py), by as many steps for each. Few states stay in memory (`--memory`), so that most of
the largest corpus are read from disk. Memory is the peak of the whole process.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Annotated

import torch
import typer
from cached_epoch import CONFIG, Utterances, batches, cached, new_model, steps
from measure import HERE, keep

FACTORS = (1, 4, 16)
MIB = 2**20


def peak() -> float:
    """MiB that this process has held at most."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / (MIB if sys.platform == "darwin" else 1024)


def cost(count: int, trained: int, memory: int, threads: int, folder: str) -> dict[str, float]:
    """Seconds of extraction, of the first reading and of the steps, peak MiB and MiB of states on disk, of a corpus."""
    torch.set_num_threads(threads)
    model = new_model()
    warm = Utterances(64)
    steps(model, batches(warm, cached(warm, tempfile.mkdtemp(dir=folder), memory), CONFIG.batch_size))
    utterances, store, clock = Utterances(count), Path(tempfile.mkdtemp(dir=folder)), [time.perf_counter()]
    for states in cached(utterances, store, memory).values():
        states.fill(utterances.ids, progress=False)
    clock.append(time.perf_counter())
    epochs = batches(utterances, cached(utterances, store, memory), CONFIG.batch_size)
    clock.append(time.perf_counter())
    steps(model, islice(chain.from_iterable(epochs for _ in range(trained)), trained))
    clock.append(time.perf_counter())
    stored = sum(file.stat().st_size for file in store.iterdir()) / MIB
    spans = [end - begun for begun, end in pairwise(clock)]
    return {**dict(zip(("extraction", "reading", "steps"), spans, strict=True)), "MiB": peak(), "states": stored}


def main(count: Annotated[int, typer.Option(help="Utterances of the smallest corpus.")] = 256, trained: int = 64,
         memory: Annotated[int, typer.Option(help="MiB of states that stay in memory.")] = 8, rounds: int = 3,
         out: Path = HERE / "growth.json") -> None:
    """Measure how time and memory grow with the corpus."""
    fresh = partial(ProcessPoolExecutor, 1, multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    with fresh() as pool, tempfile.TemporaryDirectory() as folder:
        costs = {factor: [] for factor in FACTORS}
        for _, factor in ((r, f) for r in range(rounds) for f in FACTORS):
            costs[factor].append(pool.submit(cost, count * factor, trained, memory * MIB,
                                             torch.get_num_threads(), folder).result())
    rows = [_row(costs, *told) for told in (
        ("extraction", "extraction into the store, time an utterance", FACTORS[-1], "1: linear"),
        ("reading", "the first reading of the store, time an utterance", FACTORS[-1], "1: linear"),
        ("steps", f"time of {trained} training steps", 1, "1: flat"),
        ("MiB", "peak memory of the process", 1, "1: flat"),
        ("states", "size of the states on disk, for comparison", 1, ""))]
    keep(out, rows, costs=costs, utterances=count, memory_MiB=memory)


def _row(costs: dict[int, list[dict[str, float]]], name: str, what: str, per: int, goal: str) -> dict:
    """The largest corpus against the smallest, in the same round."""
    ratios = sorted(big[name] / small[name] / per for small, big in zip(costs[FACTORS[0]], costs[FACTORS[-1]],
                                                                        strict=True))
    middle = ratios[len(ratios) // 2]
    unit = "MiB" if name in ("MiB", "states") else "s"
    each = " / ".join(f"{sorted(c[name] for c in costs[f])[len(ratios) // 2]:.3g}" for f in FACTORS)
    return {"what": f"{what}: {FACTORS[-1]} times the corpus against once", "goal": goal, "ratio": {
        "median": round(middle, 4), "lowest": round(ratios[0], 4), "highest": round(ratios[-1], 4)},
        "figure": f"{middle:.2f} × ({ratios[0]:.2f} to {ratios[-1]:.2f}); {each} {unit} at {FACTORS} times"}


if __name__ == "__main__":
    typer.run(main)
