"""Each notebook in JupyterLab in a real browser: all cells run, plots are drawn, clips have sound, questions mark,
nothing is said on standard error, nothing leaves."""

from __future__ import annotations

import re

import pytest
from live_page import run_in_lab

from mer_kit.batch_runs import NOTEBOOKS

LONGEST_FIRST = sorted(NOTEBOOKS.glob("*.ipynb"), key=lambda path: -path.stat().st_size)  # no worker waits at the end
CELLS = "window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells"
PLOTS = f"""() => {CELLS}.flatMap(c => c.outputs ?? [])
    .filter(o => o.data && o.data['application/vnd.plotly.v1+json']).length"""
CLIPS = ".jp-RenderedHTML audio"
CLIPS_GIVEN = f"""() => {CELLS}.flatMap(c => c.outputs ?? [])
    .flatMap(o => [o.data?.['text/html'] ?? ''].flat().join('').match(/<audio/g) ?? []).length"""


@pytest.mark.parametrize("notebook", LONGEST_FIRST, ids=lambda path: path.stem)
def test_a_notebook_runs_to_its_end(lab, watch, notebook):
    watched, panel = run_in_lab(lab, watch, notebook)
    page = watched.page
    page.wait_for_function("n => document.querySelectorAll('.jp-OutputArea .js-plotly-plot').length >= n",
                           arg=page.evaluate(PLOTS))
    widths = panel.locator(".jp-RenderedImage img").evaluate_all("es => es.map(e => e.naturalWidth)")
    assert all(width > 0 for width in widths)
    for question in panel.locator(".jp-OutputArea .mer-question").all():
        assert_it_marks(question)
    assert panel.locator(CLIPS).count() == page.evaluate(CLIPS_GIVEN)
    page.wait_for_function("clips => [...document.querySelectorAll(clips)].every(a => a.duration > 0.1)", arg=CLIPS)
    watched.screenshot(f"lab-{notebook.stem}-answered", whole_notebook=True)
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


def test_a_wrong_token_is_refused(lab, watch):
    page = watch(lab.base).page
    answer = page.goto(f"{lab.base}/api/contents?token=wrong")
    assert answer.status == 403
