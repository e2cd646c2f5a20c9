"""Kills a work of the kit at random moments, or at its writes and renames, lets it go on, and looks at what is left.

`python killed_work.py FOLDER WORK KILLS`: a child does the work and is killed at a random moment, the next goes on;
once one comes to the end, the work begins anew. `python killed_work.py FOLDER WORK points`: one child for every place
of `killed_runs.arm`. Prints as JSON how often it was killed, how often it came to its end, and what was found wrong.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import nbformat
import torch
from killed_runs import CONFIG, arm
from safetensors import safe_open
from small_notebook import write
from small_training import CONFIG as TRAINING
from small_training import train
from torch import Tensor

from mer_kit.corpora import load_corpus
from mer_kit.encoders.speech import FrameEncoder
from mer_kit.features.inputs import FrozenStates, SpeechInputs
from mer_kit.features.store import FeatureStore
from mer_kit.grid.file import read_grid
from mer_kit.grid.jobs import run_job
from mer_kit.training import runs
from mer_kit.training.checkpoints import FILE
from mer_kit.training.runs import Ledger, Outcome, config_hash, run_once

EPOCHS = {"training": 12, "short training": 2}
PATIENCE = 120  # s for one child


def training(epochs: int) -> tuple[Callable[[Path], None], Callable[[Path], dict[str, Any]]]:
    """A run with checkpoints; what is finished of it: epochs, and in the end weights, predictions and scores."""
    def compute(scratch: Path) -> Outcome:
        model, fitted = train(scratch, config=replace(TRAINING, epochs=epochs))
        return Outcome(fitted.predictions, fitted.history, {"best_epoch": fitted.best_epoch}, model.state_dict())

    def finished(folder: Path) -> dict[str, Any]:
        checkpoint, done = folder / f".{config_hash(CONFIG)}" / FILE, {}
        for run in Ledger(folder).runs():
            done = dict(run.weights) | {"metrics": run.metrics | {"seconds": 0},
                                        "predictions": run.predictions.to_csv(), "environment": run.environment}
            return done | epochs_of(run.history.to_dict("records"))
        if checkpoint.exists():
            with safe_open(checkpoint, "pt") as file:
                assert all(file.get_tensor(name).isfinite().all() for name in file.keys())  # noqa: SIM118
                return epochs_of(json.loads(file.metadata()["facts"])["rows"])
        return done

    return lambda folder: run_once(folder, CONFIG, compute), finished


def epochs_of(rows: list[dict]) -> dict[str, str]:
    return {f"epoch {row['epoch']}": json.dumps(row | {"seconds": 0}, sort_keys=True) for row in rows}


def extract(folder: Path) -> None:
    """Frames of forty clips, and what an encoder makes of them."""
    corpus, store = load_corpus("duet"), FeatureStore(folder)
    ids = list(corpus.table["id"][:40])
    torch.manual_seed(0)
    FrozenStates(FrameEncoder(dim=16, heads=2, layers=1), SpeechInputs(corpus, store=store).fill(ids, progress=False),
                 store, batch_size=4).fill(ids, progress=False)


def extracted(folder: Path) -> dict[str, Any]:
    store = FeatureStore(folder)
    kept = {path.name: store.get(path.stem) for path in folder.glob("[!.]*")}
    assert store.counts["damaged"] == 0, "a half-written feature has a feature's name"
    return {name: next(iter(tensors.values())) for name, tensors in kept.items()}


def run_jobs(folder: Path) -> None:
    """Three jobs of a grid, as a worker of Dask does them."""
    folder.mkdir(parents=True, exist_ok=True)
    notebook = write(folder.parent, "00_a", "print(3 * TOP_K)")
    (folder.parent / "grid.yaml").write_text(f"notebooks: [{notebook}]\ngrid: {{TOP_K: [1, 2, 3]}}\n")
    for job in read_grid(folder.parent / "grid.yaml"):
        run_job(job, folder)


def jobs_done(folder: Path) -> dict[str, Any]:
    """What the finished jobs said, with their copies' outputs."""
    done = {}
    for path in folder.glob("[!.]*.json"):
        record = json.loads(path.read_text())
        cells = nbformat.read(path.with_suffix(".ipynb"), as_version=4).cells
        said = [output["text"] for cell in cells for output in cell.get("outputs", ())]
        done[path.stem] = (record["status"], record["parameters"], said)
    return done


WORKS = {name: training(epochs) for name, epochs in EPOCHS.items()} | {"extraction": (extract, extracted),
                                                                       "grid": (run_jobs, jobs_done)}


def start(work: Callable[[], None]) -> int:
    """A child that does the work, by its number."""
    child = os.fork()
    if not child:
        status = 1
        try:
            torch.set_num_threads(1)
            runs.environment = lambda: {"commit": "c"}  # git and the driver take their time
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def end(child: int, seconds: float) -> bool:
    """Kill a child after so many seconds; was it killed, and not at its end?"""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """What is not as in the undisturbed work."""
    def same(a: Any, b: Any) -> bool:
        return torch.allclose(a, b, atol=1e-5) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b

    return [name for name, value in found.items() if name not in expected or not same(value, expected[name])]


def undisturbed(name: str, folder: Path) -> tuple[dict[str, Any], float]:
    """What comes of a work that nobody kills, and its seconds."""
    do, finished = WORKS[name]
    for slow_to_import in ("accelerate", "torch._dynamo", "mer_kit.corpora.audio", "papermill"):
        import_module(slow_to_import)  # here once, not in every child while the clock runs
    began = time.monotonic()
    assert not end(start(lambda: do(folder)), PATIENCE), "the undisturbed work did not end"
    expected = finished(folder)
    assert expected, "the undisturbed work failed"
    return expected, time.monotonic() - began


def at_random(name: str, folder: Path, kills: int, seed: int = 0) -> dict[str, Any]:
    """Kill a work so many times at random moments; each child goes on where the one before was killed."""
    do, finished = WORKS[name]
    expected, seconds = undisturbed(name, folder / "undisturbed")
    draw, wrong, killed, ends, before, here = random.Random(seed), [], 0, 0, {}, folder / "0"
    while killed < kills or before:
        last = killed == kills  # nobody kills the last child
        was_killed = end(start(lambda here=here: do(here)), PATIENCE if last else draw.uniform(0.02, 0.7) * seconds)
        killed += was_killed
        now = finished(here) if here.exists() else {}
        wrong += [f"kill {killed}: {n} differs" for n in differences(now, expected)]
        wrong += [f"kill {killed}: {n} was lost" for n in before.keys() - now.keys()]
        if not was_killed:
            wrong += [f"end {ends}: {n} is not there" for n in expected.keys() - now.keys()]
            ends, here, now = ends + 1, folder / str(ends + 1), {}
        before = now
    return {"kills": killed, "ends": ends, "wrong": wrong}


def at_points(name: str, folder: Path) -> dict[str, Any]:
    """Kill a work at every one of its writes and renames, and let it go on to its end."""
    do, finished = WORKS[name]
    expected, wrong, killed = undisturbed(name, folder / "undisturbed")[0], [], 0
    for when in ("before", "after", "torn"):
        for at in range(1, 200):
            here = folder / f"{when}{at}"
            child = start(lambda when=when, at=at, here=here: (arm(at, when), do(here)))
            if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
                break
            killed += 1
            left = finished(here) if here.exists() else {}
            wrong += [f"{when} {at}: {n} differs" for n in differences(left, expected)]
            end(start(lambda here=here: do(here)), PATIENCE)
            now = finished(here)
            wrong += [f"after {when} {at}: {n}" for n in (*differences(now, expected), *(expected.keys() - now.keys()))]
    return {"kills": killed, "ends": killed, "wrong": wrong}


if __name__ == "__main__":
    place, work, kills = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    print(json.dumps(at_points(work, place) if kills == "points" else at_random(work, place, int(kills))))
