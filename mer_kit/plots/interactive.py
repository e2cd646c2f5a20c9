"""Plotly figures for looking: hover, zoom, hide. The same data as the static figures; text is shown as text."""

from __future__ import annotations

from functools import partial
from html import escape

import pandas as pd
import plotly.express as px
import plotly.graph_objects as go

from mer_kit.labels import LabelSet, colour

HEIGHT = 380
as_text = partial(escape, quote=False)  # plotly shows &lt; and &amp; as what they stand for, &quot; as it is


def finish(figure: go.Figure, title: str, height: int = HEIGHT) -> go.Figure:
    """The kit's look, a title and a height in px."""
    return figure.update_layout(title=as_text(title), template="simple_white", height=height, font_size=13,
                                margin={"l": 70, "r": 20, "t": 60, "b": 50}, legend_title_text="")


def dialogue(table: pd.DataFrame, *, title: str = "", show_text: bool = True) -> go.Figure:
    """One dialogue on the time axis: a bar a turn, a row a speaker, the emotion as colour; hover shows the words.

    table: rows of a corpus's table, with start and end in seconds.
    """
    figure = go.Figure()
    for label, rows in table.groupby("raw_label"):
        said = rows["text"].fillna("").map(as_text) if show_text else ["(text not shown)"] * len(rows)
        figure.add_bar(
            base=rows["start"], x=rows["end"] - rows["start"], y=rows["speaker"].map(as_text), orientation="h",
            name=label, marker_color=colour(label), customdata=list(zip(rows["id"], said, strict=True)),
            hovertemplate="%{customdata[0]}<br>%{customdata[1]}<extra>" + label + "</extra>")
    figure.update_layout(barmode="overlay", xaxis_title="time in the dialogue (s)")
    return finish(figure, title, 280)


def durations(table: pd.DataFrame, *, label_set: LabelSet, title: str = "") -> go.Figure:
    """Histogram of durations by class; columns label and seconds."""
    figure = px.histogram(table, x="seconds", color="label", color_discrete_map=label_set.palette, nbins=60,
                          category_orders={"label": list(label_set.classes)}, barmode="stack")
    return finish(figure.update_layout(xaxis_title="duration (s)", yaxis_title="utterances"), title)


def keyword_ranks(table: pd.DataFrame, *, title: str = "") -> go.Figure:
    """Every word of every class: how often it stands there (log axis) against its tf-idf; hover names it."""
    colours = {c: colour(c) for c in table["class"].cat.categories}
    figure = px.scatter(table.assign(word=table["word"].map(as_text)), x="count", y="tfidf", color="class",
                        color_discrete_map=colours, hover_name="word", log_x=True)
    return finish(figure.update_layout(xaxis_title="count in the class's texts", yaxis_title="tf-idf"), title)
