"""Grids: what a file asks for, what is kept, what is run again, and what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from small_notebook import write
from typer.testing import CliRunner

from mer_kit import machine
from mer_kit.batch_runs import TRAIN, find_notebooks, parameters_of, run_notebook
from mer_kit.cli import app
from mer_kit.errors import BadInput, Missing
from mer_kit.grid import jobs
from mer_kit.grid.file import MOST, read_grid
from mer_kit.grid.jobs import cluster, run_grid, table
from mer_kit.install import ROOT

FOLDS = 'CORPUS: str = "duet"\nFOLD: int = 0\nRATE: float = 0.5'


def file(folder: Path, text: str) -> Path:
    path = folder / "g.yaml"
    path.write_text(text.replace("HERE", str(folder)))
    return path


@pytest.fixture
def two(tmp_path):
    """A folder with a notebook that has FOLD, CORPUS and RATE, and one that has CORPUS alone."""
    write(tmp_path, "00_a", "1", parameters=FOLDS)
    write(tmp_path, "01_b", "2", parameters='CORPUS: str = "duet"')
    return tmp_path


def test_a_grid_is_every_combination_in_the_order_of_the_file(two):
    asked = read_grid(file(two, """
        notebooks: [HERE/00_a.ipynb, HERE/01_b.ipynb]
        parameters: {RATE: 1}
        grid: {CORPUS: [no, 08], FOLD: [0, 1, 0]}
        """))
    assert [(job.notebook.name, job.parameters) for job in asked] == [
        *(("00_a.ipynb", {"RATE": 1.0, "CORPUS": corpus, "FOLD": fold}) for corpus in ("no", "08") for fold in (0, 1)),
        ("01_b.ipynb", {"CORPUS": "no"}), ("01_b.ipynb", {"CORPUS": "08"})]
    assert asked[3].varied == {"CORPUS": "08", "FOLD": 1} and len({job.name for job in asked}) == 6
    assert isinstance(asked[0].parameters["RATE"], float) and asked[0].notebook.is_absolute()


def test_entries_follow_one_another_and_each_job_stands_once(two):
    one = "- notebooks: [HERE/00_a.ipynb]\n  grid: {FOLD: [%s]}\n"
    assert [job.parameters["FOLD"] for job in read_grid(file(two, one % "1, 2" + one % "2, 0"))] == [1, 2, 0]


def test_a_job_is_named_by_its_values_and_its_code(two):
    path = file(two, "notebooks: [HERE/00_a.ipynb]\ngrid: {FOLD: [3]}")
    (before,), (same,) = read_grid(path), read_grid(path)
    write(two, "00_a", "another", parameters=FOLDS)
    (after,) = read_grid(path)
    assert before.name == same.name != after.name and before.name.startswith("00_a-")


@pytest.mark.parametrize("name", ["models", "ablations"])
def test_the_grids_that_come_along_can_be_read(name):
    asked = read_grid(ROOT / f"notebooks/grid/{name}.yaml")
    assert len(asked) == {"models": 3 * 5 * 2, "ablations": 3 * 4 * 5}[name]
    assert {job.notebook for job in asked} == {TRAIN}


def test_the_notebook_of_one_training_is_clean_and_known_by_name():
    assert find_notebooks(["train"]) == [TRAIN] and TRAIN not in find_notebooks()
    cells = [cell for cell in nbformat.read(TRAIN, as_version=4).cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells)
    assert list(parameters_of(TRAIN)) == [line.split(":")[0] for line in cells[0].source.splitlines()]


A = "notebooks: [HERE/00_a.ipynb]\n"


@pytest.mark.parametrize(("text", "said"), [
    ("", "g.yaml is empty"), ("a: [", r"g.yaml:1: no YAML: .*expected"), ("x: &a 1\ny: *a", "an alias"),
    ("[" * 1000 + "]" * 1000, "nested too deeply"), ("[" * 40_000, "nested too deeply"),
    ('notebooks: ["\\UFFFFFFFF"]', "no YAML"), ("notebooks: ['\x00']", "no YAML"),
    ("4", "g.yaml:1: entry: Input should be a valid dict"), ("grid: {}", "g.yaml:1: notebooks: Field required"),
    ("notebooks: []", "at least 1 item"), ("notebooks: 04", r"g.yaml:1: notebooks: .*valid list; got '04'; expected"),
    (A + "grids: {FOLD: [0]}", r"g.yaml:2: unknown entry 'grids'.*did you mean 'grid'"),
    (A + "grid:\n  FOLD: 0", r"g.yaml:3: grid.FOLD: .*valid list"),
    (A + "grid: {FOLD: []}", r"grid.FOLD: .*at least 1"),
    (A + "grid:\n  RATE: [1]\n  FLOD: [0]", r"g.yaml:4: unknown parameter of 00_a 'FLOD'.*did you mean 'FOLD'"),
    (A + "grid:\n  FOLD: [0, x]", r"g.yaml:3: parameter FOLD is of type int; got 'x'"),
    (A + "parameters: {FOLD: [0]}", r"g.yaml:2: parameters.FOLD: .*valid string"),
    (A + "parameters: {FOLD: 0}\ngrid: {FOLD: [0]}", r"g.yaml:3: FOLD stands under parameters and under grid"),
    (A + "grid: {FOLD: [0]}\ngrid: {}", "g.yaml:3: 'grid' stands here twice"),
    (A + "[1]: 2", r"g.yaml:2: \['1'\] stands"),
    (A + 'parameters: {CORPUS: "a\\u001b"}', r"g.yaml:2: got 'a\\x1b'; expected a text of one line"),
    ("notebooks:\n- 00_nosuch", r"g.yaml:2: unknown notebook '00_nosuch'"),
    (A + f"grid: {{FOLD: {list(range(101))}, RATE: {list(range(100))}}}", rf"10,100 runs; expected up to {MOST:,}"),
])
def test_what_is_no_grid_is_refused_with_its_line(two, text, said):
    with pytest.raises(BadInput, match=said):
        read_grid(file(two, text))


def test_files_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(BadInput, match=r"cannot be read .* expected a grid file"):
            read_grid(path)
    (tmp_path / "g.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(BadInput, match="no YAML"):
        read_grid(tmp_path / "g.yaml")


def test_workers_are_as_many_as_cores_memory_and_jobs_bear(monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: range(8), raising=False)
    for free, asked, expected in ((40, 30, 8), (40, 3, 3), (11, 30, 2), (1, 30, 1)):
        monkeypatch.setattr("psutil.virtual_memory", lambda free=free: type("M", (), {"available": free * 2**30}))
        assert machine.workers_for(asked) == expected


def test_a_table_has_one_type_a_column(tmp_path):
    records = [{"notebook": f"0{n}_a-0", "status": "ok", "error": None, "cell": None, "seconds": 1.5, "started": "t",
                "parameters": {"FOLD": n, "MIXED": mixed}, "found": found}
               for n, (mixed, found) in enumerate([("a", {"WA": 0.5}), (2, {}), ([1], {"best": None})])]
    frame = table(records, tmp_path)
    kept = pd.read_parquet(tmp_path / "grid.parquet")
    pd.testing.assert_frame_equal(kept, frame, check_dtype=False)
    assert list(kept)[:3] == ["run", "notebook", "status"] and list(kept["notebook"]) == ["00_a", "01_a", "02_a"]
    assert [str(kept[name].dtype) for name in ("FOLD", "seconds", "WA", "MIXED")] == [
        "Int64", "Float64", "Float64", "string"]
    assert kept["FOLD"].sum() == 3 and kept["WA"].sum() == 0.5 and list(kept["MIXED"]) == ['"a"', "2", "[1]"]


def test_what_a_notebook_finds_is_in_its_record_and_its_sockets_are_its_own(tmp_path):
    notebook = write(tmp_path, "00_a", "from mer_kit.batch_runs import found\nfound(WA=0.25, best=3)",
                     "import os; found(said=os.environ['OMP_NUM_THREADS'], WA=0.5); assert not os.listdir('.').count("
                     "'kernel-ipc-1')")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    record = run_notebook(notebook, {}, tmp_path / "out", name="mine")
    assert record["error"] is None and record["found"] == {"WA": 0.5, "best": 3, "said": os.environ["OMP_NUM_THREADS"]}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.ipynb"] and record["notebook"] == "mine"


MAIN = "import sys; from mer_kit.cli import app; app(prog_name='mer-kit')"


def start(*words: object) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", MAIN, "grid", *map(str, words)], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)


def kill_once(run: subprocess.Popen, out: Path, finished: int) -> dict[str, float]:
    """SIGKILL once so many runs are finished; when each of them was."""
    while len(found := list(out.glob("*-*.json"))) < finished and run.poll() is None:
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    return {path.name: path.stat().st_mtime for path in found}


@pytest.fixture
def grid_of_three(tmp_path):
    """Three folds of a good notebook, one that takes its worker along the first time; one run of a bad notebook."""
    write(tmp_path, "00_a", "from pathlib import Path\nimport os, signal",
          "first = FOLD == 1 and not Path('been').exists()",
          "if first: Path('been').touch(); os.kill(os.getppid(), signal.SIGKILL)",
          "from mer_kit.batch_runs import found\nfound(WA=FOLD / 4)", parameters=FOLDS)
    write(tmp_path, "01_bad", "1 / 0", parameters='CORPUS: str = "duet"')
    return file(tmp_path, "notebooks: [HERE/00_a.ipynb, HERE/01_bad.ipynb]\ngrid: {FOLD: [0, 1, 2]}")


def check(frame: pd.DataFrame) -> None:
    """The table of `grid_of_three`, whatever happened on the way."""
    assert list(frame["status"]) == ["ok"] * 3 + ["failed"] and list(frame["WA"][:3]) == [0, 0.25, 0.5]
    assert list(frame["FOLD"][:3]) == [0, 1, 2] and list(frame["notebook"]) == ["00_a"] * 3 + ["01_bad"]
    assert frame["error"][3] == "cell 5 (1 / 0): ZeroDivisionError: division by zero" and frame["cell"][3] == 5


@pytest.mark.filterwarnings("ignore")
def test_a_killed_grid_ends_as_an_undisturbed_one_and_a_finished_one_runs_nothing(grid_of_three, tmp_path, monkeypatch):
    out = tmp_path / "out"
    before = kill_once(start(grid_of_three, "--workers", 2, "--out", out), out, 1)
    done = CliRunner().invoke(app, ["grid", str(grid_of_three), "--workers", "2", "--out", str(out)])
    assert done.exit_code == 1 and "failed: 01_bad-" in done.stderr, done.output
    check(pd.read_parquet(out / "grid.parquet"))
    kept = [name for name in before if json.loads((out / name).read_text())["status"] == "ok"]
    assert all((out / name).stat().st_mtime == before[name] for name in kept), "a finished run was run again"
    bad = next((out / "report").glob("01_bad-*.html")).read_text()
    assert "ZeroDivisionError" in bad and "Traceback" in bad and "FOLD 2" in (out / "report/index.html").read_text()
    assert not list(tmp_path.glob("kernel-ipc*")) and not list(tmp_path.glob("out/.*.ipynb"))
    grid_of_three.write_text(grid_of_three.read_text().replace(f", {tmp_path}/01_bad.ipynb", ""))
    monkeypatch.setattr(jobs, "cluster", lambda *_: pytest.fail("a cluster was started"))
    done = CliRunner().invoke(app, ["grid", str(grid_of_three), "--out", str(out)])
    assert done.exit_code == 0 and "3 runs: all finished before, nothing to run" in done.stdout, done.output


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_runs_is_used_killed_and_said_to_be_gone(grid_of_three, tmp_path):
    out, asked = tmp_path / "out", read_grid(grid_of_three)
    with cluster(2) as client:
        records, ran = run_grid(asked, out, scheduler=client.scheduler.address)
    assert ran == 4
    check(table(records, out))
    with pytest.raises(BadInput, match="start workers of a scheduler with `dask worker`"):
        run_grid(asked, out, workers=2, scheduler="tcp://127.0.0.1:1")
    with pytest.raises(Missing, match=r"no Dask scheduler answers at tcp://127.0.0.1:1 .*`dask scheduler`"):
        run_grid(asked, out, scheduler="tcp://127.0.0.1:1")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_grid_killed_again_and_again_ends_the_same(grid_of_three, tmp_path):
    out = tmp_path / "out"
    for finished in (0, 1, 2, 3):
        kill_once(start(grid_of_three, "--workers", 1, "--out", out), out, finished)
    records, _ = run_grid(read_grid(grid_of_three), out, workers=1)
    check(table(records, out))
