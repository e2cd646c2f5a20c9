"""One JupyterLab page with every explorer and a question on it, over small runs in which one text is markup."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from small_explorers import PLANTED
from small_notebook import KERNEL

READY = """async () => {
    await window.jupyterapp.restored;
    const context = window.jupyterapp.shell.currentWidget.context;
    await context.ready;
    await context.sessionContext.ready;
}"""
RUN_ALL = "async () => await window.jupyterapp.commands.execute('notebook:run-all-cells')"
SETUP = f"""import sys
sys.path[:0] = [{str(Path(__file__).parents[1])!r}]
from small_experiments import experiments_on
from small_explorers import ASKED, HONEST, planted, spaces_of
from mer_kit import widgets
from mer_kit.training.restore import restored
slice_only = experiments_on(planted())
slice_only.__enter__()
LEDGER = {{ledger!r}}
models = {{{{name: restored(e, LEDGER, progress=False, device="cpu") for name, e in ASKED.items()}}}}
corpus = models["LE-MER"].stage.corpus"""
EXPLORERS = {  # name -> the one line that shows it, and how many figures it has
    "keyword_editor": ("(models['LE-MER'])", 2), "damage_explorer": (f"(models, utterance={PLANTED!r})", 2),
    "own_voice": ("(models['LSGMER'])", 0), "attention_explorer": (f"(models, corpus, {PLANTED!r})", 1),
    "embedding_explorer": ("(spaces_of(LEDGER), corpus)", 1),
    "protocol_switch": ("(HONEST, LEDGER, progress=False, device='cpu')", 2),
    "Question": ("('How many classes?', 4)", 0)}
VALUES = "(e, axis) => (e._fullData ?? []).map(t => Array.from(t[axis]))"
PATIENCE = 30.0  # s for a figure to be drawn


def run_in_lab(lab, watch, notebook):
    """Open a notebook and run all its cells: the watched page and the notebook's panel."""
    lab.stop_kernels()
    watched = watch(lab.base, lab.base.replace("http", "ws"))
    watched.page.goto(lab.url(notebook))
    panel = watched.page.locator(".jp-NotebookPanel")
    panel.wait_for(timeout=60_000)
    watched.page.evaluate(READY)
    ended = watched.page.evaluate(RUN_ALL)  # resolves when all have run; False on a cell's error
    said = panel.locator('[data-mime-type="application/vnd.jupyter.stderr"]')
    if not ended or said.count():
        watched.screenshot(f"lab-{notebook.stem}")
        pytest.fail("\n".join([f"{notebook.stem} ran to its end: {ended}", *said.all_inner_texts()]))
    return watched, panel


@dataclass
class Explorers:
    """The watched page, and by name the cell of each of EXPLORERS."""

    watched: object
    cells: dict[str, object]

    def page(self, name: str):
        """The watched page, with an explorer in view, and its cell."""
        self.cells[name].scroll_into_view_if_needed()
        return self.watched, self.cells[name]

    def assert_quiet(self) -> None:
        """Nothing left the machine, nothing complained, and no markup of a transcript became an element."""
        page = self.watched.page
        assert not self.watched.outside and not self.watched.complaints
        assert page.evaluate("window.ran") is None and page.locator("img[onerror]").count() == 0


def all_explorers(lab, watch, ledger) -> Explorers:
    """All of EXPLORERS on one page, drawn."""
    calls = [f"widgets.{name}{given}" for name, (given, _) in EXPLORERS.items()]
    path = lab.root / "explorers.ipynb"
    cells = map(new_code_cell, (SETUP.format(ledger=str(ledger)), *calls))
    nbformat.write(new_notebook(cells=list(cells), metadata=KERNEL), path)
    watched, panel = run_in_lab(lab, watch, path)
    watched.page.set_default_timeout(60_000)
    shown = {name: panel.locator(".jp-CodeCell").nth(i) for i, name in enumerate(EXPLORERS, 1)}
    for name, (_, figures) in EXPLORERS.items():
        for i in range(figures):
            shown[name].locator(".js-plotly-plot").nth(i).locator(".main-svg").first.wait_for()
    return Explorers(watched, shown)


def assert_drawn(plot, axis: str, expected: Sequence[Sequence], first: int = 0) -> None:
    """A plot's traces from `first` on hold these values (numbers, or a matrix of texts), once it is drawn."""
    deadline, part = time.monotonic() + PATIENCE, slice(first, first + len(expected))
    wanted = [pytest.approx(list(row), abs=1e-4) if np.ndim(row) == 1 else row for row in expected]
    while (drawn := plot.evaluate(VALUES, axis)[part]) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    assert drawn == wanted
