"""Headless notebooks: names and values refused early, failures named, runs recorded."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest
from small_notebook import write

from mer_kit import batch_runs
from mer_kit.batch_runs import find_notebooks, parameters_of, plan, read_records, read_value, run_notebooks
from mer_kit.errors import BadInput, Missing
from mer_kit.machine import cores


def outputs(copy: Path) -> str:
    cells = nbformat.read(copy, as_version=4).cells
    return "".join(o.get("text", "") for c in cells if c.cell_type == "code" for o in c.outputs)


def test_notebooks_are_found_by_number_name_and_path(tmp_path):
    first, second = write(tmp_path, "00_first"), write(tmp_path, "01_second")
    assert find_notebooks([], tmp_path) == [first, second]
    assert find_notebooks(["01", "00_first", str(second)], tmp_path) == [second, first, second]
    with pytest.raises(BadInput, match=r"unknown notebook '01_secnd'.*did you mean '01_second'"):
        find_notebooks(["01_secnd"], tmp_path)
    with pytest.raises(Missing, match="clone of mer_kit"):
        find_notebooks([], tmp_path / "nowhere")
    assert find_notebooks([second], tmp_path / "nowhere") == [second]


def test_a_parameter_has_a_type_and_a_default(tmp_path):
    assert parameters_of(write(tmp_path, "00_a")) == {
        "CORPUS": ("str", "duet"), "TOP_K": ("int", 9), "RATE": ("float", 0.5), "EMBED_MEDIA": ("bool", False),
        "LAYERS": ("list", [1, 2])}


def test_computed_parameters_are_refused(tmp_path):
    with pytest.raises(BadInput, match=r"00_a.ipynb: .*parameters are literals"):
        parameters_of(write(tmp_path, "00_a", parameters="TOP_K = 3 * LAYERS"))


@pytest.mark.parametrize(("value", "kind", "read"), [
    ("3", "int", 3), ("-3", "int", -3), ("3", "float", 3.0), ("1e-5", "float", 1e-5), ("true", "bool", True),
    ("False", "bool", False), ("3", "str", "3"), ("a b", "str", "a b"), ("[1]", "list", [1]), (3, "int", 3),
    (2, "float", 2.0), ("", "str", "")])
def test_values_are_read_by_their_type(value, kind, read):
    got = read_value("X", value, kind)
    assert got == read and type(got) is type(read)


@pytest.mark.parametrize(("value", "kind"), [
    ("three", "int"), ("3.5", "int"), ("yes", "bool"), ("1", "bool"), ("", "float"), (3, "str"), (True, "int"),
    ("__import__('os')", "int"), ("None", "int"), (1, "bool"), ("{[]: 1}", "list"), ("-" * 9_000 + "1", "int")])
def test_ill_typed_values_are_refused(value, kind):
    with pytest.raises(BadInput, match=f"parameter X is of type {kind}"):
        read_value("X", value, kind)


def test_unknown_parameters_are_refused_before_any_kernel_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_runs, "run_notebook", lambda *_: pytest.fail("a kernel was started"))
    with pytest.raises(BadInput, match=r"unknown parameter of 00_a 'TOPK'.*LAYERS.*did you mean 'TOP_K'"):
        run_notebooks([write(tmp_path, "00_a")], {"TOPK": "3"}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_each_notebook_gets_the_parameters_that_it_has(tmp_path):
    both, one = write(tmp_path, "00_a"), write(tmp_path, "01_b", parameters="CORPUS = 'duet'")
    assert plan([both, one], {"CORPUS": "nemo", "TOP_K": "3"}) == {
        both: {"CORPUS": "nemo", "TOP_K": 3}, one: {"CORPUS": "nemo"}}
    assert run_notebooks([], {"TOP_K": "3"}, tmp_path / "out") == []


def test_a_failed_notebook_is_named_and_the_others_run(tmp_path):
    bad = write(tmp_path, "00_bad", "x = 1", "1 / 0", "print('never')")
    good = write(tmp_path, "01_good", "import sys, os; print(sys.executable, TOP_K, os.getcwd())")
    failed, ok = run_notebooks([bad, good], {"TOP_K": "3"}, tmp_path / "out")
    assert failed["status"] == "failed" and "(1 / 0): ZeroDivisionError: division by zero" in failed["error"]
    number = int(failed["error"].split()[1])  # counts in the executed copy, where the reader looks it up
    assert nbformat.read(tmp_path / "out/00_bad.ipynb", as_version=4).cells[number - 1].source == "1 / 0"
    assert ok["status"] == "ok" and ok["error"] is None and ok["seconds"] > 0
    assert ok["parameters"] == {"CORPUS": "duet", "TOP_K": 3, "RATE": 0.5, "EMBED_MEDIA": False, "LAYERS": [1, 2]}
    assert outputs(tmp_path / "out/01_good.ipynb").split() == [sys.executable, "3", str(tmp_path)]
    assert [r["notebook"] for r in read_records(tmp_path / "out")] == ["00_bad", "01_good"]


@pytest.mark.parametrize(("source", "error"), [
    ("import time; time.sleep(60)", "CellTimeoutError"), ("import os; os._exit(1)", "DeadKernelError")])
def test_hanging_cells_and_dead_kernels_are_failures(tmp_path, source, error):
    notebook = write(tmp_path, "00_a", source)
    (ended,) = run_notebooks([notebook], {}, tmp_path / "out", cell_timeout=1 if "sleep" in source else None)
    assert ended["status"] == "failed"
    assert ended["error"].startswith(f"cell 3 ({source}): {error}")


def test_another_kernel_of_the_same_name_is_not_used(tmp_path, monkeypatch):
    spec = tmp_path / "jupyter/kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["/bin/false"], "display_name": "other", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    (ended,) = run_notebooks([write(tmp_path, "00_a", "print(1)")], {}, tmp_path / "out")
    assert ended["status"] == "ok", ended["error"]


def test_a_later_run_replaces_the_earlier_record(tmp_path):
    for seconds in (1, 2):
        batch_runs.record([{"notebook": "00_a", "seconds": seconds}], tmp_path)
    batch_runs.record([{"notebook": "01_b", "seconds": 3}], tmp_path)
    assert [r["seconds"] for r in read_records(tmp_path)] == [2, 3]
    assert {p.name for p in tmp_path.iterdir()} == {"runs.json", ".runs.lock"}
    assert read_records(tmp_path / "nowhere") == []


def test_widget_state_is_dropped_from_the_executed_copy(tmp_path):
    notebook = write(tmp_path, "00_a", "import ipywidgets; ipywidgets.IntSlider()")
    assert run_notebooks([notebook], {}, tmp_path / "out")[0]["status"] == "ok"
    assert "widgets" not in nbformat.read(tmp_path / "out/00_a.ipynb", as_version=4).metadata




def test_notebooks_side_by_side_share_the_cores_and_keep_the_order_asked_for(tmp_path):
    """The first ends only when the last has begun; a failed one between them stops neither."""
    waits = "import os, pathlib, time\nwhile not pathlib.Path('mark').exists(): time.sleep(0.1)"
    notebooks = [write(tmp_path, "00_waits", waits, "print('threads', os.environ['OMP_NUM_THREADS'])"),
                 write(tmp_path, "01_fails", "1 / 0"),
                 write(tmp_path, "02_marks", "import pathlib; pathlib.Path('mark').touch()")]
    records = run_notebooks(notebooks, {"TOP_K": "3"}, tmp_path / "out", 60, workers=2)
    assert [(r["notebook"], r["status"]) for r in records] == [
        ("00_waits", "ok"), ("01_fails", "failed"), ("02_marks", "ok")]
    assert read_records(tmp_path / "out") == records and "ZeroDivision" in records[1]["error"]
    threads = os.environ.get("OMP_NUM_THREADS") or max(1, cores() // 2)
    assert f"threads {threads}" in outputs(tmp_path / "out/00_waits.ipynb")
