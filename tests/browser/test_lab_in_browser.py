"""Each notebook in JupyterLab in a real browser: all cells run, nothing is said on standard error, nothing leaves."""

from __future__ import annotations

import json
import re

import pytest

from mer_kit.batch_runs import NOTEBOOKS
from mer_kit.corpora import load_corpus

READY = """async () => {
    await window.jupyterapp.restored;
    const context = window.jupyterapp.shell.currentWidget.context;
    await context.ready;
    await context.sessionContext.ready;
}"""
RUN_ALL = "async () => await window.jupyterapp.commands.execute('notebook:run-all-cells')"
PLOTS = """() => window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells.flatMap(c => c.outputs ?? [])
    .filter(o => o.data && o.data['application/vnd.plotly.v1+json']).length"""


def run_in_lab(lab, watch, notebook):
    """Open a notebook and run all its cells: the watched page and the notebook's panel."""
    height = max(2400, 700 * len(json.loads(notebook.read_text())["cells"]))  # px; Lab renders only what is in view
    lab.stop_kernels()
    watched = watch(lab.base, lab.base.replace("http", "ws"), height=height)
    watched.page.goto(lab.url(notebook))
    panel = watched.page.locator(".jp-NotebookPanel")
    panel.wait_for(timeout=60_000)
    watched.page.evaluate(READY)
    ended = watched.page.evaluate(RUN_ALL)  # resolves when all have run; False on a cell's error
    watched.screenshot(f"lab-{notebook.stem}")
    said = panel.locator('[data-mime-type="application/vnd.jupyter.stderr"]')
    assert ended and said.count() == 0, said.all_inner_texts()
    return watched, panel


@pytest.mark.parametrize("notebook", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs_to_its_end(lab, watch, notebook):
    watched, panel = run_in_lab(lab, watch, notebook)
    page = watched.page
    page.wait_for_function("n => document.querySelectorAll('.jp-OutputArea .js-plotly-plot').length >= n",
                           arg=page.evaluate(PLOTS))
    widths = panel.locator(".jp-RenderedImage img").evaluate_all("es => es.map(e => e.naturalWidth)")
    assert all(width > 0 for width in widths)
    for question in panel.locator(".jp-OutputArea .mer-question").all():
        assert_it_marks(question)
    watched.screenshot(f"lab-{notebook.stem}-answered")
    assert not watched.outside


def assert_it_marks(question):
    """A wrong number is marked wrong; of all choices exactly one is marked right."""
    if question.locator("select").count():
        choices = question.locator("option").all_inner_texts()[1:]
        marks = []
        for choice in choices:
            question.locator("select").select_option(choice)
            question.get_by_text(re.compile("right|not yet")).wait_for()
            marks.append(question.get_by_text("✓ right").count())
            question.locator("select").select_option("choose …")
            question.get_by_text(re.compile("right|not yet")).wait_for(state="detached")
        assert sum(marks) == 1, dict(zip(choices, marks, strict=True))
    else:
        question.locator("input").fill("-1")
        question.locator("input").press("Enter")
        question.get_by_text("not yet").wait_for()


def test_the_number_that_mer_kit_computes_is_marked_right_and_clips_have_sound(lab, watch):
    watched, panel = run_in_lab(lab, watch, next(NOTEBOOKS.glob("00_*.ipynb")))
    frequent = load_corpus("duet").targets["label"].value_counts(normalize=True).max()
    question = panel.locator(".jp-OutputArea .mer-question").first
    question.locator("input").fill(f"{frequent:.2f}")
    question.locator("input").press("Enter")
    question.get_by_text("✓ right").wait_for()
    watched.page.wait_for_function("() => [...document.querySelectorAll('audio')].every(a => a.duration > 0.5)")
    assert panel.locator("audio").count() == 4


def test_a_wrong_token_is_refused(lab, watch):
    page = watch(lab.base).page
    answer = page.goto(f"{lab.base}/api/contents?token=wrong")
    assert answer.status == 403
