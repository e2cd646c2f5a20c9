"""The command that runs a grid of notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mer_kit.console import err, out, plain
from mer_kit.install import ROOT


def grid(file: Annotated[Path, typer.Argument(metavar="FILE", help="Such as notebooks/grid/models.yaml.")],
         workers: Annotated[int, typer.Option(min=0, help="Processes on this machine, one thread each; 0: as many as "
                                              "cores and memory bear.")] = 0,
         scheduler: Annotated[str, typer.Option(help="tcp://host:port, or a --scheduler-file, of a Dask cluster that "
                                                "runs.")] = "",
         executed: Annotated[Path | None, typer.Option("--out", help="Folder for executed copies, records, table and "
                                                       "report; else build/grid/NAME_OF_FILE.")] = None,
         cell_timeout: Annotated[int | None, typer.Option(help="Seconds that any one cell may take.")] = None) -> None:
    """Run notebooks with every combination of parameters, side by side; what is finished is not run again."""
    from mer_kit.grid.file import read_grid
    from mer_kit.grid.jobs import TABLE, run_grid, table
    from mer_kit.report import build_report

    folder = executed or ROOT / "build/grid" / file.stem
    records, ran = run_grid(read_grid(file), folder, workers, scheduler, cell_timeout)
    failed = [record for record in records if record["status"] != "ok"]
    table(records, folder)
    index = build_report(folder, folder / "report")
    for record in failed:
        of = ", ".join(f"{name} {value}" for name, value in record["varied"].items())
        err.print("failed:", plain(f"{record['notebook']} ({of}), {record['error']}"), soft_wrap=True)
    done = f"{ran} run now, {len(records) - ran} finished before" if ran else "all finished before, nothing to run"
    out.print(f"{len(records)} runs: {done}, {len(failed)} failed", soft_wrap=True)
    out.print(f"The table: {(folder / TABLE).resolve()}\nThe report: {index.resolve()}", soft_wrap=True)
    if failed:
        raise typer.Exit(1)
