"""The keyword editor's round trip: how long from an edited word to the accuracy, figures and sentence that follow.

    python benchmarks/keyword_editor.py --edits 10

A LE-MER of duet's first fold is read from the ledger, or trained where it is not there (not counted). Each edit swaps
a keyword of one class, as Enter in its field does. In the kernel it ends when all outputs of the widget hold the
answer; in JupyterLab, in the Chromium of the browser tests, at the last change of what is seen.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import nbformat
import typer
from measure import HERE, keep
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import sync_playwright

from mer_kit.install import ROOT
from mer_kit.machine import find_chromium
from mer_kit.training.experiments import Experiment
from mer_kit.training.restore import restored
from mer_kit.widgets.keyword_editor import KeywordEditor

OUT = HERE / "keyword_editor.json"
CELL = """from mer_kit.training.experiments import Experiment
from mer_kit.training.restore import restored
from mer_kit.widgets import keyword_editor
keyword_editor(restored(Experiment(epochs={epochs}), {ledger!r}, progress=False, device="cpu"))"""
STILL = 5000  # ms without a change, after which nothing more is expected
BEGIN = """([shown, still]) => {
    const began = performance.now();
    window.answered = new Promise(resolve => {
        let timer;
        const seen = new MutationObserver(() => {
            const took = performance.now() - began;
            clearTimeout(timer);
            timer = setTimeout(() => { seen.disconnect(); resolve(took / 1000); }, still);
        });
        seen.observe(shown, {subtree: true, childList: true, attributes: true, characterData: true});
    });
}"""


def in_kernel(editor: KeywordEditor, words: Sequence[str]) -> list[float]:
    """Put each word in place of the first one of the first class: seconds until all outputs hold the answer."""
    field, taken = next(iter(editor.words.values())), []
    for word in words:
        begun = time.perf_counter()
        field.value = ", ".join([word, *field.value.split(", ")[1:]])
        taken.append(time.perf_counter() - begun)
    return taken


def in_browser(words: Sequence[str], ledger: Path, epochs: int | None) -> list[float]:
    """The same in JupyterLab: seconds from Enter to the last change of what is seen."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/browser")]
    from live_page import run_in_lab
    from running_lab import FLAGS, HEIGHT, WIDTH, Watched, running_lab
    from small_notebook import KERNEL

    with (tempfile.TemporaryDirectory() as home, running_lab(Path(home), Path(home) / "jupyter") as lab,
          sync_playwright() as driver, driver.chromium.launch(executable_path=find_chromium(), args=FLAGS) as chromium):
        path, taken = lab.root / "editor.ipynb", []
        cell = new_code_cell(CELL.format(epochs=epochs, ledger=str(ledger)))
        nbformat.write(new_notebook(cells=[cell], metadata=KERNEL), path)
        page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        _, panel = run_in_lab(lab, lambda *_: Watched(page), path)
        shown = panel.locator(".jp-OutputArea").first
        shown.locator(".js-plotly-plot").nth(1).locator(".main-svg").first.wait_for()
        page.wait_for_timeout(STILL)
        field = shown.locator("input[type=text]").first
        for word in words:
            field.fill(", ".join([word, *field.input_value().split(", ")[1:]]))
            page.evaluate(BEGIN, [shown.element_handle(), STILL])
            field.press("Enter")
            taken.append(page.evaluate("window.answered"))
        return taken


def row(what: str, seconds: Sequence[float], goal: str = "") -> dict:
    """A row of the table: the median of some edits, and the slowest."""
    slowest = f" (slowest {max(seconds):.2f})" if len(seconds) > 1 else ""
    return {"what": what, "figure": f"{statistics.median(seconds):.2f} s{slowest}", "goal": goal,
            "seconds": [round(s, 3) for s in seconds]}


def main(edits: int = 10, ledger: Path = ROOT / "build/runs", epochs: int = 0,
         out: Annotated[Path, typer.Option(help="Where the figures are kept.")] = OUT) -> None:
    """Time edits of one class's keywords. epochs: of a smaller run; 0: the preset's."""
    trained = restored(Experiment(epochs=epochs or None), ledger, progress=False, device="cpu")
    begun = time.perf_counter()
    editor = KeywordEditor(trained)
    opened = time.perf_counter() - begun
    known = sorted({word for own in editor.edited.words.values() for word in own} - {""})
    words = [known[i % len(known)] for i in range(1, edits + 1)]
    rows = [row(f"the keyword editor opens, {len(trained.fold.test)} test utterances of duet", [opened]),
            row("an edited keyword, until its answer is there in the kernel", in_kernel(editor, words))]
    editor.mode.value = True
    rows.append(row("the same, the head trained again", in_kernel(editor, words)))
    seen = in_browser(words, ledger.resolve(), epochs or None)
    keep(out, [*rows, row("an edited keyword, until it is seen in JupyterLab", seen, goal="≤ 2 s")])


if __name__ == "__main__":
    typer.run(main)
