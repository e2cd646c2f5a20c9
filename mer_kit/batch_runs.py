"""Notebooks run without a screen, by papermill: names and values checked first, every run recorded."""

from __future__ import annotations

import ast
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from mer_kit.errors import BadInput, Missing, unknown
from mer_kit.install import ROOT
from mer_kit.locks import locked
from mer_kit.machine import cores, summary, workers_for

NOTEBOOKS = ROOT / "notebooks"
TRAIN = NOTEBOOKS / "grid" / "train.ipynb"  # one training, for batches; it is run where it is named
EXECUTED = ROOT / "build" / "notebooks"
RUNS = "runs.json"  # beside the executed copies: the last run of each notebook
FOUND = "application/vnd.mer-kit.found+json"  # the type of an output that `found` leaves
STARTS = 300  # s that a kernel may take to answer
TYPES = {"int": int, "float": float, "bool": bool, "str": str}


def find_notebooks(names: Iterable[str | Path] = (), folder: Path = NOTEBOOKS) -> list[Path]:
    """Notebooks by number ("00"), name ("00_corpora") or path, in the order asked for; all of `folder` for no names.

    "train" is the notebook of one training, which is not among all.
    """
    here = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    known, found = here | {TRAIN.stem: TRAIN}, []
    for name in map(str, names):
        close = [path for stem, path in known.items() if name in (stem, stem.split("_")[0])]
        close = close or [path for path in [Path(name)] if path.suffix == ".ipynb" and path.is_file()]
        if len(close) != 1:
            raise unknown("notebook", name, known)
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
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # {[]: 1}; a thousand brackets
            raise wrong from None
    if kind == "float" and type(value) is int:
        value = float(value)
    if type(value) is not TYPES.get(kind, type(value)):
        raise wrong
    return value


def run_notebook(notebook: Path, parameters: Mapping[str, Any], out: Path = EXECUTED, cell_timeout: int | None = None,
                 on_cell: Callable[..., None] | None = None, name: str = "") -> dict:
    """Run one notebook in its own folder and keep the executed copy under `out`; its record, whether it ended well.

    parameters: values that `plan` has checked. cell_timeout: s, for any one cell.
    on_cell: called with cell=…, cell_index=… as each begins. name: of the copy, else the notebook's.
    The record is one of `record_of`.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    out.mkdir(parents=True, exist_ok=True)
    copy, error = out / f".{name or notebook.stem}.ipynb", None  # renamed when it is whole
    started, clock = datetime.now().astimezone(), time.monotonic()
    hooks = {"on_cell_start": on_cell} if on_cell else {}
    try:
        with tempfile.TemporaryDirectory(prefix="mer-kit-") as sockets:  # of this kernel alone
            papermill.execute_notebook(
                str(notebook.resolve()), str(copy.resolve()), dict(parameters), cwd=str(notebook.resolve().parent),
                kernel_name="python3", progress_bar=False, start_timeout=STARTS, execution_timeout=cell_timeout,
                kernel_manager_class=_kernel(), **hooks,
                config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}}))
    except PapermillExecutionError as failure:
        error = f"{failure.ename}: {failure.evalue}".splitlines()[0]
    except (TimeoutError, RuntimeError) as failure:  # a cell past its time; a kernel that died or never came up
        error = f"{type(failure).__name__}: {failure}".splitlines()[0]
    seconds = round(time.monotonic() - clock, 2)
    (number, place), values = _tidy(copy)
    copy.replace(copy.with_name(copy.name[1:]))
    return record_of(notebook, parameters, name, started, seconds, error and f"{place}: {error}",
                     number if error else None, values)


def record_of(notebook: Path, given: Mapping[str, Any], name: str, started: datetime, seconds: float = 0.0,
              error: str | None = None, cell: int | None = None, values: Mapping[str, Any] | None = None) -> dict:
    """What is kept of a run: notebook (its name), started, seconds, status ("ok" or "failed"), error, machine;

    cell, the number of the one that failed; parameters, all; found, what the notebook itself kept.
    """
    used = {name: default for name, (_, default) in parameters_of(notebook).items()} | dict(given)
    return {"notebook": name or notebook.stem, "started": started.isoformat(timespec="seconds"), "seconds": seconds,
            "status": "failed" if error else "ok", "error": error, "cell": cell, "parameters": used,
            "found": dict(values or {}), "machine": summary()}


def found(**values: float | str | None) -> None:
    """Called in a notebook: show values that it found, and keep them in the record of its run."""
    from IPython.display import display

    said = ", ".join(f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in values.items())
    display({FOUND: values, "text/plain": said}, raw=True)


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


def _tidy(copy: Path) -> tuple[tuple[int | None, str], dict[str, Any]]:
    """Drop the widgets' state (megabytes of JavaScript) from a copy; the last cell begun, and all that was `found`."""
    import nbformat

    notebook = nbformat.read(copy, as_version=4)
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, copy)
    begun = [(number, f"cell {number} ({cell.source.strip().splitlines()[0]})")
             for number, cell in enumerate(notebook.cells, 1) if cell.metadata.get("papermill", {}).get("start_time")]
    kept = (output["data"].get(FOUND, {}) for cell in notebook.cells for output in cell.get("outputs", ())
            if "data" in output)
    return (begun or [(None, "before the first cell")])[-1], {k: v for values in kept for k, v in values.items()}


def run_notebooks(notebooks: Iterable[Path], parameters: Mapping[str, Any] | None = None, out: Path = EXECUTED,
                  cell_timeout: int | None = None, workers: int = 1) -> list[dict]:
    """Run notebooks, with a bar and the time left; a failed one does not stop the others.

    workers: how many at a time, begun in their order, sharing the cores; 0: as many as cores and memory bear. What one
    trains, another waits for.
    The records are returned and kept in `out/runs.json`, where a later run of a notebook replaces the earlier.
    """
    import nbformat
    from rich import progress as bars

    planned = plan(notebooks, parameters or {})
    cells = {notebook.stem: len(nbformat.read(notebook, as_version=4).cells) for notebook in planned}
    columns = ("{task.description}", bars.BarColumn(), bars.MofNCompleteColumn(), "cells,", bars.TimeElapsedColumn(),
               "so far,", bars.TimeRemainingColumn(), "left")
    records, begun = {}, {}
    with bars.Progress(*columns) as progress:
        task = progress.add_task("", total=sum(cells.values()))

        def tell(notebook: str, cell_index: int) -> None:
            begun[notebook] = cell_index
            running = ", ".join(name for name in begun if name not in records)
            progress.update(task, completed=sum(begun.values()), description=running)

        for ended in _run_each(planned, out, cell_timeout, workers or workers_for(len(planned)), tell):
            records[ended["notebook"]] = ended
            record([ended], out)
            tell(ended["notebook"], cells[ended["notebook"]])
    return [records[notebook.stem] for notebook in planned]


def _run_each(planned: Mapping[Path, dict[str, Any]], out: Path, cell_timeout: int | None, workers: int,
              tell: Callable[[str, int], None]) -> Iterator[dict]:
    """The records of notebooks as they end; tell(notebook, cell_index) is called as their cells begin."""
    if workers == 1:
        for notebook, given in planned.items():
            yield _told(lambda begun: tell(*begun), notebook, given, out, cell_timeout)
        return
    spawn = get_context("spawn")
    with spawn.Manager() as shared, ProcessPoolExecutor(workers, spawn, _share_cores, (workers,)) as pool:
        cells = shared.Queue()
        pending = {pool.submit(_told, cells.put, *job, out, cell_timeout) for job in planned.items()}
        while pending:
            ended, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
            while not cells.empty():
                tell(*cells.get())
            yield from (future.result() for future in ended)


def _told(tell: Callable, notebook: Path, *given: Any) -> dict:
    """Run a notebook; tell((its name, cell_index)) as its cells begin."""
    return run_notebook(notebook, *given, on_cell=lambda cell, cell_index: tell((notebook.stem, cell_index)))


def _share_cores(workers: int) -> None:
    """Kernels that this process starts use so many threads that all workers' kernels have room."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // workers)))


def record(records: Iterable[dict], out: Path) -> None:
    """Add records to `out/runs.json`, one a notebook; written whole or not at all."""
    with locked(out / ".runs.lock"):
        kept = {r["notebook"]: r for r in read_records(out)} | {r["notebook"]: r for r in records}
        write_whole(out / RUNS, json.dumps([kept[name] for name in sorted(kept)], indent=1))


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def read_records(out: Path = EXECUTED) -> list[dict]:
    """The last run of each notebook under `out`; [] where none has run."""
    path = out / RUNS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
