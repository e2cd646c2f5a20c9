"""Notebooks run without a screen, by papermill: names and values checked first, every run recorded."""

from __future__ import annotations

import ast
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from mer_kit.errors import BadInput, Missing, unknown
from mer_kit.install import ROOT
from mer_kit.machine import summary

NOTEBOOKS = ROOT / "notebooks"
EXECUTED = ROOT / "build" / "notebooks"
RUNS = "runs.json"  # beside the executed copies: the last run of each notebook
TYPES = {"int": int, "float": float, "bool": bool, "str": str}


def find_notebooks(names: Iterable[str | Path] = (), folder: Path = NOTEBOOKS) -> list[Path]:
    """Notebooks by number ("00"), name ("00_corpora") or path, in the order asked for; all of `folder` for no names."""
    here = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    found = []
    for name in map(str, names):
        close = [here[stem] for stem in here if name in (stem, stem.split("_")[0])]
        close = close or [path for path in [Path(name)] if path.suffix == ".ipynb" and path.is_file()]
        if len(close) != 1:
            raise unknown("notebook", name, here)
        found += close
    if not found and not here:
        raise Missing(f"no notebook lies in {folder}; run this from a clone of mer_kit, or name a notebook's path")
    return found or list(here.values())


def parameters_of(notebook: Path) -> dict[str, tuple[str, Any]]:
    """Name -> (type's name, default) of what stands in a notebook's cell tagged `parameters`."""
    import papermill

    try:
        declared = papermill.inspect_notebook(str(notebook)).values()
        defaults = {p["name"]: ast.literal_eval(p["default"]) for p in declared}
    except (ValueError, SyntaxError) as error:
        raise BadInput(f"{notebook.name}: {error}; expected a Python notebook as JupyterLab saves it, whose parameters "
                       "are literals; derive other values in the cell after") from None
    return {p["name"]: (p["inferred_type_name"] if p["inferred_type_name"] in TYPES
                        else type(defaults[p["name"]]).__name__, defaults[p["name"]]) for p in declared}


def plan(notebooks: Iterable[Path], parameters: Mapping[str, Any]) -> dict[Path, dict[str, Any]]:
    """What each notebook will be given; refuses unknown names and ill-typed values before any kernel starts.

    A value may be the text of a literal ("3", "true", "duet"). Of several notebooks each gets the parameters that it
    has; a name that none of them has is an error that lists the names and says the nearest. No notebooks need none.
    """
    declared = {notebook: parameters_of(notebook) for notebook in notebooks}
    names = sorted({name for known in declared.values() for name in known})
    for name in parameters:
        if declared and name not in names:
            raise unknown(f"parameter of {', '.join(n.stem for n in declared)}", name, names)
    return {notebook: {name: read_value(name, value, known[name][0])
                       for name, value in parameters.items() if name in known} for notebook, known in declared.items()}


def read_value(name: str, value: Any, kind: str) -> Any:
    """A parameter's value as `kind` ("int", "float", "bool", "str"); texts are read as literals of that type.

    >>> read_value("TOP_K", "9", "int"), read_value("EMBED_MEDIA", "true", "bool"), read_value("RATE", "1", "float")
    (9, True, 1.0)
    """
    example = {"int": "3", "float": "0.5", "bool": "True", "str": "duet"}.get(kind, "[1, 2]")
    wrong = BadInput(f"parameter {name} is of type {kind}; got {value!r}; expected a literal such as {example}")
    if isinstance(value, str) and kind != "str":
        try:
            value = ast.literal_eval(value.capitalize() if kind == "bool" else value)
        except (ValueError, SyntaxError):
            raise wrong from None
    if kind == "float" and type(value) is int:
        value = float(value)
    if type(value) is not TYPES.get(kind, type(value)):
        raise wrong
    return value


def run_notebook(notebook: Path, parameters: Mapping[str, Any], out: Path = EXECUTED, cell_timeout: int | None = None,
                 on_cell: Callable[..., None] | None = None) -> dict:
    """Run one notebook in its own folder and keep the executed copy under `out`; its record, whether it ended well.

    parameters: values that `plan` has checked. cell_timeout: s, for any one cell.
    on_cell: called with cell=…, cell_index=… as each begins.
    The record holds notebook, started, seconds, status ("ok" or "failed"), error, parameters (all) and machine.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    out.mkdir(parents=True, exist_ok=True)
    copy, error = out / notebook.name, None
    started, clock = datetime.now().astimezone(), time.monotonic()
    hooks = {"on_cell_start": on_cell} if on_cell else {}
    try:
        papermill.execute_notebook(
            str(notebook.resolve()), str(copy.resolve()), dict(parameters), cwd=str(notebook.resolve().parent),
            kernel_name="python3", progress_bar=False, execution_timeout=cell_timeout, kernel_manager_class=_kernel(),
            config=Config({"KernelManager": {"transport": "ipc"}}), **hooks)
    except PapermillExecutionError as failure:
        error = f"{failure.ename}: {failure.evalue}".splitlines()[0]
    except (TimeoutError, RuntimeError) as failure:  # a cell past its time; a kernel that died or never came up
        error = f"{type(failure).__name__}: {failure}".splitlines()[0]
    seconds = round(time.monotonic() - clock, 2)
    reached = _tidy(copy)
    used = {name: default for name, (_, default) in parameters_of(notebook).items()} | dict(parameters)
    return {"notebook": notebook.stem, "started": started.isoformat(timespec="seconds"), "seconds": seconds,
            "status": "failed" if error else "ok", "error": error and f"{reached}: {error}",
            "parameters": used, "machine": summary()}


def _kernel() -> type:
    """A kernel manager whose kernel is this very Python, whatever kernels the user has installed elsewhere."""
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec

    class ThisPython(AsyncKernelManager):
        kernel_spec = KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=50"],
            display_name="Python 3", language="python",
            env={"HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"})

    return ThisPython


def _tidy(copy: Path) -> str:
    """Drop the widgets' state (megabytes of JavaScript) from a copy; the last cell begun, in words."""
    import nbformat

    notebook = nbformat.read(copy, as_version=4)
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, copy)
    begun = [(number, cell) for number, cell in enumerate(notebook.cells, 1)
             if cell.metadata.get("papermill", {}).get("start_time")]
    return f"cell {begun[-1][0]} ({begun[-1][1].source.strip().splitlines()[0]})" if begun else "before the first cell"


def run_notebooks(notebooks: Iterable[Path], parameters: Mapping[str, Any] | None = None, out: Path = EXECUTED,
                  cell_timeout: int | None = None) -> list[dict]:
    """Run notebooks one after the other, with a bar and the time left; a failed one does not stop the others.

    The records are returned and kept in `out/runs.json`, where a later run of a notebook replaces the earlier.
    """
    import nbformat
    from rich import progress as bars

    planned = plan(notebooks, parameters or {})
    cells = {notebook: len(nbformat.read(notebook, as_version=4).cells) for notebook in planned}
    columns = ("{task.description}", bars.BarColumn(), bars.MofNCompleteColumn(), "cells,", bars.TimeElapsedColumn(),
               "so far,", bars.TimeRemainingColumn(), "left")
    records, done = [], 0
    with bars.Progress(*columns) as progress:
        task = progress.add_task("", total=sum(cells.values()))
        for notebook, given in planned.items():
            progress.update(task, description=notebook.stem)
            records.append(run_notebook(notebook, given, out, cell_timeout, lambda cell, cell_index, done=done:
                                        progress.update(task, completed=done + cell_index)))
            record(records[-1:], out)
            progress.update(task, completed=(done := done + cells[notebook]))
    return records


def record(records: Iterable[dict], out: Path) -> None:
    """Add records to `out/runs.json`, one a notebook; written whole or not at all."""
    kept = {r["notebook"]: r for r in read_records(out)} | {r["notebook"]: r for r in records}
    fresh = out / f"{RUNS}.{os.getpid()}"
    fresh.write_text(json.dumps([kept[name] for name in sorted(kept)], indent=1), encoding="utf-8")
    fresh.replace(out / RUNS)


def read_records(out: Path = EXECUTED) -> list[dict]:
    """The last run of each notebook under `out`; [] where none has run."""
    path = out / RUNS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
