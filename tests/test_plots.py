"""Figures by their data: what is drawn is what was given, and text stays text."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from mer_kit import plots
from mer_kit.corpora import duet, load_corpus
from mer_kit.corpora.audio import AudioReader
from mer_kit.corpora.protocols import make_protocol
from mer_kit.guidance.keywords import keywords, overlap
from mer_kit.labels import colour, label_set
from mer_kit.plots import interactive

NASTY = "<img src=x onerror=alert(1)> costs $5 and $6"


@pytest.fixture(autouse=True)
def own_look():
    with plt.rc_context():
        plots.theme()
        yield
    plt.close("all")


@pytest.fixture(scope="module")
def corpus():
    return load_corpus("duet")


def test_class_counts_stack_to_the_groups_sizes(corpus):
    ax = plots.class_counts(corpus.targets, by="session", label_set=corpus.label_set, title="t")
    widths = pd.DataFrame([[bar.get_width() for bar in bars] for bars in ax.containers]).sum()
    assert widths.tolist() == corpus.targets.groupby("session").size().tolist()
    drawn = [to_hex(bars[0].get_facecolor()).upper() for bars in ax.containers]
    assert drawn == [colour(c) for c in corpus.label_set.classes]
    assert ax.get_xlabel() == "utterances" and ax.get_title(loc="left") == "t"


def test_a_class_without_utterances_keeps_its_place(corpus):
    rows = corpus.targets[corpus.targets["label"] != "happy"]
    ax = plots.class_counts(rows, by="session", label_set=corpus.label_set)
    assert [c.get_label() for c in ax.containers] == list(corpus.label_set.classes)
    assert all(bar.get_width() == 0 for bar in ax.containers[corpus.label_set.index("happy")])


def test_durations_turn_to_a_log_axis_for_a_long_tail():
    short = pd.DataFrame({"label": ["angry", "sad"] * 5, "seconds": range(1, 11)})
    assert plots.durations(short, label_set=label_set("duet-4")).get_xscale() == "linear"
    ax = plots.durations(pd.concat([short, short.assign(seconds=300)]).head(11), label_set=label_set("duet-4"))
    assert ax.get_xscale() == "log" and ax.xaxis.get_major_formatter()(100, 0) == "100"


def test_fold_map_writes_every_role(corpus):
    protocol = make_protocol(corpus, "session-out")
    roles = protocol.roles(corpus, by="session")
    ax = plots.fold_map(roles)
    assert [t.get_text() for t in ax.texts] == roles.to_numpy().ravel().tolist()
    assert roles.to_numpy().diagonal().tolist() == ["test"] * 5
    assert roles.loc["Session5", "Session1"] == "dev" and (roles == "train").sum(axis=1).eq(3).all()


def test_roles_of_a_random_split_are_mixed(corpus):
    roles = make_protocol(corpus, "random-5").roles(corpus, by="session")
    assert (roles == "mixed").all(axis=None)
    assert plots.fold_map(roles).texts[0].get_text() == "mixed"


def test_scores_mark_the_mean_of_the_folds():
    table = pd.DataFrame({"inputs": ["text"] * 3 + ["voice"] * 3, "UA": [0.4, 0.5, 0.6, 0.2, 0.3, 0.7]})
    ax = plots.scores(table, x="UA", y="inputs", chance=0.25)
    means = [line.get_xdata() for line in ax.lines if line.get_marker() == "D"]
    assert [x for xs in means for x in xs] == pytest.approx([0.5, 0.4])
    assert {0.4, 0.5, 0.6, 0.2, 0.3, 0.7} == {round(x, 3) for c in ax.collections for x, _ in c.get_offsets()}


def test_scores_of_a_single_protocol_are_drawn_in_the_middle_of_their_row():
    table = pd.DataFrame({"inputs": ["text"] * 3, "UA": [0.4, 0.5, 0.9], "protocol": "duet-4/random-5"})
    ax = plots.scores(table, x="UA", y="inputs", hue="protocol")
    (mean,) = [line.get_xydata() for line in ax.lines if line.get_marker() == "D" and len(line.get_xydata())]
    assert mean.tolist() == [[pytest.approx(0.6), 0.0]]


def test_ceilings_draw_the_table_and_what_was_reached(corpus):
    table = duet.ceilings(corpus)
    ax = plots.ceilings(table, reached={"text": 0.6, "text + voice": 0.7})
    drawn = [bar.get_height() for bars in ax.containers for bar in bars]
    assert sorted(drawn) == pytest.approx(sorted(table["ceiling"]))
    assert ax.collections[-1].get_offsets()[:, 1].tolist() == [0.6, 0.7]


def test_utterance_shows_words_cue_and_span(corpus):
    truth = corpus.truth[corpus.truth["text_cue"].notna() & corpus.truth["voice_cue"].notna()].iloc[0]
    turn = corpus[truth.name]
    ax = plots.utterance(AudioReader()(turn), sample_rate=16_000, words=turn.text.split(), truth=truth)
    words = [t for t in ax.texts if not t.get_text().startswith("voice:")]
    assert [t.get_text() for t in words] == turn.text.split()
    assert {i for i, t in enumerate(words) if t.get_weight() == "bold"} == set(truth["cue_tokens"])
    span = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    assert (span.x0, span.x1) == pytest.approx((truth["span_start"], truth["span_end"]))


def test_keyword_bars_and_overlap_show_the_table(corpus):
    rows = corpus.targets
    table = keywords(rows["text"], rows["label"], corpus.label_set.classes, top_k=5)
    panels = plots.keyword_bars(table, title="t").axes
    for panel, name in zip(panels, corpus.label_set.classes, strict=True):
        assert [t.get_text() for t in panel.get_yticklabels()] == table["word"][table["class"] == name].tolist()
        assert [b.get_width() for b in panel.patches] == pytest.approx(table["tfidf"][table["class"] == name].tolist())
    ax = plots.keyword_overlap(overlap(table))
    assert [t.get_text() for t in ax.texts] == [str(n) for n in overlap(table).to_numpy().ravel()]


def test_classes_without_keywords_say_so():
    nothing = keywords(["same"] * 4, ["angry", "sad"] * 2, ["angry", "sad"], stop_words="none")
    assert [p.texts[0].get_text() for p in plots.keyword_bars(nothing).axes] == ["no keyword"] * 2


def test_transitions_write_their_shares():
    shares = pd.DataFrame([[0.75, 0.25], [0.5, 0.5]], ["joy", "anger"], ["joy", "anger"])
    assert [t.get_text() for t in plots.transitions(shares).texts] == ["0.75", "0.25", "0.50", "0.50"]


def test_figures_are_written_only_where_asked(tmp_path):
    ax = plots.transitions(pd.DataFrame([[1.0]], ["joy"], ["joy"]))
    plots.save(ax, "nowhere", "")
    plots.save(ax, "here", tmp_path / "new")
    plots.save(ax.figure, "figure", tmp_path / "new")
    assert sorted(p.name for p in tmp_path.rglob("*.png")) == ["figure.png", "here.png"]


def test_dollars_and_markup_in_words_are_drawn_as_they_are(corpus, tmp_path):
    words, sound = NASTY.split(), AudioReader()(corpus["S1_d00_t00"])
    truth = {"text_cue": None, "cue_tokens": (), "voice_cue": None,
             "word_starts": range(len(words)), "word_ends": range(1, len(words) + 1)}
    ax = plots.utterance(sound, sample_rate=16_000, words=words, truth=truth, title=NASTY)
    assert not any(t.get_parse_math() for t in [*ax.texts, ax.title])
    plots.save(ax, "nasty", tmp_path)
    assert (tmp_path / "nasty.png").stat().st_size > 1000


def test_plotly_dialogue_escapes_words_and_hides_them_when_told(corpus):
    rows = corpus.table.head(5).assign(text=NASTY)
    shown = interactive.dialogue(rows).to_json()
    assert "<img" not in shown and "&lt;img" in shown
    assert "costs" not in interactive.dialogue(rows, show_text=False).to_json()
    bars = interactive.dialogue(corpus.table.head(5)).data
    assert sorted(x for bar in bars for x in bar.base) == corpus.table["start"].head(5).tolist()


def test_plotly_keywords_and_durations_hold_their_rows(corpus):
    rows = corpus.targets
    table = keywords(rows["text"], rows["label"], corpus.label_set.classes)
    figure = interactive.keyword_ranks(table)
    assert sorted(w for trace in figure.data for w in trace.hovertext) == sorted(table["word"])
    seconds = rows.assign(seconds=rows["end"] - rows["start"])
    histogram = interactive.durations(seconds, label_set=corpus.label_set)
    assert {t.name: len(t.x) for t in histogram.data} == rows["label"].value_counts().to_dict()
    assert [t.marker.color for t in histogram.data] == list(corpus.label_set.palette.values())


def test_history_draws_its_columns_and_marks_the_kept_epoch():
    table = pd.DataFrame({"epoch": [1, 2, 3], "loss": [1.0, 0.5, 0.4], "dev_UA": [0.3, 0.6, 0.5]})
    ax = plots.history(table, columns=["loss", "dev_UA"], best_epoch=2)
    drawn = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
    assert drawn["loss"] == [1.0, 0.5, 0.4] and drawn["dev_UA"] == [0.3, 0.6, 0.5]
    assert list(ax.lines[-1].get_xdata()) == [2, 2]


def test_a_heatmap_writes_every_weight():
    ax = plots.heatmap([[1.0, -0.25], [0.0, 0.5]], rows=["mad", "so"], columns=["angry", "happy"])
    assert [t.get_text() for t in ax.texts] == ["1.00", "-0.25", "0.00", "0.50"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["mad", "so"]
    assert ax.collections[0].get_clim() == (-1, 1), "0 has the middle colour"
    shares = plots.heatmap([[0.75, 0.25]], rows=["angry"], columns=["angry", "sad"])
    assert shares.collections[0].get_clim() == (0, 1), "shares are not below 0"
