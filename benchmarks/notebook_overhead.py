"""What running a notebook without a screen costs beyond its cells, from the last demo's own record.

    python benchmarks/notebook_overhead.py

Runs nothing: reads what `make demo` left in build/notebooks. A record holds a notebook's seconds from before papermill
to after it; papermill writes into the executed copy how long each cell took. The rest is the kernel's start and end,
messages between the two, and the copy saved after each cell.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import nbformat
import typer
from measure import HERE, keep

from mer_kit.batch_runs import EXECUTED, read_records
from mer_kit.errors import Missing


def overheads(folder: Path) -> dict[str, dict[str, float]]:
    """Notebook -> seconds in all, in its cells, and how many cells, of each that ran to its end."""
    found = {}
    for record in read_records(folder):
        if record["status"] == "ok":
            cells = nbformat.read(folder / f"{record['notebook']}.ipynb", as_version=4).cells
            spent = [cell.metadata["papermill"]["duration"] or 0 for cell in cells]
            found[record["notebook"]] = {"seconds": record["seconds"], "cells": round(sum(spent), 2),
                                         "number of cells": len(cells)}
    if not found:
        raise Missing(f"no notebook has run into {folder}; run make demo first")
    return found


def main(executed: Path = EXECUTED, out: Path = HERE / "notebook_overhead.json") -> None:
    """Read the demo's record."""
    found = overheads(executed)
    beyond = [told["seconds"] - told["cells"] for told in found.values()]
    share = sum(beyond) / sum(told["seconds"] for told in found.values())
    figure = (f"{statistics.median(beyond):.1f} s ({min(beyond):.1f} to {max(beyond):.1f}); "
              f"{share:.0%} of all {len(found)} notebooks' time")
    keep(out, [{"what": "a notebook's seconds beyond its cells, in the last demo", "figure": figure, "goal": ""}],
         notebooks=found)


if __name__ == "__main__":
    typer.run(main)
