"""Explorers of attention and embeddings: what is chosen is what is shown, heard and computed."""

from __future__ import annotations

import base64
from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from small_looks import CORPUS, IDS, trained

from mer_kit import widgets
from mer_kit.errors import BadInput
from mer_kit.training.looking import look

NASTY = "<img src=x onerror=alert(1)> a b"
LICENSED = replace(CORPUS, embeddable=False)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def explorer(**more):
    return widgets.attention_explorer({"LE-MER": trained(), "JFM": trained("jfm")}, CORPUS, **more)


def lines(shown) -> list[str]:
    [drawn] = shown.map.children
    return [trace.name for trace in drawn.data if trace.showlegend is None]


def test_what_is_chosen_is_what_is_drawn_and_told():
    shown = explorer()
    assert (shown.model.value, shown.utterance.value, shown.line.value) == ("LE-MER", IDS[0], "all")
    assert lines(shown) == list(CORPUS.label_set.classes)
    shown.line.value = "sad"
    assert lines(shown) == ["sad"]
    i, found = CORPUS.label_set.index("sad"), look(trained(), IDS[0])
    word, second = found.words[found.of_words[:, i].argmax()], (found.of_frames[:, i].argmax() + 0.5) / 25
    assert shown.maxima() == [("sad", word, second)] and f"“{word}” and at {second:.2f} s" in shown.told.value
    shown.utterance.value = IDS[1]
    assert shown.line.value == "sad" and shown.look.title.startswith(IDS[1])
    shown.model.value = "JFM"
    assert shown.line.value == "all" and lines(shown) == ["block 1", "block 2"]


def test_a_click_is_heard_from_there():
    shown = explorer()
    assert base64.b64decode(shown.player.source.split(",")[1]) == CORPUS[IDS[0]].audio.read_bytes()
    for seconds, click in ((0.42, 1), (0.42, 1), (0.3, 2)):  # each curve under the pointer is told of a click
        shown._clicked(None, SimpleNamespace(xs=[]), click)
        shown._clicked(None, SimpleNamespace(xs=[seconds]), click)
        assert (shown.start.value, shown.player.start, shown.player.plays) == (seconds, seconds, click)
    shown.button.click()
    assert shown.player.plays == 3
    shown.utterance.value = IDS[1]
    assert shown.player.label == IDS[1] and shown.start.max == pytest.approx(len(shown.look.samples) / 16_000, abs=0.01)


def test_controls_say_what_they_are():
    for shown in (explorer(), spaces_shown()):
        assert all(control.description for control in shown.children[0].children)


def test_a_licensed_corpus_shows_neither_words_nor_sound():
    shown = widgets.attention_explorer({"LE-MER": trained(corpus=LICENSED)}, LICENSED)
    assert shown.look.words[0] == "word 1" and not shown.player.source and shown.button.disabled
    assert CORPUS[IDS[0]].text[:20] not in str(shown.utterance.options)
    shown._clicked(None, SimpleNamespace(xs=[0.4]), None)
    assert shown.player.plays == 0


def test_markup_is_told_as_text():
    table = CORPUS.table.assign(text=CORPUS.table["text"].where(CORPUS.table["id"] != IDS[0], NASTY))
    corpus = replace(CORPUS, table=table, truth=None)
    model = trained(corpus=corpus)
    model.stage.text = lambda fold: (None, SimpleNamespace(words=lambda u: _some_words(u, corpus)))
    shown = widgets.attention_explorer({"LE-MER": model}, corpus, IDS[0])
    assert "<img" not in shown.told.value
    [drawn] = shown.map.children
    assert "<img" not in str(drawn.layout.annotations)


def _some_words(utterance: str, corpus):
    import torch
    from small_looks import words_of

    return torch.clamp(words_of(utterance), max=len(corpus[utterance].text.split()) - 1)


def test_the_static_twin_is_the_figure_of_the_first_choice():
    figure = explorer(interactive=False, utterance=IDS[1])
    assert isinstance(figure, Figure) and figure.get_suptitle().startswith(IDS[1])
    page = explorer()._repr_mimebundle_()["text/html"]
    assert page.startswith('<img alt="attention along one utterance" src="data:image/png;base64,')
    with pytest.raises(BadInput, match="got no model to explore"):
        widgets.attention_explorer({}, CORPUS)


def spaces() -> dict[str, widgets.Space]:
    ids, random = CORPUS.targets["id"][:12], np.random.default_rng(0)
    predicted = pd.Series("sad", ids)
    return {name: widgets.Space(pd.DataFrame(random.normal(size=(12, 5)), ids), predicted, labels)
            for name, labels in (("LSGMER", random.normal(size=(4, 5))), ("JFM", None))}


def spaces_shown(corpus=CORPUS, **more):
    return widgets.embedding_explorer(spaces(), corpus, **more)


def test_systems_and_projections_are_drawn_as_they_are_computed():
    from mer_kit.evaluation.separation import projected_together

    shown = spaces_shown()
    for system, count in (("LSGMER", 5), ("JFM", 4)):
        shown.system.value = system
        for method in ("pca", "tsne"):
            shown.projection.value = method
            [drawn] = shown.map.children
            space = spaces()[system]
            points, stars = projected_together(space.features.to_numpy(), space.labels, method)
            assert len(drawn.data) == count
            angry = (CORPUS.targets["label"][:12] == CORPUS.label_set.classes[0]).to_numpy()
            np.testing.assert_allclose(drawn.data[0].x, points[angry, 0])
            if stars is not None:
                np.testing.assert_allclose(drawn.data[4].y, stars[:, 1])


def test_a_point_is_heard_and_read():
    shown = spaces_shown()
    [drawn] = shown.map.children
    trace = next(trace for trace in drawn.data if len(trace.customdata))
    shown._clicked(trace, SimpleNamespace(point_inds=[0]), None)
    utterance = CORPUS[trace.customdata[0][0]]
    assert shown.utterance.value == shown.player.label == utterance.id and shown.player.plays == 1
    assert f"{utterance.id} ({utterance.label}, taken for sad)" in shown.told.value
    shown._clicked(trace, SimpleNamespace(point_inds=[0]), None)
    assert shown.player.plays == 2
    shut = spaces_shown(LICENSED)
    shut.utterance.value = utterance.id
    assert not shut.player.source and utterance.text not in shut.told.value
    assert utterance.text not in str(shut.places()[0]["told"].tolist())


def test_spaces_of_other_utterances_are_refused():
    both = spaces()
    both["JFM"] = replace(both["JFM"], features=both["JFM"].features.iloc[1:])
    with pytest.raises(BadInput, match=r"got spaces of 12 \(LSGMER\), 11 \(JFM\) utterances"):
        widgets.embedding_explorer(both, CORPUS)
    with pytest.raises(BadInput, match="got no space to explore"):
        widgets.embedding_explorer({}, CORPUS)


def test_the_static_twin_of_a_space_has_its_stars():
    figure = spaces_shown(interactive=False)
    assert isinstance(figure, Figure) and len(figure.axes[0].collections) == 8
    assert spaces_shown()._repr_mimebundle_()["text/html"].startswith('<img alt="utterances as points')
