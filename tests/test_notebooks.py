"""Every notebook: stored clean, one cell of literal parameters, no definitions, and runs to its end, small."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import nbformat
import pytest
from small_notebook import SMALLEST

from mer_kit.batch_runs import NOTEBOOKS, find_notebooks, parameters_of, plan, record, run_notebook

ALL = sorted(NOTEBOOKS.glob("*.ipynb"))
ASKED = re.findall(r"`(?:mer-kit run (\d\d) )?(-p [^`]+)`", (NOTEBOOKS / "README.md").read_text())  # "": as before
COURSE = [(next(number for number, _ in ASKED[i::-1] if number), given) for i, (_, given) in enumerate(ASKED)]
every_notebook = pytest.mark.parametrize("notebook", ALL, ids=lambda path: path.stem)


def code(notebook: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]


def without_magics(cell: nbformat.NotebookNode) -> ast.Module:
    return ast.parse("\n".join(line for line in cell.source.splitlines() if not line.startswith(("%", "!"))))


def test_names_are_ordered():
    assert all(re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem) for path in ALL)
    assert len({path.stem[:2] for path in ALL}) == len(ALL), "two notebooks have one number"


@every_notebook
def test_it_is_stored_clean(notebook):
    whole = nbformat.read(notebook, as_version=4)
    nbformat.validate(whole)
    assert whole.metadata["kernelspec"]["name"] == "python3" and "widgets" not in whole.metadata
    for cell in code(notebook):
        assert not cell.outputs and cell.execution_count is None
        assert "papermill" not in cell.metadata


@every_notebook
def test_it_has_one_cell_of_literal_parameters(notebook):
    (cell,) = [cell for cell in code(notebook) if "parameters" in cell.metadata.get("tags", [])]
    names = []
    for statement in ast.parse(cell.source).body:
        assert isinstance(statement, ast.Assign | ast.AnnAssign), f"no parameter: {ast.unparse(statement)}"
        target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
        ast.literal_eval(statement.value)
        names.append(target.id)
    assert names == list(parameters_of(notebook)), "papermill does not see every parameter"
    assert all(name.isupper() for name in names)


@every_notebook
def test_it_defines_nothing(notebook):
    for cell in code(notebook):
        kinds = {type(node) for node in ast.walk(without_magics(cell))}
        assert not kinds & {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef}, f"move to mer_kit:\n{cell.source}"


def test_what_makes_notebooks_small_is_a_parameter_of_some():
    assert set(SMALLEST) <= set().union(*map(parameters_of, ALL))


@every_notebook
def test_it_runs_to_its_end(notebook, tested, tmp_path):
    small = plan(ALL, SMALLEST | {"FIGURES_DIR": str(tmp_path), "LEDGER": str(tested / "ledger")})[notebook]
    ended = run_notebook(notebook, small, tested / "nb", cell_timeout=300)
    record([ended], tested / "nb")
    assert ended["status"] == "ok", ended["error"]
    for cell in code(tested / "nb" / notebook.name):
        said = "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stderr")
        assert not said, f"on standard error:\n{said}"


@pytest.mark.parametrize(("number", "given"), COURSE)
def test_a_course_names_parameters_that_a_notebook_has(number, given):
    ((_, asked),) = plan(find_notebooks([number]), pairs(given)).items()
    assert asked


@pytest.mark.slow
@pytest.mark.parametrize(("number", "given"), COURSE)
def test_a_courses_command_runs_to_its_end(number, given, tested, tmp_path):
    (notebook,) = find_notebooks([number])
    small = plan(ALL, SMALLEST | {"LEDGER": str(tested / "ledger")} | pairs(given))[notebook]
    ended = run_notebook(notebook, small, tmp_path, cell_timeout=300)
    assert ended["status"] == "ok", ended["error"]


def pairs(given: str) -> dict[str, str]:
    """`-p NAME VALUE -p …` as a dict."""
    words = shlex.split(given)
    return dict(zip(words[1::3], words[2::3], strict=True))
