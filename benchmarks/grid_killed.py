"""Does a grid that is killed on the way end as one that is not? 3 models × 5 folds × 2 seeds on duet, one epoch each.

    python benchmarks/grid_killed.py --workers 1

Runs notebooks/grid/models.yaml twice, each time in a folder and a ledger of its own: undisturbed, and killed with
SIGKILL (the command, its scheduler and its workers at once) after a third and after two thirds of the runs. Both tables
are compared run by run, all but times, and so is what the models predict; it prints both and writes grid_killed.json.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
import yaml

from mer_kit.install import ROOT
from mer_kit.machine import summary
from mer_kit.training.runs import Ledger, join

KEY, SCORES = ["MODEL", "FOLD", "SEED"], ["status", "hash", "WA", "UA", "WF1", "best_epoch"]


def begin(grid: Path, out: Path, workers: int) -> subprocess.Popen:
    """`mer-kit grid` in a session of its own, so that a kill takes everything but the notebooks' kernels along."""
    words = [sys.executable, "-m", "mer_kit", "grid", str(grid), "--out", str(out), "--workers", str(workers)]
    return subprocess.Popen(words, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL)


def finished(out: Path) -> dict[Path, float]:
    """The records that stand, and when each was written."""
    return {path: path.stat().st_mtime for path in out.glob("train-*.json")}


def run(asked: dict, folder: Path, workers: int, kills: tuple[int, ...]) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """The table of a grid killed once so many runs were finished, what its models predict, and what the kills left."""
    asked = asked | {"parameters": asked["parameters"] | {"LEDGER": str(folder / "ledger")}}
    grid, out, kept, begun = folder / "models.yaml", folder / "out", {}, time.monotonic()
    folder.mkdir()
    grid.write_text(yaml.safe_dump(asked))
    for number in kills:
        process = begin(grid, out, workers)
        while len(finished(out)) < number and process.poll() is None:
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kept |= finished(out)
    code = begin(grid, out, workers).wait()
    again = [path.name for path, written in kept.items() if path.stat().st_mtime != written]
    table = pd.read_parquet(out / "grid.parquet").set_index(KEY)[SCORES].sort_index()
    said = join(Ledger(folder / "ledger").runs()).sort_values(["hash", "id"], ignore_index=True)
    return table, said, {"exit code": code, "finished before a kill": len(kept), "of them run again": len(again),
                         "minutes": round((time.monotonic() - begun) / 60, 1)}


def told(result: dict) -> str:
    killed, same = result["killed"], all(result[name] for name in ("the same table", "the same predictions"))
    return (f"{result['ok']} of {result['runs']} runs ok, table and predictions {'the same' if same else 'differ'}; "
            f"finished before a kill: {killed['finished before a kill']}, of them run again: "
            f"{killed['of them run again']}; {result['undisturbed']['minutes']} minutes undisturbed, "
            f"{killed['minutes']} killed twice, workers: {result['workers']}")


def main(workers: int = 2, grid: Path = ROOT / "notebooks/grid/models.yaml",
         out: Annotated[Path, typer.Option(help="Where the figures are kept.")] = ROOT / "benchmarks/grid_killed.json"
         ) -> None:
    """Run both grids and compare them."""
    asked = yaml.load(grid.read_text(), yaml.BaseLoader)
    runs = len(asked["grid"]["MODEL"]) * len(asked["grid"]["FOLD"]) * len(asked["grid"]["SEED"])
    with tempfile.TemporaryDirectory(prefix="mer-kit-grid-") as folder:
        whole, whole_said, undisturbed = run(asked, Path(folder) / "whole", workers, ())
        table, said, killed = run(asked, Path(folder) / "killed", workers, (runs // 3, 2 * runs // 3))
    print(pd.concat({"undisturbed": whole, "killed": table}, axis=1).to_string())
    result = {"runs": len(whole), "the same table": whole.equals(table),
              "the same predictions": whole_said.equals(said),
              "ok": int(table["status"].eq("ok").sum()), "undisturbed": undisturbed, "killed": killed,
              "workers": workers, "machine": summary()}
    result["figure"] = told(result)
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    if not (result["the same table"] and result["the same predictions"] and result["ok"] == runs):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
