"""Kills a writer of run folders at each of its writes and renames, and looks at what is left.

`python killed_runs.py FOLDER WRITER` forks a child for every place where it may be killed: before the operation, after
it, and in the middle of a write. Prints as JSON how many places there were and what was found wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pandas as pd
import torch
from pandas.testing import assert_frame_equal

from mer_kit.training import checkpoints, runs
from mer_kit.training.runs import Ledger, Outcome, run_once

CONFIG = {"model": "small", "corpus": "toy", "corpus_hash": "c0", "protocol": "toy/session-out", "fold": "S1",
          "seed": 0}
SAID = pd.DataFrame({"id": ["a", "b"], "truth": ["sad", "happy"], "predicted": ["sad", "sad"],
                     "p_happy": [0.25, 0.4], "p_sad": [0.75, 0.6]})
WHOLE_WRITE = runs._write


def compute(scratch: Path) -> Outcome:
    (scratch / "checkpoint").write_text("so far")
    return Outcome(SAID, pd.DataFrame({"epoch": [1, 2], "seconds": [0.5, 0.5]}), {"best_epoch": 2},
                   {"w": torch.ones(3)}, {"label_token/a": torch.zeros(2, 2)})


def write_in_place(place: Path, aside: Path, config: dict, outcome: Outcome) -> None:
    """A writer as it must not be: into the folder's own place, file by file."""
    WHOLE_WRITE(place, place, config, outcome)


def record_again(folder: Path) -> None:
    runs.record(run_once(folder / "runs", CONFIG, compute), folder / "results")


WRITERS = {
    "run": (lambda folder: run_once(folder / "runs", CONFIG, compute), WHOLE_WRITE, "runs"),
    "in place": (lambda folder: run_once(folder / "runs", CONFIG, compute), write_in_place, "runs"),
    "record": (record_again, WHOLE_WRITE, "results"),
}


def arm(at: int, when: str) -> None:
    """Kill this process at its operation number `at`."""
    done = 0

    def dangerous(owner: object, name: str, written: int | None) -> None:
        original = getattr(owner, name)

        def armed(*args, **options):
            nonlocal done
            done += 1
            here = done == at
            if here and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*args, **options)
            if here and when == "torn" and written is not None:
                os.truncate(args[written], os.path.getsize(args[written]) // 2)
            if here:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, armed)

    for owner, name, written in ((Path, "write_text", 0), (pd.DataFrame, "to_parquet", 1), (runs, "save_file", 1),
                                 (checkpoints, "save_file", 1), (os, "replace", None), (shutil, "rmtree", None),
                                 (shutil, "copyfile", 1), (Path, "mkdir", None)):
        dangerous(owner, name, written)


def fork(work) -> bool:
    """Do `work` in a child; was the child killed?"""
    child = os.fork()
    if not child:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed by itself"
    return os.WIFSIGNALED(status)


def faults(folder: Path) -> list[str]:
    """What is wrong with the runs that can be read in a folder."""
    try:
        for run in Ledger(folder).runs():
            assert_frame_equal(run.predictions, SAID, check_dtype=False, rtol=1e-6)
            assert run.metrics["WA"] == 0.5 and run.config == CONFIG and "commit" in run.environment
            if folder.name == "runs":
                assert run.weights["w"].sum() == 3 and "label_token/a" in run.attention and len(run.history) == 2
    except Exception as fault:
        return [f"{type(fault).__name__}: {fault}"[:200]]
    return []


def main(folder: Path, writer: str) -> None:
    work, runs._write, watched = WRITERS[writer]
    wrong, places = [], 0
    for when in ("before", "after", "torn"):
        for at in range(1, 100):
            here = folder / f"{when}{at}"
            if writer == "record":
                record_again(here)
            if not fork(lambda when=when, at=at, here=here: (arm(at, when), work(here))):
                break
            places += 1
            if broken := faults(here / watched):
                wrong += [f"killed {when} {at}: {fault}" for fault in broken]
                continue
            work(here)
            again = faults(here / watched) + [str(p) for p in here.glob(f"{watched}/.*") if p.suffix != ".lock"]
            wrong += [f"repeated after {when} {at}: {fault}" for fault in again]
            if len(Ledger(here / watched).runs()) != 1:
                wrong.append(f"repeated after {when} {at}: no run")
    print(json.dumps({"places": places, "wrong": wrong}))


if __name__ == "__main__":
    runs.environment = lambda: {"commit": "c"}  # git and the driver take their time, and are not what is tested
    main(Path(sys.argv[1]), sys.argv[2])
