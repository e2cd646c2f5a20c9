"""Keyword editor, damage explorer and own voice in JupyterLab: each control moves what mer_kit itself computes."""

from __future__ import annotations

import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from small_experiments import experiments_on
from small_explorers import ASKED, PLANTED, planted
from small_notebook import KERNEL
from test_lab_in_browser import run_in_lab

from mer_kit.evaluation.metrics import scores
from mer_kit.training.edited_labels import EditedLabels
from mer_kit.training.own_recording import hear
from mer_kit.training.restore import restored
from mer_kit.training.robustness import damage

SETUP = """import sys
sys.path[:0] = {tests!r}
from small_experiments import experiments_on
from small_explorers import ASKED, planted
from mer_kit.training.restore import restored
slice_only = experiments_on(planted())
slice_only.__enter__()
models = {{name: restored(e, {ledger!r}, progress=False, device="cpu") for name, e in ASKED.items()}}"""
CELLS = ("from mer_kit.widgets import damage_explorer, keyword_editor, own_voice\nkeyword_editor(models['LE-MER'])",
         "damage_explorer(models, utterance={planted!r})", "own_voice(models['LSGMER'])")
VALUES = "(e, axis) => (e._fullData ?? []).map(t => Array.from(t[axis]))"
PATIENCE = 30.0  # s for a figure to be drawn


@pytest.fixture(scope="module")
def models(ledger):
    with experiments_on(planted()):
        yield {name: restored(e, ledger, progress=False, device="cpu") for name, e in ASKED.items()}


@pytest.fixture
def opened(lab, watch, models, ledger):
    """The page with all three on it, each in an output of its own."""
    setup = SETUP.format(tests=[str(Path(__file__).parents[1])], ledger=str(ledger))
    cells = [new_code_cell(source) for source in (setup, *(c.format(planted=PLANTED) for c in CELLS))]
    path = lab.root / "explorers.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata=KERNEL), path)
    watched, panel = run_in_lab(lab, watch, path)
    watched.page.set_default_timeout(60_000)
    watched.page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot').length >= 4", timeout=60_000)
    yield watched, [panel.locator(".jp-CodeCell").nth(i) for i in (1, 2, 3)]
    watched.screenshot("lab-explorers-moved")
    assert not watched.outside and not watched.complaints
    assert watched.page.evaluate("window.ran") is None and watched.page.locator("img[onerror]").count() == 0


def test_each_control_moves_what_mer_kit_computes(opened, models, tmp_path):
    watched, (editor, explorer, voice) = opened
    edit_keywords(watched, editor, models["LE-MER"])
    do_damage(explorer, models)
    upload_a_voice(watched.page, voice, models["LSGMER"], tmp_path)


def edit_keywords(watched, editor, trained):
    edited = EditedLabels(trained)
    words = edited.words | {"sad": edited.words["happy"], "happy": ("tears", "alone")}
    for c in ("sad", "happy"):
        editor.get_by_label(c, exact=True).fill(", ".join(words[c]))
        editor.get_by_label(c, exact=True).press("Enter")
    for retrain, mode in ((False, "labels moved"), (True, "labels moved, head trained again")):
        editor.get_by_label("then", exact=True).select_option(mode)
        model = edited.model(words, retrain)
        said, learnt = edited.said(model), edited.said(edited.model(edited.words, retrain))
        for row, reader in enumerate(("predicted", "by_words"), 1):
            for column, table in ((1, said), (2, learnt)):
                right = scores(table["truth"], table[reader], edited.classes)["WA"]
                cell = editor.locator("table[aria-label=accuracy] tr").nth(row).locator("td").nth(column)
                cell.filter(has_text=f"{100 * right:.1f} %").wait_for()
        plot, looks = editor.locator(".js-plotly-plot").first, edited.looks(model, trained.fold.test[0])
        assert_drawn(plot, "y", looks.T.tolist())
    editor.get_by_label("utterance", exact=True).select_option(index=trained.fold.test.index(PLANTED))
    editor.locator(".xtick", has_text="<img").wait_for()
    watched.screenshot("lab-keyword-editor")


def do_damage(explorer, models):
    def press(name: str, key: str, times: int) -> None:
        handle = explorer.locator(".widget-hslider", has_text=name).locator(".noUi-handle")
        handle.focus()
        for _ in range(times):
            handle.press(key)

    press("noise, SNR", "ArrowRight", 4)
    press("words lost", "End", 1)
    press("turns before", "ArrowRight", 1)
    assert_damaged(explorer, models, damage(10, words_lost=1.0) | {"history_turns": 0})
    explorer.get_by_label("sound muted").check()
    assert_damaged(explorer, models, damage(muted=True, words_lost=1.0) | {"history_turns": 0})
    press("words lost", "Home", 1)
    explorer.get_by_text("words read: “<img src=x").wait_for()


def assert_damaged(explorer, models, given):
    for name, model in models.items():
        answer = model.predict([PLANTED], **given).iloc[0]
        row = explorer.locator("table[aria-label=answers] tr", has_text=f"{name}, damaged")
        row.filter(has_text=f"{answer['p_' + answer['predicted']]:.3f}").wait_for()
        if "gate_audio" in answer:
            row.filter(has_text=f"{answer['gate_audio']:.3f}").wait_for()
    classes = models["LE-MER"].stage.corpus.label_set.classes
    said = [[model.predict([PLANTED], **how).iloc[0][f"p_{c}"] for model in models.values() for how in ({}, given)]
            for c in classes]
    assert_drawn(explorer.locator(".js-plotly-plot").first, "x", said)


def assert_drawn(plot, axis: str, expected: list[list[float]]) -> None:
    """A plot's first traces hold these values, once it is drawn."""
    deadline = time.monotonic() + PATIENCE
    while (drawn := plot.evaluate(VALUES, axis)[: len(expected)]) != approx(expected) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert drawn == approx(expected)


def approx(rows: list[list[float]]) -> list:
    return [pytest.approx(row, abs=1e-4) for row in rows]


def upload_a_voice(page, voice, trained, tmp_path):
    told = trained.stage.corpus[trained.fold.test[3]]
    (tmp_path / "bad.wav").write_bytes(b"<img src=x onerror='window.ran=1'>")
    for file, said in ((tmp_path / "bad.wav", "not readable audio"), (told.audio, "The model says")):
        with page.expect_file_chooser() as chosen:
            voice.get_by_role("button", name="sound file").click()
        chosen.value.set_files(file)
        voice.get_by_text(said).wait_for()
    field = voice.get_by_label("words said")
    field.fill(told.text)
    field.press("Enter")
    voice.get_by_text("Words read").wait_for()
    heard = hear(trained, told.audio.read_bytes(), told.text)
    cells = voice.locator("table[aria-label=probabilities] td:nth-child(2)")
    assert [float(cell) for cell in cells.all_inner_texts()] == pytest.approx(heard.p.tolist(), abs=6e-4)
    page.wait_for_function("n => document.querySelectorAll('.js-plotly-plot').length >= n", arg=8)
    voice.scroll_into_view_if_needed()
