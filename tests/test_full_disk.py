"""A disk that fills up at any write: a sentence, nothing half-written is read, and with more room the same works."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from killed_runs import CONFIG, compute, faults
from small_notebook import write
from small_training import CONFIG as TRAINING
from small_training import same, train
from test_report import executed
from typer.testing import CliRunner

from mer_kit import batch_runs
from mer_kit.cli import app
from mer_kit.errors import Missing
from mer_kit.features.store import FeatureStore
from mer_kit.training import runs
from mer_kit.training.runs import Ledger, record, run_once

PAGE = 4_096  # bytes
SAID = "cannot be written to (No space left on device); free some space or choose another folder, and repeat"
SHORT = replace(TRAINING, epochs=2)
TENSORS = {"x": torch.arange(3_000.0)}


class Disk:
    """A file system in memory, of a size that can grow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mount(PAGE)

    def mount(self, size: int, *more: str) -> None:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join((*more, f"size={size}")), "tmpfs", self.folder],
                              capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"mounting a small disk is not allowed here: {done.stderr.strip()}")

    def grow(self, size: int) -> None:
        self.mount(size, "remount")


@pytest.fixture
def disk(tmp_path):
    (tmp_path / "disk").mkdir()
    made = Disk(tmp_path / "disk")
    yield made
    subprocess.run(["umount", "--lazy", made.folder], check=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(runs, "environment", lambda: {"commit": "c"})


def put(disk: Path, elsewhere: Path) -> None:
    FeatureStore(disk / "store").fetch("k", lambda: TENSORS)


def run(disk: Path, elsewhere: Path) -> None:
    run_once(disk / "runs", CONFIG, compute)


def keep(disk: Path, elsewhere: Path) -> None:
    record(run_once(elsewhere / "runs", CONFIG, compute), disk / "results")


def learn(disk: Path, elsewhere: Path) -> None:
    train(disk / "checkpoints", config=SHORT)


def unsound(disk: Path) -> list:
    """What can be read on a disk and is not as it was meant."""
    wrong = faults(disk / "runs") + faults(disk / "results")
    if (disk / "store").exists():
        kept = (store := FeatureStore(disk / "store")).get("k")
        wrong += [store.counts] * (store.counts["damaged"] or (kept is not None and not kept["x"].equal(TENSORS["x"])))
    return wrong


@pytest.mark.parametrize(("work", "fewest"), [(put, 2), (run, 5), (keep, 3), (learn, 1)])
def test_whatever_does_not_fit_is_said_and_fits_once_there_is_room(work, fewest, disk, tmp_path):
    pages, full = 1, 0
    while True:
        try:
            work(disk.folder, tmp_path)
            break
        except Missing as error:
            assert SAID in str(error) and str(disk.folder) in str(error)
            full += 1
        assert unsound(disk.folder) == []
        assert not Ledger(disk.folder / "runs").runs() and not Ledger(disk.folder / "results").runs()
        disk.grow((pages := pages + 1) * PAGE)
    assert fewest <= full < 60 and unsound(disk.folder) == []
    if work is learn:
        same(train(disk.folder / "checkpoints", config=SHORT), train(config=SHORT))


def call(notebook: Path, disk: Disk):
    return CliRunner().invoke(app, ["run", str(notebook), "--out", str(disk.folder / "nb"),
                                    "--report", str(disk.folder / "report")])


def test_a_report_that_does_not_fit_is_said_in_one_line(disk, tmp_path, monkeypatch):
    monkeypatch.setattr(batch_runs, "run_notebooks", lambda *_: [])
    disk.grow(2 * 2**20)
    executed(disk.folder / "nb", "00_a")
    refused = call(disk.folder / "nb" / "00_a.ipynb", disk)
    assert refused.exit_code == 2 and SAID in refused.stderr
    disk.grow(16 * 2**20)
    assert call(disk.folder / "nb" / "00_a.ipynb", disk).exit_code == 0
    assert (disk.folder / "report" / "index.html").read_text().rstrip().endswith("</html>")


@pytest.mark.slow
def test_a_notebook_that_does_not_fit_is_said_and_leaves_the_earlier_copy_whole(disk, tmp_path):
    notebook = write(tmp_path, "00_a", "print(TOP_K)")
    disk.grow(8 * 2**20)
    assert call(notebook, disk).exit_code == 0
    before = (disk.folder / "nb" / "00_a.ipynb").read_bytes()
    write(tmp_path, "00_a", "print('much' * 3_000_000)")
    refused = call(notebook, disk)
    assert refused.exit_code == 2 and SAID in refused.stderr
    assert (disk.folder / "nb" / "00_a.ipynb").read_bytes() == before
    disk.grow(64 * 2**20)
    assert call(notebook, disk).exit_code == 0 and (disk.folder / "nb" / "00_a.ipynb").stat().st_size > 12_000_000
