"""Jobs run side by side on Dask: finished ones are kept, whatever was killed, and a failed one stops no other.

A job is finished once its record, `<name>.json`, stands beside its executed copy: it is written last, and whole. Two
processes that want one job do it once: the later waits for the lock, which ends with the process that holds it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from mer_kit.batch_runs import RUNS, record_of, run_notebook, write_whole
from mer_kit.errors import BadInput, Missing
from mer_kit.grid.file import Job
from mer_kit.locks import locked
from mer_kit.machine import workers_for

if TYPE_CHECKING:
    from distributed import Client

TABLE = "grid.parquet"
TYPES = {"string": {str}, "boolean": {bool}, "Int64": {int}, "Float64": {int, float}}  # of the table's columns
FOREVER = 30 * 24 * 3600  # s: the time left is told from all jobs done so far
GONE = "start it and its workers again, and repeat the command: what is finished is kept"


def run_grid(jobs: Sequence[Job], out: Path, workers: int = 0, scheduler: str = "", cell_timeout: int | None = None
             ) -> tuple[list[dict], int]:
    """Run what is not finished, or failed before; the records of all jobs, in their order, and how many were run now.

    workers: processes on this machine, one notebook and one thread each; 0: as many as cores and memory bear.
    scheduler: of a Dask cluster that runs, tcp://host:port or the path of its --scheduler-file; it must see `out`.
    cell_timeout: s, for any one cell. The records also stand in `out`/runs.json, for the report.
    """
    from rich import progress as bars

    if workers and scheduler:
        raise BadInput(f"got workers={workers} and a scheduler; start workers of a scheduler with `dask worker`")
    out.mkdir(parents=True, exist_ok=True)
    records = {job.name: record for job in jobs if (record := finished(job, out))}
    todo = [job for job in jobs if job.name not in records]
    columns = (bars.BarColumn(), bars.MofNCompleteColumn(), "runs,", "{task.description}", bars.TimeElapsedColumn(),
               "so far,", bars.TimeRemainingColumn(), "left")
    if todo:
        with (cluster(workers or workers_for(len(todo)), scheduler) as client,
              bars.Progress(*columns, speed_estimate_period=FOREVER) as bar):
            task = bar.add_task(_said(client, 0), total=len(jobs), completed=len(records))
            failed = 0
            for record in _run(client, todo, out, cell_timeout):
                records[record["notebook"]] = record
                failed += record["status"] != "ok"
                bar.update(task, advance=1, description=_said(client, failed))
    ordered = [records[job.name] for job in jobs]
    write_whole(out / RUNS, json.dumps(ordered, indent=1))
    return ordered, len(todo)


def finished(job: Job, out: Path) -> dict | None:
    """The record of a job that ran to its end under `out`; None where it did not, or failed."""
    path = out / f"{job.name}.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return record if record.get("status") == "ok" and (out / f"{job.name}.ipynb").is_file() else None


def run_job(job: Job, out: Path, cell_timeout: int | None = None) -> dict:
    """Run a job and keep its record, or read what another process finished meanwhile: what a worker does."""
    with locked(out / f".{job.name}.lock"):
        if record := finished(job, out):
            return record
        record = run_notebook(job.notebook, job.parameters, out, cell_timeout, name=job.name) | {"varied": job.varied}
        write_whole(out / f"{job.name}.json", json.dumps(record, indent=1))
        return record


def _run(client: Client, jobs: Sequence[Job], out: Path, cell_timeout: int | None) -> Iterator[dict]:
    """The records of jobs as they end; the record of one that took its worker along says so."""
    from distributed import as_completed

    jobs_of = {client.submit(run_job, job, out.resolve(), cell_timeout, pure=False): job for job in jobs}
    for future in as_completed(jobs_of):
        if future.status == "finished":
            yield future.result()
        elif future.status == "error":
            job, error = jobs_of[future], future.exception()
            shutil.copyfile(job.notebook, out / f"{job.name}.ipynb")  # for the report: what was to be run
            yield record_of(job.notebook, job.parameters, job.name, datetime.now().astimezone(),
                            error=f"{type(error).__name__}: {error}") | {"varied": job.varied}
        else:
            raise Missing(f"the scheduler is gone; {GONE}")


@contextmanager
def cluster(workers: int, scheduler: str = "") -> Iterator[Client]:
    """A client of the scheduler that is named, else of a cluster of so many processes of this machine."""
    import dask
    from distributed import Client, LocalCluster

    if scheduler:
        where = {"address": scheduler} if "://" in scheduler else {"scheduler_file": scheduler}
        try:
            client = Client(**where, timeout="20s")
        except (OSError, ValueError) as error:
            raise Missing(f"no Dask scheduler answers at {scheduler} ({error}); start one with `dask scheduler`, or "
                          "leave --scheduler out") from None
        with client:
            yield client
        return
    with (dask.config.set({"distributed.scheduler.worker-saturation": 1.0,  # who dies takes no waiting job along
                           "distributed.comm.timeouts.connect": "300s"}),  # a crowded machine starts them slowly
          LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, memory_limit=0,
                       dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL) as local,
          Client(local) as client):
        local.adapt(minimum=workers, maximum=workers)  # also where one could not be started again
        yield client


def _said(client: Client, failed: int) -> str:
    return f"{failed} failed, {len(client.nthreads())} workers,"


def table(records: Sequence[dict], out: Path) -> pd.DataFrame:
    """A row a run, also kept as `out`/grid.parquet.

    Columns: run (its page and copy are called so), notebook, status, error, cell (number in the copy), seconds,
    started, then each parameter and each value that a notebook `found`, under its own name.
    """
    first = ("run", "notebook", "status", "error", "cell", "seconds", "started")
    rows = [record["parameters"] | record["found"] | {name: record[name] for name in first[2:]}
            | {"run": record["notebook"], "notebook": record["notebook"].rpartition("-")[0]} for record in records]
    names = dict.fromkeys([*first, *(name for row in rows for name in row)])
    frame = pd.DataFrame({name: _column([row.get(name) for row in rows]) for name in names})
    frame.to_parquet(out / f".{TABLE}", index=False)
    os.replace(out / f".{TABLE}", out / TABLE)
    return frame


def _column(values: list) -> pd.Series:
    """Values of one type, some of them None, as that type; else texts as JSON: a parquet column holds one type."""
    kinds = {type(value) for value in values} - {type(None)}
    if dtype := next((dtype for dtype, types in TYPES.items() if kinds <= types), None):
        return pd.Series(values, dtype=dtype)
    return pd.Series([None if value is None else json.dumps(value) for value in values], dtype="string")
