"""Label keywords: hand numbers, an independent loop, and nothing fitted on test texts."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfTransformer

from mer_kit.corpora import load_corpus
from mer_kit.corpora.duet_process import process
from mer_kit.corpora.protocols import make_protocol
from mer_kit.errors import BadInput
from mer_kit.guidance.keywords import class_counts, keywords, overlap, predict_by_keywords, score_by_keywords

TEXTS = ["mad mad you you you", "mad about you", "glad glad for you you", "glad, you know", "so so you you",
         "mad, mad? so mad, you are"]
LABELS = ["angry", "angry", "happy", "happy", "calm", "calm"]
CLASSES = ["angry", "happy", "calm"]


def weight(table, label, word):
    return table.loc[(table["class"] == label) & (table["word"] == word), "tfidf"].item()


def test_hand_numbers():
    table = keywords(TEXTS, LABELS, CLASSES, stop_words="none")
    assert weight(table, "angry", "mad") == pytest.approx(3 * math.log(3 / 2))  # in two of three classes
    assert weight(table, "happy", "glad") == pytest.approx(3 * math.log(3))
    assert weight(table, "calm", "so") == pytest.approx(3 * math.log(3))
    assert "you" not in set(table["word"])  # in every class: log(3 / 3) = 0
    assert set(table["count"]) == {3}  # words seen once in a class are below min_count


def test_equals_a_plain_loop_on_the_embedded_corpus():
    targets = load_corpus("duet").targets
    classes = ["angry", "happy", "sad", "neutral"]
    counts = {c: Counter(w for t in targets["text"][targets["label"] == c] for w in re.findall(r"\w+", t.lower()))
              for c in classes}
    table = keywords(targets["text"], targets["label"], classes, top_k=None, stop_words="none")
    for row in table.itertuples():
        df = sum(counts[c][row.word] >= 3 for c in classes)
        assert (row.count, row.df) == (counts[row[1]][row.word], df)
        assert row.tfidf == pytest.approx(row.count * math.log(4 / df))
    expected = {(c, w) for c in classes for w, n in counts[c].items()
                if n >= 3 and any(counts[d][w] < 3 for d in classes)}
    assert {(r[1], r.word) for r in table.itertuples()} == expected


def test_smoothed_idf_is_the_librarys():
    table = keywords(TEXTS, LABELS, CLASSES, idf="smoothed", stop_words="none", top_k=None, min_count=1)
    counts, words = class_counts(TEXTS, LABELS, CLASSES)
    library = TfidfTransformer(norm=None, smooth_idf=True).fit_transform(counts).toarray()
    for row in table.itertuples():
        assert row.tfidf == pytest.approx(library[CLASSES.index(row[1]), list(words).index(row.word)])


def test_smoothed_idf_ranks_common_words_first_and_log_idf_cue_words():
    targets = load_corpus("duet").targets
    classes = ["angry", "happy", "sad", "neutral"]
    smoothed = keywords(targets["text"], targets["label"], classes, idf="smoothed", stop_words="none", top_k=3)
    assert {"the", "was"} <= set(smoothed["word"])
    lexicon = {w for words in process().settings["lexicon"].values() for cue in words for w in cue.split()}
    log = keywords(targets["text"], targets["label"], classes)
    assert log["word"].isin(lexicon).mean() > 0.9


def test_ranks_ties_and_top_k():
    table = keywords(["b b a a c", "d d"], ["x", "y"], ["x", "y"], top_k=1, stop_words="none", min_count=2)
    assert table[["class", "rank", "word"]].values.tolist() == [["x", 1, "a"], ["y", 1, "d"]]


def test_stop_words_are_left_out_by_name_or_by_list():
    texts, labels = ["the dog you’re ran", "a cat a cat"], ["x", "y"]
    english, dog = (set(keywords(texts, labels, ["x", "y"], stop_words=stops, min_count=1)["word"])
                    for stops in ("english", ["dog"]))
    assert english == {"dog", "ran", "cat"}
    assert dog == {"the", "you're", "ran", "a", "cat"}


def test_a_slip_does_not_make_a_word_common():
    texts, labels = ["mad mad mad mad", "glad mad"], ["x", "y"]
    kept = keywords(texts, labels, ["x", "y"], min_count=2)
    assert kept.values.tolist() == [["x", 1, "mad", 4, 1, pytest.approx(4 * math.log(2))]]
    assert "mad" not in set(keywords(texts, labels, ["x", "y"], min_count=1)["word"])


def test_texts_that_carry_nothing_have_no_keywords():
    table = keywords(["same words", "same words"] * 2, ["x", "y"] * 2, ["x", "y"], stop_words="none")
    assert table.empty and list(overlap(table).to_numpy().ravel()) == [0, 0, 0, 0]
    assert (score_by_keywords(["same"], table) == 0).all(axis=None)


def test_overlap_counts_shared_words():
    texts, labels = ["up up so so", "up up ok ok", "no no"], ["x", "y", "z"]
    shared = overlap(keywords(texts, labels, ["x", "y", "z"], stop_words="none", min_count=2))
    assert shared.to_numpy().tolist() == [[2, 1, 0], [1, 2, 0], [0, 0, 1]]


def test_scores_by_hand():
    table = keywords(TEXTS, LABELS, CLASSES, stop_words="none")
    scores = score_by_keywords(["so glad", "MAD", "nothing here", "", None], table)
    assert scores.to_numpy().tolist() == [
        [0, 1, 1], [1, 0, pytest.approx(math.log(1.5) / math.log(3))], [0, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_test_texts_change_nothing_fitted():
    corpus = load_corpus("duet")
    rows = corpus.targets.set_index("id")
    for fold in make_protocol(corpus, "session-out").folds:
        train = rows.loc[list(fold.train)]
        before = keywords(train["text"], train["label"], corpus.label_set.classes)
        changed = rows.copy()
        changed.loc[list(fold.test), "text"] = "zebra zebra furious"
        after = keywords(changed.loc[list(fold.train), "text"], train["label"], corpus.label_set.classes)
        assert before.equals(after)
        everything = keywords(changed["text"], changed["label"], corpus.label_set.classes)
        assert "zebra" in set(everything["word"]) or not before.equals(everything)


@pytest.mark.parametrize(("change", "words"), [
    ({"labels": ["angry"] * 6}, ["no training text", "'happy'"]),
    ({"idf": "logg"}, ["unknown idf 'logg'", "log, smoothed, none", "did you mean 'log'"]),
    ({"stop_words": "englisch"}, ["unknown stop_words 'englisch'", "did you mean 'english'"]),
    ({"texts": ["", "!", "?", "", "", ""]}, ["none of the 6 training texts holds a word"]),
])
def test_errors_say_what_came(change, words):
    given = {"texts": TEXTS, "labels": LABELS, "classes": CLASSES} | change
    with pytest.raises(BadInput) as error:
        keywords(**given)
    assert all(w in str(error.value) for w in words)


def test_apostrophes_and_other_alphabets_are_words():
    counts, words = class_counts(["don’t stop żółć ねこ", "I"], ["x", "y"], ["x", "y"])
    assert words.tolist() == ["don't", "i", "stop", "żółć", "ねこ"]
    assert np.array_equal(counts.sum(axis=1), [4, 1])


def test_keywords_of_everything_score_higher_than_those_of_training():
    corpus = load_corpus("duet")
    protocol = make_protocol(corpus, "session-out")
    fair, leaked = (predict_by_keywords(corpus, protocol, everything=e, top_k=50) for e in (False, True))
    assert sorted(fair["id"]) == sorted(corpus.targets["id"])
    assert (fair["truth"].to_numpy() == corpus.targets.set_index("id")["label"].loc[fair["id"]].to_numpy()).all()
    right = [(run["truth"] == run["predicted"]).mean() for run in (fair, leaked)]
    assert 0.45 < right[0] < right[1]


def test_an_utterance_without_keywords_gets_the_most_frequent_training_class():
    corpus = load_corpus("duet")
    protocol = make_protocol(corpus, "session-out")
    silent = predict_by_keywords(corpus, protocol, min_count=10_000)
    label_of = corpus.targets.set_index("id")["label"]
    for fold in protocol.folds:
        assert set(silent["predicted"][silent["fold"] == fold.name]) == {label_of.loc[list(fold.train)].mode()[0]}
