"""Figures that follow controls: moved where they are of a kind, else made anew, and equal to new ones either way."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from small_explorers import NASTY

from mer_kit.labels import label_set
from mer_kit.plots import live
from mer_kit.widgets.drawn import Drawn

LABELS = label_set("iemocap-4")


def bars(*of_audio: float, title: str = "") -> go.Figure:
    table = pd.DataFrame({"audio": of_audio, "text": 1 - np.array(of_audio)}, index=[f"row {p}" for p in of_audio])
    return live.shares(table, colours=live.MODALITIES, title=title)


def counts() -> go.Figure:
    return live.confusion(pd.DataFrame([[3, 1], [0, 2]], index=["a", "b"], columns=["a", "b"]))


def lines(frames: int, of: slice = slice(None)) -> go.Figure:
    """Lines along the frames, of all labels or of some."""
    figure = live.frame_looks(np.arange(4.0 * frames).reshape(frames, 4), frame_rate=50, label_set=LABELS)
    return go.Figure(figure.data[of], figure.layout)


def as_sent(figure: go.Figure) -> dict:
    """What the browser is told of a figure, but for the names that plotly gives traces."""
    told = json.loads(figure.to_json())
    return told | {"data": [{k: v for k, v in trace.items() if k != "uid"} for trace in told["data"]]}


@pytest.mark.parametrize(("first", "then"), [
    (bars(0.3, 0.7, title="before"), bars(0.5, title=NASTY)), (bars(0.3), bars(0.2, 0.4, 0.6)), (lines(5), lines(9)),
    (lines(5), lines(5, of=slice(1, 2))), (lines(5, of=slice(2)), lines(5))])
def test_a_figure_of_the_same_kind_stays_and_is_told_all_of_the_new_one(first, then):
    drawn, wanted = Drawn(), as_sent(then)
    drawn.draw(first, counts())
    before = drawn.children
    assert as_sent(before[0]) == as_sent(first) != wanted
    drawn.draw(then, counts())
    assert drawn.children == before
    assert as_sent(before[0]) == wanted


@pytest.mark.parametrize("then", [
    (counts(),), (bars(0.1), counts()), (), (bars(0.1).update_layout(shapes=[{"type": "line"}]),)])
def test_figures_of_another_kind_or_number_are_new_and_those_before_leave_the_page(then):
    drawn = Drawn()
    drawn.draw(bars(0.3))
    [before] = drawn.children
    drawn.draw(*then)
    assert [as_sent(figure) for figure in drawn.children] == [as_sent(figure) for figure in then]
    assert before not in drawn.children and before.comm is None
