"""Drawn attention and drawn models, by their data."""

from __future__ import annotations

import re
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from mer_kit import plots
from mer_kit.labels import colour, label_set
from mer_kit.plots.diagrams import (
    APC_ARROWS,
    APC_BOXES,
    JFM_ARROWS,
    JFM_BOXES,
    KINDS,
    LEMER_ARROWS,
    LEMER_BOXES,
    LSGMER_ARROWS,
    LSGMER_BOXES,
    Arrow,
    Box,
    diagram,
)

LABELS = label_set("duet-4")
TRUTH = {"text_cue": "joy", "cue_tokens": (2,), "voice_cue": "anger", "span_start": 0.2, "span_end": 0.5}
WORDS = ["so", "you", "$won$"]
G_S, G_T = (np.random.default_rng(n).uniform(-1, 1, (n, 4)) for n in (25, 3))


@pytest.fixture(autouse=True)
def own_look():
    with plt.rc_context():
        plots.theme()
        yield
    plt.close("all")


def maps(**more):
    return plots.label_attention_maps(G_S, G_T, samples=np.sin(np.arange(16_000)), words=WORDS, frame_rate=25,
                                      word_starts=(0.1, 0.4, 0.4), word_ends=(0.4, 0.4, 0.9), label_set=LABELS,
                                      title="t", **more)


def test_label_attention_stands_on_one_time_axis():
    figure = maps()
    voice, text = figure.axes[:2]
    drawn = voice.get_lines()
    assert [line.get_label() for line in drawn] == list(LABELS.classes)
    assert [to_hex(line.get_color()).upper() for line in drawn] == [colour(c) for c in LABELS.classes]
    assert drawn[2].get_xdata() == pytest.approx((np.arange(25) + 0.5) / 25)
    assert (drawn[2].get_ydata() == G_S[:, 2]).all()
    steps = [patch.get_data() for patch in text.patches]
    assert [s.values.tolist() for s in steps] == G_T.T.tolist()
    assert steps[0].edges == pytest.approx([0.1, 0.4, 0.65, 0.9])  # the two that start together share the time
    assert voice.get_xlim() == text.get_xlim() == (0, 1) and text.get_xlabel() == "time (s)"
    assert [t.get_text() for t in text.texts] == WORDS and not voice.texts and not text.texts[2].get_parse_math()
    assert figure.get_suptitle() == "t"


def test_the_average_over_classes_is_one_line():
    voice, text = maps(average=True).axes[:2]
    assert voice.get_lines()[0].get_ydata() == pytest.approx(G_S.mean(axis=1)) and len(voice.get_lines()) == 1
    assert text.patches[0].get_data().values == pytest.approx(G_T.mean(axis=1))


def test_cues_are_drawn_where_they_are_known():
    voice, text = maps(truth=TRUTH).axes[:2]
    [span] = voice.patches
    assert (span.get_x(), span.get_x() + span.get_width()) == pytest.approx((0.2, 0.5))
    assert to_hex(span.get_facecolor()).upper() == colour("anger") and voice.texts[0].get_text() == "voice: anger"
    assert [t.get_weight() for t in text.texts] == ["normal", "normal", "bold"]
    assert text.texts[2].get_color() == colour("joy")
    plain = maps(truth={"text_cue": None, "cue_tokens": (), "voice_cue": None})
    assert not plain.axes[0].patches and len(plain.axes[1].patches) == 4


def test_two_attentions_and_their_difference_share_their_rows():
    A_r, A_l = np.random.default_rng(0).dirichlet(np.ones(10), (2, 3))
    figure = plots.token_frame_map(A_r, A_l, words=WORDS, frame_rate=25, truth=TRUTH, title="t")
    images = [ax.images[0] for ax in figure.axes[:3]]
    for image, values in zip(images, (A_r, A_l, A_r - A_l), strict=True):
        assert (image.get_array() == values).all() and image.get_extent()[:2] == [0, 0.4]
    assert images[0].get_clim() == images[1].get_clim() == (0, max(A_r.max(), A_l.max()))
    assert sum(images[2].get_clim()) == 0
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == WORDS
    assert [line.get_xdata()[0] for line in figure.axes[1].get_lines()] == [0.2, 0.5]


def test_any_lines_stand_on_the_axis_with_their_own_symbols():
    lines = {"block 1": "#0B6E8F", "block 2": "#B2452B"}
    figure = plots.attention_in_time(G_S[:, :2], G_T[:, :2], lines=lines, samples=np.zeros(8000), words=WORDS,
                                     word_starts=(0.1, 0.4, 0.4), word_ends=(0.4, 0.4, 0.9), frame_rate=25,
                                     symbols=("patches", "words"))
    voice, text = figure.axes[:2]
    assert {line.get_label(): to_hex(line.get_color()).upper() for line in voice.get_lines()} == lines
    assert (voice.get_ylabel(), text.get_ylabel()) == ("patches", "words") and voice.get_xlim() == (0, 0.9)


def test_joint_vectors_are_rows_block_by_block_over_time_and_words():
    random = np.random.default_rng(1)
    of_patches, of_words = random.random((10, 2, 3)), random.random((3, 2, 3))
    figure = plots.joint_maps(of_patches, of_words, samples=np.zeros(12_800), words=WORDS, word_starts=(0.1, 0.4, 0.4),
                              word_ends=(0.4, 0.4, 0.8), frame_rate=12.5, truth=TRUTH, title="t")
    mel, text = figure.axes[:2]
    for ax, weights in ((mel, of_patches), (text, of_words)):
        [mesh] = [c for c in ax.collections if hasattr(c, "get_coordinates")]
        assert (mesh.get_array() == [[weights[k, r // 3, r % 3] for k in range(len(weights))] for r in range(6)]).all()
        assert [t.get_text() for t in ax.get_yticklabels()][3] == "2: v1" and ax.get_ylim() == (6, 0)
    edges = text.collections[0].get_coordinates()[0, :, 0].tolist()
    assert edges == pytest.approx([0.1, 0.4, 0.6, 0.8]) and mel.get_xlim() == (0, 0.8)
    assert [line.get_xdata()[0] for line in mel.get_lines()] == [0.2, 0.5]
    assert [t.get_weight() for t in text.texts] == ["normal", "normal", "bold"] and not text.patches


DIAGRAMS = {  # name -> function, boxes, arrows, equations that a reader looks for
    "lemer": (plots.lemer_diagram, LEMER_BOXES, LEMER_ARROWS, {"(1)", "(7)", "(9)", "(10)"}),
    "lsgmer": (plots.lsgmer_diagram, LSGMER_BOXES, LSGMER_ARROWS, {f"({n})" for n in range(1, 20)} - {"(19)"}),
    "apc": (plots.apc_diagram, APC_BOXES, APC_ARROWS, {f"({n})" for n in range(11, 20)}),
    "jfm": (plots.jfm_diagram, JFM_BOXES, JFM_ARROWS, {f"({n})" for n in range(1, 8)}),
}
every_diagram = pytest.mark.parametrize(("draw", "boxes", "arrows", "equations"), DIAGRAMS.values(), ids=DIAGRAMS)


@every_diagram
def test_a_diagram_is_whole_and_nothing_lies_on_anything(draw, boxes, arrows, equations):
    ax = draw()
    said = {text.get_text() for text in ax.texts}
    numbers = {f"({n})" for text in said for n in re.findall(r"\((\d.*?)\)", text) for n in n.split(", ")}
    assert {box.text for box in boxes.values()} <= said and equations <= numbers
    for a, b in combinations(boxes.values(), 2):
        assert abs(a.x - b.x) >= (a.width + b.width) / 2 or abs(a.y - b.y) >= (a.height + b.height) / 2, (a, b)
    assert {name for arrow in arrows for name in (arrow.start, arrow.end)} == set(boxes)
    assert len(ax.patches) == len(boxes) + len(arrows)
    drawn = [text.get_text() for text in ax.get_legend().get_texts()]
    assert drawn == [kind for kind in KINDS if kind in {box.kind for box in boxes.values()}] and len(drawn) >= 5
    ax.figure.canvas.draw()  # its formulas are read when drawn


@every_diagram
def test_text_stays_within_its_box(draw, boxes, arrows, equations):
    ax = draw()
    ax.figure.canvas.draw()
    written = {text.get_text(): text for text in ax.texts}
    for box in boxes.values():
        for line in filter(None, (box.text, box.note)):
            left, right = ax.transData.inverted().transform(written[line].get_window_extent())[:, 0]
            assert right - left < box.width, line


def test_a_small_diagram_of_ones_own():
    boxes = {"a": Box(1, 1, "a"), "b": Box(4, 1, "b", kind="loss")}
    ax = diagram(boxes, [Arrow("a", "b", dashed=True)], width=5, height=2)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["states", "loss"]
    assert ax.patches[-1].get_linestyle() == "--"
