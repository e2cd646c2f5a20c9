"""Plotly's attention, points and ways of labels, by their data; markup stays text."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mer_kit.labels import colour, label_set
from mer_kit.plots import interactive_maps
from mer_kit.plots.embeddings import MARKERS

LABELS = label_set("duet-4")
NASTY = "<img src=x onerror=alert(1)>"
TRUTH = {"text_cue": "joy", "cue_tokens": (2,), "voice_cue": "anger", "span_start": 0.2, "span_end": 0.5}
G_S, G_T = (np.random.default_rng(n).uniform(-1, 1, (n, 4)) for n in (25, 3))


def drawn(**more):
    return interactive_maps.attention_in_time(
        G_S, G_T, lines=LABELS.palette, samples=np.sin(np.arange(16_000)), words=["so", NASTY, "won"],
        word_starts=(0.1, 0.4, 0.4), word_ends=(0.4, 0.4, 0.9), frame_rate=25, title=NASTY, **more)


def test_lines_of_frames_and_words_share_the_time():
    figure = drawn()
    wave, *lines = figure.data
    assert wave.x[-1] <= 1 and np.abs(wave.y).max() == pytest.approx(1, abs=0.01) and len(wave.x) <= 1400
    assert [line.name for line in lines[::2]] == list(LABELS.classes)
    for i, (frames, words) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
        assert frames.line.color == words.line.color == colour(LABELS.classes[i]) and words.line.shape == "hv"
        assert frames.x == pytest.approx((np.arange(25) + 0.5) / 25) and (frames.y == G_S[:, i]).all()
        assert list(words.y) == [*G_T[:, i], G_T[-1, i]]
        assert words.x == pytest.approx([0.1, 0.4, 0.65, 0.9])  # the two that start together share the time
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range == (0, 1)
    assert figure.layout.xaxis.matches == "x2" and "time (s)" in figure.layout.xaxis2.title.text
    assert figure.layout.yaxis.title.text == "G_s (cosine)"


def test_cues_and_words_stand_where_they_are():
    figure = drawn(truth=TRUTH)
    said = {a.text: a for a in figure.layout.annotations}
    assert said["<b>won</b>"].font.color == colour("joy") and said["<b>voice: anger</b>"].x == pytest.approx(0.35)
    spans = {s.fillcolor: (s.x0, s.x1) for s in figure.layout.shapes if s.type == "rect"}
    assert spans == {colour("anger"): (0.2, 0.5), colour("joy"): pytest.approx((0.65, 0.9))}
    assert not [s for s in drawn().layout.shapes if s.type == "rect"]


def test_markup_stays_text():
    told = pd.DataFrame({"x": [0.0], "y": [1.0], "label": ["sad"], "id": ["u"], "told": [NASTY]})
    points = interactive_maps.points(told, label_set=LABELS, title=NASTY)
    ways = interactive_maps.label_paths({NASTY: np.zeros((2, 4, 2))}, label_set=LABELS, title=NASTY)
    for figure in (drawn(), points, ways):
        page = figure.to_json().replace("\\u003c", "<")
        assert "<img" not in page and "&lt;img" in page and "&quot;" not in page


def test_points_carry_their_utterance_and_their_words():
    table = pd.DataFrame({"x": range(5), "y": range(5), "label": ["sad", "happy", "sad", "angry", "happy"],
                          "id": list("abcde"), "told": [f"said {i}" for i in range(5)]})
    stars = np.arange(8.0).reshape(4, 2)
    *of_class, labels = interactive_maps.points(table, label_set=LABELS, label_points=stars).data
    assert [t.name for t in of_class] == list(LABELS.classes) and len({t.marker.symbol for t in of_class}) == 4
    sad = of_class[LABELS.index("sad")]
    assert [tuple(c) for c in sad.customdata] == [("a", "said 0"), ("c", "said 2")] and list(sad.x) == [0, 2]
    assert list(labels.text) == list(LABELS.classes) and (np.stack([labels.x, labels.y], 1) == stars).all()
    assert list(labels.marker.color) == list(LABELS.palette.values())
    assert len(interactive_maps.points(table, label_set=LABELS).data) == 4
    assert len(interactive_maps.MARKERS) == len(MARKERS)


def test_labels_walk_a_frame_an_epoch():
    slow, fast = (np.random.default_rng(i).normal(size=(epochs, 4, 2)) for i, epochs in ((0, 4), (1, 3)))
    figure = interactive_maps.label_paths({"slow": slow, "fast": fast}, label_set=LABELS)
    assert [frame.name for frame in figure.frames] == ["0", "1", "2", "3"] and len(figure.data) == 8
    for epoch, frame in enumerate(figure.frames):
        for place, way in enumerate((slow, fast)):
            for i, trace in enumerate(frame.data[4 * place : 4 * place + 4]):
                np.testing.assert_allclose(np.stack([trace.x, trace.y], axis=1), way[: epoch + 1, i])
                assert trace.marker.symbol[-1] == "star"
    assert [step.label for step in figure.layout.sliders[0].steps] == ["0", "1", "2", "3"]
    low, high = figure.layout.xaxis.range
    assert low < min(slow[..., 0].min(), fast[..., 0].min()) and high > max(slow[..., 0].max(), fast[..., 0].max())
    assert figure.layout.xaxis.range == figure.layout.xaxis2.range
