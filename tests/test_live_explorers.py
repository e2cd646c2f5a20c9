"""The keyword editor, the damage explorer and the protocol switch: what a control changes is what mer_kit computes."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile as sf
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from small_experiments import SMALL, experiments_on
from small_explorers import ASKED, NASTY, PLANTED, planted

from mer_kit.corpora.audio import AudioReader
from mer_kit.errors import BadInput
from mer_kit.evaluation.metrics import confusion, scores
from mer_kit.training.edited_labels import EditedLabels
from mer_kit.training.protocol_gap import protocol_gaps, under_protocols
from mer_kit.training.restore import restored
from mer_kit.training.robustness import damage
from mer_kit.widgets import damage_explorer, keyword_editor, protocol_switch


@pytest.fixture(scope="module", autouse=True)
def small():
    with experiments_on(planted()):
        yield


@pytest.fixture(scope="module")
def models(ledger):
    return {name: restored(e, ledger, progress=False, device="cpu") for name, e in ASKED.items()}


@pytest.fixture
def editor(models):
    return keyword_editor(models["LE-MER"])


@pytest.fixture
def explorer(models):
    return damage_explorer(models, utterance=PLANTED)


def every_control(widget):
    """The controls below a widget."""
    below = [c for child in getattr(widget, "children", ()) for c in every_control(child)]
    return below + [widget] * (hasattr(widget, "description") and hasattr(widget, "tabbable"))


def expected_of(models, words, retrain=False):
    edited = EditedLabels(models["LE-MER"])
    said = edited.said(edited.model(words, retrain))
    right = {r: scores(said["truth"], said[r], edited.classes)["WA"] for r in ("predicted", "by_words")}
    return edited, said, right


@pytest.mark.parametrize("retrain", [False, True])
def test_edited_keywords_show_the_accuracy_confusion_and_attention_that_follow(models, editor, retrain):
    words = editor.edited.words | {"sad": ("thunder", "rain"), "happy": editor.edited.words["sad"]}
    editor.mode.value = retrain
    editor.words["sad"].value = "thunder, rain"
    editor.words["happy"].value = "  ".join(words["happy"])
    edited, said, right = expected_of(models, words, retrain)
    assert editor.value == words
    assert {reader: editor.state[reader] for reader in right} == right
    for score in right.values():
        assert f"<b>{100 * score:.1f} %</b>" in editor.told.value
    counts = confusion(said["truth"], said["by_words"], edited.classes)
    assert np.array_equal(editor.drawn.children[1].data[0].text, counts)
    looks = edited.looks(edited.model(words, retrain), editor.utterance.value)
    for i in range(4):
        np.testing.assert_allclose(editor.drawn.children[0].data[i].y, looks[:, i], atol=1e-5)
    learnt = expected_of(models, edited.words, retrain)[2]
    assert {reader: editor.state[f"{reader} before"] for reader in learnt} == learnt
    assert ("head is trained again" in editor.told.value) == (not retrain)


def test_the_reader_of_the_confusion_can_be_changed(models, editor):
    editor.reader.value = "predicted"
    _, said, _ = expected_of(models, editor.edited.words)
    counts = confusion(said["truth"], said["predicted"], editor.edited.classes)
    assert np.array_equal(editor.drawn.children[1].data[0].text, counts)


def test_swapping_and_going_back_answer_once(editor, monkeypatch):
    before, answered, said = editor.state.copy(), [], EditedLabels.said
    monkeypatch.setattr(EditedLabels, "said", lambda *of: answered.append(of) or said(*of))
    editor.swap.value = ("angry", "sad")
    assert len(answered) == 1
    assert editor.value["angry"] == editor.edited.words["sad"] and editor.value["sad"] == editor.edited.words["angry"]
    assert editor.swap.value == ()
    editor.back.click()
    assert editor.value == editor.edited.words
    assert {n: v for n, v in editor.state.items() if n != "seconds"} == {
        n: v for n, v in before.items() if n != "seconds"}


def test_a_class_without_keywords_is_told_and_the_next_edit_works(editor):
    editor.words["sad"].value = ""
    assert "role=\"alert\"" in editor.told.value and "has no keyword" in editor.told.value
    editor.words["sad"].value = NASTY
    assert "no token" in editor.told.value and "<img" not in editor.told.value
    editor.words["sad"].value = "tears"
    assert "alert" not in editor.told.value and editor.value["sad"] == ("tears",)


def test_markup_in_a_transcript_is_text_in_the_editor(editor):
    editor.utterance.value = PLANTED
    assert editor.drawn.children[0].layout.xaxis.ticktext[0] == "&lt;img"
    assert "<img" not in editor.told.value + str(editor.drawn.children[0].layout)


def test_no_word_of_a_licensed_corpus_is_shown_unless_asked(models):
    trained = models["LE-MER"]
    corpus = replace(trained.stage.corpus, embeddable=False)
    stage = trained.stage
    stage.corpus, kept = corpus, stage.corpus
    try:
        closed, opened = (keyword_editor(trained, utterance=PLANTED, embed_media=e) for e in (False, True))
        hidden = damage_explorer({"a": trained}, utterance=PLANTED)
    finally:
        stage.corpus = kept
    assert "src=x" not in str(closed.utterance.options)
    first = [widget.drawn.children[0].layout.xaxis.ticktext[0] for widget in (closed, opened)]
    assert first == ["word 1", "&lt;img"]
    assert "words read" not in hidden.told.value and not hidden.sound.source


@pytest.mark.parametrize("setting", [
    {}, {"snr": 0}, {"muted": True}, {"lost": 0.5}, {"turns": 0}, {"snr": -5, "lost": 1.0, "turns": 10}])
def test_damage_shows_what_the_models_say_under_it(models, explorer, setting):
    for control, value in setting.items():
        getattr(explorer, control).value = value
    given = damage(setting.get("snr"), setting.get("muted", False), setting.get("lost", 0.0))
    for i, (name, model) in enumerate(models.items()):
        for j, how in enumerate((given | {"history_turns": setting.get("turns")}, {})):
            expected = model.predict([PLANTED], **how).iloc[0]
            row = explorer.state.loc[f"{name}, {('damaged', 'as it is')[j]}"]
            for c, bars in zip(model.stage.corpus.label_set.classes, explorer.drawn.children[0].data, strict=True):
                assert row[f"p_{c}"] == pytest.approx(expected[f"p_{c}"], abs=1e-6)
                assert bars.x[2 * i + 1 - j] == pytest.approx(expected[f"p_{c}"], abs=1e-6)
            if name == "LSGMER":
                assert explorer.drawn.children[1].data[0].x[1 - j] == pytest.approx(expected["gate_audio"], abs=1e-6)
                assert f"{expected['gate_audio']:.3f}" in explorer.told.value


def heard_in(explorer):
    return sf.read(io.BytesIO(base64.b64decode(explorer.sound.source.split(",")[1])))


def test_damaged_sound_is_heard_and_damaged_words_are_read(models, explorer):
    explorer.muted.value = True
    heard, rate = heard_in(explorer)
    assert not heard.any() and rate == 16_000
    explorer.muted.value, explorer.snr.value = False, 10
    heard, _ = heard_in(explorer)
    clean = AudioReader()(explorer.corpus[PLANTED])
    assert 10 * np.log10(np.mean(clean**2) / np.mean((heard - clean) ** 2)) == pytest.approx(10, abs=0.1)
    assert "&lt;img src=x onerror=&quot;window.ran=1&quot;&gt; I am happy" in explorer.told.value
    explorer.lost.value = 1.0
    assert "words read: “”" in explorer.told.value and "<img" not in explorer.told.value


def test_models_without_gates_or_common_utterances(models):
    alone = damage_explorer({"LE-MER": models["LE-MER"]})
    assert len(alone.drawn.children) == 1
    alone.snr.value = 10
    assert "–" in alone.told.value
    stranger = replace(models["LE-MER"], fold=replace(models["LE-MER"].fold, test=("elsewhere",)))
    with pytest.raises(BadInput, match="share no utterance"):
        damage_explorer({"a": models["LE-MER"], "b": stranger})


def test_controls_are_named_and_have_static_twins(models, editor, explorer, tmp_path):
    for widget in (editor, explorer):
        controls = every_control(widget)
        named = [c for c in controls if type(c).__name__ not in ("HTML", "Player", "Keyboard", "FigureWidget")]
        assert len(named) >= 5 and all(c.description and c.tooltip for c in named)
        page = widget._repr_mimebundle_()["text/html"]
        assert page.startswith("<img alt=") and "base64" in page
    for twin in (keyword_editor(models["LE-MER"], interactive=False), damage_explorer(models, interactive=False)):
        assert isinstance(twin, Figure)


@pytest.fixture(scope="module")
def switch(ledger):
    return protocol_switch(replace(SMALL, model="text"), ledger, progress=False, device="cpu")


def test_the_switch_names_the_flaw_and_shows_the_score_of_each_protocol(ledger, switch):
    runs = under_protocols(replace(SMALL, model="text"), ledger, progress=False)
    assert list(runs) == ["session-out", "session-out/dev=test", "random-5"]
    for metric in ("WA", "UA"):
        switch.metric.value = metric
        table = protocol_gaps(runs, metric).set_index("protocol")
        for scheme, flaw in zip(runs, ("", "epoch is chosen on the test set", "speakers and dialogues"), strict=True):
            switch.protocol.value = scheme
            assert switch.state["mean"] == table.loc[scheme, "mean"] == runs[scheme][0].metrics[metric]
            assert flaw in switch.told.value
            assert f"{100 * table.loc[scheme, 'mean']:.1f} %" in switch.told.value
            assert switch.drawn.children[0].data[0].x == pytest.approx(100 * table["mean"])
            assert "mixed" in switch.drawn.children[1].data[0].text or scheme != "random-5"
    assert len(set(switch.drawn.children[0].data[0].marker.color)) == 2
    assert re.search(r"gap is [+-]\d+\.\d points", switch.told.value)


def test_the_switch_computes_the_gaps_of_a_score_once(switch, monkeypatch):
    switch.metric.value = "WA"
    monkeypatch.setattr("mer_kit.training.protocol_gap.paired_cluster_bootstrap", None)  # fails when it is called
    for scheme in reversed(switch.protocol.options):
        switch.protocol.value = scheme
    assert switch.state["protocol"] == switch.protocol.options[0] and switch.still()


def test_the_switch_has_a_static_twin(switch):
    plt.close("all")
    assert isinstance(switch.still(), Figure) and switch._repr_mimebundle_()["text/html"].startswith("<img")
    assert not plt.get_fignums()  # or a notebook would show it twice
