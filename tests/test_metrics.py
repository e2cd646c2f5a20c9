"""Scores against hand numbers, scikit-learn and their limits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from mer_kit.errors import BadInput
from mer_kit.evaluation import confusion, recalls, scores, scores_by_novelty

CLASSES = ("angry", "happy", "sad")
TRUTH = ["angry"] * 4 + ["happy"] * 2 + ["sad"] * 2
HEARD = ["angry", "angry", "angry", "sad", "happy", "angry", "sad", "angry"]


def test_hand_numbers():
    """Recalls 3/4, 1/2, 1/2. F1: angry 2 * 3 / (4 + 5), happy 2 / (2 + 1), sad 2 / (2 + 2), weights 4, 2, 2."""
    found = scores(TRUTH, HEARD, CLASSES)
    assert found["WA"] == pytest.approx(5 / 8)
    assert found["UA"] == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 3)
    assert found["WF1"] == pytest.approx((4 * 6 / 9 + 2 * 2 / 3 + 2 * 2 / 4) / 8)
    assert recalls(TRUTH, HEARD, CLASSES).to_dict() == {"angry": 0.75, "happy": 0.5, "sad": 0.5}


def test_confusion_by_hand():
    table = confusion(TRUTH, HEARD, CLASSES)
    assert table.to_numpy().tolist() == [[3, 0, 1], [1, 1, 0], [1, 0, 1]]
    assert (table.index.name, table.columns.name) == ("truth", "predicted")
    assert table.columns.tolist() == list(CLASSES)
    normalised = confusion(TRUTH, HEARD, CLASSES, normalise=True)
    assert normalised.loc["happy"].tolist() == [0.5, 0.5, 0.0]


def test_the_best_and_the_worst():
    assert scores(TRUTH, TRUTH, CLASSES) == {"WA": 1.0, "UA": 1.0, "WF1": 1.0}
    worst = [CLASSES[(CLASSES.index(t) + 1) % 3] for t in TRUTH]
    assert scores(TRUTH, worst, CLASSES) == {"WA": 0.0, "UA": 0.0, "WF1": 0.0}


def test_one_answer_for_all_has_chance_ua():
    found = scores(TRUTH, ["angry"] * 8, CLASSES)
    assert found["WA"] == 0.5 and found["UA"] == pytest.approx(1 / 3)
    assert found["WF1"] == pytest.approx(4 / 8 * 2 * 4 / (4 + 8))


def test_a_class_that_is_never_true_is_left_out_of_ua():
    found = scores(["angry", "happy"], ["angry", "sad"], CLASSES)
    assert found == {"WA": 0.5, "UA": 0.5, "WF1": 0.5}
    table = confusion(["angry", "happy"], ["angry", "sad"], CLASSES, normalise=True)
    assert table.loc["sad"].isna().all() and table.loc["happy"].tolist() == [0, 0, 1]
    assert recalls(["angry"], ["angry"], CLASSES).isna().sum() == 2
    assert scores(["sad"], ["sad"], CLASSES) == {"WA": 1.0, "UA": 1.0, "WF1": 1.0}


def test_numbers_series_and_arrays_do_as_well():
    names = scores(TRUTH, HEARD, CLASSES)
    number = CLASSES.index
    assert scores(np.array([number(t) for t in TRUTH]), [number(h) for h in HEARD], range(3)) == names
    assert scores(pd.Series(TRUTH, index=range(8, 16)), pd.Series(HEARD), CLASSES) == names


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), min_size=1, max_size=40))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_ua_is_balanced_accuracy(pairs):
    truth, heard = zip(*pairs, strict=True)
    found = scores(truth, heard, CLASSES)
    assert found["UA"] == pytest.approx(balanced_accuracy_score(truth, heard))
    assert found["WA"] == pytest.approx(np.mean([t == h for t, h in pairs]))
    assert 0 <= found["WF1"] <= 1


@pytest.mark.parametrize(("truth", "heard", "words"), [
    (["angry"], ["hapy"], "unknown predicted label 'hapy'; expected one of: angry, happy, sad; did you mean 'happy'"),
    (["fear"], ["angry"], "unknown true label 'fear'"),
    ([None], ["angry"], "unknown true label 'None'"),
    ([], [], "at least one"),
    (["angry"], ["angry", "sad"], r"got \(1,\) true and \(2,\) predicted labels; expected as many of both"),
    ([["angry"]], [["angry"]], "in one dimension"),
])
def test_bad_labels_are_refused(truth, heard, words):
    for function in (scores, confusion, recalls):
        with pytest.raises(BadInput, match=words):
            function(truth, heard, CLASSES)


def test_scores_by_novelty():
    seen = [True, True, False, False, False, False, False, True]
    table = scores_by_novelty(TRUTH, HEARD, CLASSES, seen)
    assert table["utterances"].to_dict() == {"all": 8, "text seen in training": 3, "text unique": 5}
    np.testing.assert_allclose(table["WA"], [5 / 8, 2 / 3, 3 / 5])
    assert table.loc["all", ["WA", "UA", "WF1"]].to_dict() == scores(TRUTH, HEARD, CLASSES)
    none = scores_by_novelty(TRUTH, HEARD, CLASSES, [False] * 8)
    assert none.loc["text seen in training"].isna().tolist() == [False, True, True, True]
    with pytest.raises(BadInput, match="got 2 marks of seen texts for 8 utterances"):
        scores_by_novelty(TRUTH, HEARD, CLASSES, [True, False])
