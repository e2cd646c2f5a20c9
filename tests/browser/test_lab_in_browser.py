"""Each notebook in JupyterLab in a real browser: all cells run, nothing is said on standard error, nothing leaves."""

from __future__ import annotations

import json

import pytest

from mer_kit.batch_runs import NOTEBOOKS

READY = """async () => {
    await window.jupyterapp.restored;
    const context = window.jupyterapp.shell.currentWidget.context;
    await context.ready;
    await context.sessionContext.ready;
}"""
RUN_ALL = "async () => await window.jupyterapp.commands.execute('notebook:run-all-cells')"
PLOTS = """() => window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells.flatMap(c => c.outputs ?? [])
    .filter(o => o.data && o.data['application/vnd.plotly.v1+json']).length"""


@pytest.mark.parametrize("notebook", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs_to_its_end(lab, watch, notebook):
    height = max(2400, 700 * len(json.loads(notebook.read_text())["cells"]))  # px; Lab renders only what is in view
    watched = watch(lab.base, lab.base.replace("http", "ws"), height=height)
    page = watched.page
    page.goto(lab.url(notebook))
    panel = page.locator(".jp-NotebookPanel")
    panel.wait_for(timeout=60_000)
    page.evaluate(READY)
    ended = page.evaluate(RUN_ALL)  # resolves when all have run; False on a cell's error
    watched.screenshot(f"lab-{notebook.stem}")
    said = panel.locator('[data-mime-type="application/vnd.jupyter.stderr"]')
    assert ended and said.count() == 0, said.all_inner_texts()
    page.wait_for_function("n => document.querySelectorAll('.jp-OutputArea .js-plotly-plot').length >= n",
                           arg=page.evaluate(PLOTS))
    widths = panel.locator(".jp-RenderedImage img").evaluate_all("es => es.map(e => e.naturalWidth)")
    assert all(width > 0 for width in widths)
    assert not watched.outside


def test_a_wrong_token_is_refused(lab, watch):
    page = watch(lab.base).page
    answer = page.goto(f"{lab.base}/api/contents?token=wrong")
    assert answer.status == 403
