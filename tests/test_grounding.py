"""Grounding: hand-made attention on hand-made cues, chance by simulation, and both on duet."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mer_kit.corpora.audio import AudioReader
from mer_kit.corpora.duet import load
from mer_kit.errors import BadInput
from mer_kit.evaluation.grounding import (
    frame_grounding,
    grounding_table,
    loudest_frame,
    rarest_word,
    token_grounding,
    words_from_pieces,
)

TRUTH = pd.DataFrame({
    "emotion": ["joy", "joy", "fear", "anger"], "text_cue": ["joy", None, "joy", "anger"],
    "cue_tokens": [(2,), (), (0,), (0, 1)], "word_starts": [(0, 0.2, 0.4, 0.7)] * 4,
    "voice_cue": ["joy", "joy", "fear", None], "span_start": [0.2, 0.5, 0.0, np.nan],
    "span_end": [0.4, 0.7, 1.0, np.nan]}, index=pd.Index(["a", "b", "c", "d"], name="id"))


def test_words_are_measured_where_the_cue_is_true():
    table = token_grounding({"a": [0.1, 0.4, 0.3, 0.2], "b": [1, 2, 3, 4], "c": [4, 3, 2, 1], "d": [0.5, 0.1, 0.4, 0]},
                            TRUTH).set_index("id")
    assert table.index.tolist() == ["a", "d"]  # b has no cue, c one of another emotion
    assert table.loc["a", ["hit", "ap", "auc"]].tolist() == pytest.approx([0, 1 / 2, 2 / 3])
    assert table.loc["d", ["hit", "ap", "auc"]].tolist() == pytest.approx([1, (1 + 2 / 3) / 2, 3 / 4])
    assert table.loc["a", "hit_chance"] == 1 / 4 and table.loc["d", "hit_chance"] == 1 / 2


def test_ties_count_by_their_share_and_cosines_may_be_negative():
    [row] = token_grounding({"a": [-0.9, -0.1, -0.1, -0.5]}, TRUTH).to_dict("records")
    assert row["hit"] == 0.5 and row["auc"] == pytest.approx(2.5 / 3)
    [flat] = token_grounding({"d": [0.3] * 4}, TRUTH).to_dict("records")
    assert flat["hit"] == flat["hit_chance"] == 0.5 and flat["auc"] == 0.5


def test_frames_count_by_their_middle_with_a_tolerance():
    values = np.zeros(10)  # at 10 a second: middles 0.05, 0.15, ...
    values[[1, 5]] = 2, 1
    table = frame_grounding({"a": values, "b": values}, TRUTH, frame_rate=10, tolerance=0).set_index("id")
    assert table["hit"].tolist() == [0, 0] and table["hit_chance"].tolist() == [0.2, 0.2]  # 0.25, 0.35; 0.55, 0.65
    wider = frame_grounding({"a": values, "b": values}, TRUTH, frame_rate=10).set_index("id")
    assert wider["hit"].tolist() == [1, 0] and wider["hit_chance"].tolist() == [0.4, 0.4]  # 0.15 .. 0.45; 0.45 .. 0.75
    assert frame_grounding({"c": values}, TRUTH, 10)["auc"].isna().all()  # cue from end to end


@pytest.mark.parametrize(("places", "cued"), [(1, 1), (4, 1), (4, 2), (9, 3), (6, 6)])
def test_chance_is_the_mean_over_random_orders(places, cued):
    truth = pd.DataFrame({"emotion": ["joy"], "text_cue": ["joy"], "cue_tokens": [tuple(range(cued))],
                          "word_starts": [(0.0,) * places]}, index=["a"])
    generator = np.random.default_rng(0)
    tables = [token_grounding({"a": generator.permutation(places)}, truth).iloc[0] for _ in range(400)]
    for measure in ("hit", "ap"):
        seen = np.array([t[measure] for t in tables], dtype=float)
        assert seen.mean() == pytest.approx(tables[0][f"{measure}_chance"], abs=4 * seen.std() / 20 + 1e-9)


def test_the_table_compares_in_pairs_by_clusters():
    ids = [f"u{i}" for i in range(40)]
    truth = pd.DataFrame({"emotion": "joy", "text_cue": "joy", "cue_tokens": [(1,)] * 40,
                          "word_starts": [(0.0,) * 4] * 40}, index=ids)
    generator = np.random.default_rng(0)
    looks = {u: np.array([0, 2, 1, 0]) if i % 4 else np.array([2, 1, 0, 0]) for i, u in enumerate(ids)}
    blind = {u: generator.random(4) for u in ids}
    clusters = {u: f"d{i // 5}" for i, u in enumerate(ids)}
    table = grounding_table({"trained": token_grounding(looks, truth), "untrained": token_grounding(blind, truth)},
                            clusters).set_index(["source", "measure"])
    assert table.index.get_level_values("source").unique().tolist() == ["trained", "untrained", "chance"]
    assert table.loc[("trained", "hit"), ["utterances", "mean", "ahead"]].tolist() == [40, 0.75, 0]
    assert table.loc[("chance", "hit"), "mean"] == 0.25 and table.loc[("chance", "auc"), "mean"] == 0.5
    row = table.loc[("untrained", "hit")]
    assert row["low"] < row["mean"] < row["high"] and row["ahead"] == pytest.approx(0.75 - row["mean"])
    assert table.loc[("chance", "hit"), "ahead_low"] > 0
    with pytest.raises(BadInput, match="'untrained' measures 39 utterances, 'trained' 40"):
        del blind["u7"]
        grounding_table({"trained": token_grounding(looks, truth), "untrained": token_grounding(blind, truth)},
                        clusters)


def test_utterances_that_are_cue_throughout_are_left_out_of_auc():
    values = {"a": np.arange(10.0), "b": np.arange(10.0), "c": np.arange(10.0)}
    table = grounding_table({"x": frame_grounding(values, TRUTH, 10)}, {"a": "1", "b": "2", "c": "3"})
    of_x = table[table["source"] == "x"].set_index("measure")["utterances"]
    assert of_x.to_dict() == {"hit": 3, "ap": 3, "auc": 2}


def test_pieces_of_words_become_words():
    pieces, word_of = [0.9, 0.1, 0.4, -0.2, -0.3, 0.8], [None, 0, 0, 1, 1, None]
    assert words_from_pieces(pieces, word_of, 3).tolist() == [0.4, -0.2, -np.inf]
    truth = TRUTH.assign(word_starts=[(0, 1, 2)] * 4)
    assert token_grounding({"a": words_from_pieces(pieces, word_of, 3)}, truth)["auc"].tolist() == [0]
    with pytest.raises(BadInput, match="6 values for 2 pieces"):
        words_from_pieces(pieces, [0, 1], 2)


def test_baselines_by_hand():
    words = rarest_word({"a": "The cat, oh THE zebra!"}, ["the cat", "The dog oh"])
    assert words["a"].tolist() == [-2, -1, -1, -2, 0]
    loud = loudest_frame({"a": np.array([0, 0, 1, -1, 3, 1, 2])}, frame_rate=5, sample_rate=10)
    assert loud["a"].tolist() == [0, 1, 5, 4]


@pytest.mark.parametrize(("attention", "words"), [
    ({"a": [1, 2]}, "2 values for 4 words; expected one a word"), ({"a": np.ones((4, 3))}, r"shape \(4, 3\).*column"),
    ({"a": [1, np.nan, 1, 1]}, "none of them NaN"), ({"z": [1]}, "unknown utterance 'z'"),
    ({"b": [1] * 4}, "none of 1 utterances carries a true text_cue")])
def test_attention_that_does_not_fit_is_refused(attention, words):
    with pytest.raises(BadInput, match=words):
        token_grounding(attention, TRUTH)


def test_frames_outside_the_cue_are_a_wrong_rate():
    with pytest.raises(BadInput, match=r"no frame of 'b'.*check frame_rate"):
        frame_grounding({"b": np.ones(4)}, TRUTH, frame_rate=100)


def test_on_duet_the_cue_itself_is_found_and_the_baselines_lie_between():
    corpus = load()
    rows = corpus.targets.set_index("id").iloc[::4]
    truth, texts = corpus.truth, rows["text"].to_dict()
    cued = truth.loc[rows.index][truth.loc[rows.index, "text_cue"] == truth.loc[rows.index, "emotion"]].index
    perfect = {u: np.isin(np.arange(len(texts[u].split())), truth.loc[u, "cue_tokens"]) for u in texts}
    tables = {"perfect": token_grounding(perfect, truth),
              "rarest word": token_grounding(rarest_word(texts, corpus.targets["text"]), truth)}
    table = grounding_table(tables, rows["dialogue"].to_dict()).set_index(["source", "measure"])
    assert table.loc[("perfect", "hit"), ["utterances", "mean"]].tolist() == [len(cued), 1]
    assert table.loc[("chance", "hit"), "mean"] < table.loc[("rarest word", "hit"), "mean"] < 1
    reader = AudioReader()
    heard = rows.index[truth.loc[rows.index, "voice_cue"] == truth.loc[rows.index, "emotion"]][:40]
    loud = loudest_frame({u: reader(corpus[u]) for u in heard}, frame_rate=50)
    found = frame_grounding(loud, truth, frame_rate=50)
    assert len(found) == 40 and found["hit"].between(0, 1).all()
