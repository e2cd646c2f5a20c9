"""Keyword editor, damage explorer, own voice, a question in JupyterLab: controls move what mer_kit itself computes."""

from __future__ import annotations

import pytest
from live_page import assert_drawn
from small_explorers import PLANTED

from mer_kit.evaluation.metrics import scores
from mer_kit.training.edited_labels import EditedLabels
from mer_kit.training.own_recording import hear
from mer_kit.training.robustness import damage


def test_edited_keywords_move_accuracy_and_attention_to_what_mer_kit_computes(explorers, planted_runs):
    (watched, editor), trained = explorers.page("keyword_editor"), planted_runs["LE-MER"]
    edited = EditedLabels(trained)
    words = edited.words | {"sad": edited.words["happy"], "happy": ("tears", "alone")}
    editor.get_by_label("utterance", exact=True).select_option(index=0)
    editor.get_by_role("button", name="keywords as learnt").click()
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
        looks = edited.looks(model, trained.fold.test[0])
        assert_drawn(editor.locator(".js-plotly-plot").first, "y", looks.T)
    editor.get_by_label("utterance", exact=True).select_option(index=trained.fold.test.index(PLANTED))
    editor.locator(".xtick", has_text="<img").wait_for()
    watched.screenshot("lab-keyword-editor")


def test_damage_moves_probabilities_and_gates_to_what_mer_kit_computes(explorers, planted_runs):
    watched, explorer = explorers.page("damage_explorer")

    def press(name: str, *keys: str) -> None:
        for key in keys:
            explorer.get_by_role("slider", name=name).press(key)

    explorer.get_by_label("utterance", exact=True).select_option(index=planted_runs["LE-MER"].fold.test.index(PLANTED))
    explorer.get_by_label("sound muted").uncheck()
    press("noise, SNR", "Home", *["ArrowRight"] * 4)
    press("words lost", "End")
    press("turns before", "Home", "ArrowRight")
    assert_damaged(explorer, planted_runs, damage(10, words_lost=1.0) | {"history_turns": 0})
    explorer.get_by_label("sound muted").check()
    assert_damaged(explorer, planted_runs, damage(muted=True, words_lost=1.0) | {"history_turns": 0})
    press("words lost", "Home")
    explorer.get_by_text("words read: “<img src=x").wait_for()
    watched.screenshot("lab-damage-explorer")


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


def test_an_uploaded_voice_is_answered_as_mer_kit_hears_it(explorers, planted_runs, tmp_path):
    (watched, voice), trained = explorers.page("own_voice"), planted_runs["LSGMER"]
    told = trained.stage.corpus[trained.fold.test[3]]
    (tmp_path / "bad.wav").write_bytes(b"<img src=x onerror='window.ran=1'>")
    for file, said in ((tmp_path / "bad.wav", "not readable audio"), (told.audio, "The model says")):
        with watched.page.expect_file_chooser() as chosen:
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
    voice.locator(".js-plotly-plot").nth(3).locator(".main-svg").first.wait_for()
    watched.screenshot("lab-own-voice")


def test_the_right_number_is_marked_right_and_another_is_not(explorers, planted_runs):
    _, question = explorers.page("Question")
    classes = planted_runs["LE-MER"].stage.corpus.label_set.classes
    for number, mark in ((len(classes) + 1, "✗ not yet"), (len(classes), "✓ right")):
        question.locator("input").fill(str(number))
        question.locator("input").press("Enter")
        question.get_by_text(mark).wait_for()
