"""The three scores of the papers, per-class recalls and the confusion matrix; all as fractions, not percent.

WA  weighted accuracy: the share of correct utterances
UA  unweighted accuracy: the mean of the classes' recalls
WF1 the mean of the classes' F1, weighted by how often each class is true

A class that is never true in what is scored has no recall: it is NaN in `recalls`, an empty row in a normalised
confusion, and left out of UA. (scikit-learn would count it as 0, which punishes a small test set for its size.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from mer_kit.errors import BadInput, unknown


def scores(truth: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> dict[str, float]:
    """WA, UA and WF1 of class names, or numbers, that stand in `classes`.

    >>> scores(["sad", "sad", "happy"], ["sad", "happy", "happy"], ["happy", "sad"])["UA"]
    0.75
    """
    truth, predicted, classes = _checked(truth, predicted, classes)
    return {"WA": float(accuracy_score(truth, predicted)),
            "UA": float(recalls(truth, predicted, classes).mean()),
            "WF1": float(f1_score(truth, predicted, labels=classes, average="weighted", zero_division=0))}


def recalls(truth: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> pd.Series:
    """The share of each class's utterances that were recognised, by class; NaN for a class that is never true."""
    matrix = confusion(truth, predicted, classes, normalise=True)
    return pd.Series(np.diag(matrix), index=matrix.index, name="recall")


def confusion(truth: Sequence[str], predicted: Sequence[str], classes: Sequence[str],
              normalise: bool = False) -> pd.DataFrame:
    """Utterances by true class (rows) and predicted class (columns); normalised, each row sums to 1."""
    truth, predicted, classes = _checked(truth, predicted, classes)
    counts = pd.DataFrame(confusion_matrix(truth, predicted, labels=classes), index=pd.Index(classes, name="truth"),
                          columns=pd.Index(classes, name="predicted"))
    return counts.div(counts.sum(axis=1), axis=0) if normalise else counts


def scores_by_novelty(truth: Sequence[str], predicted: Sequence[str], classes: Sequence[str],
                      seen: Sequence[bool]) -> pd.DataFrame:
    """The scores over all test utterances, over those whose text stands in training, and over the unique ones.

    seen: `corpora.audit.seen_in_training`, in the order of `truth`. Columns: utterances, WA, UA, WF1 (NaN over none).
    """
    truth, predicted, classes = _checked(truth, predicted, classes)
    seen = np.asarray(seen, dtype=bool)
    if seen.shape != truth.shape:
        raise BadInput(f"got {len(seen)} marks of seen texts for {len(truth)} utterances; expected one for each")
    parts = {"all": np.full(len(seen), True), "text seen in training": seen, "text unique": ~seen}
    return pd.DataFrame({name: {"utterances": int(part.sum())} | (
        scores(truth[part], predicted[part], classes) if part.any() else dict.fromkeys(("WA", "UA", "WF1"), np.nan))
        for name, part in parts.items()}).T.astype({"utterances": int})


def score_table(predictions: pd.DataFrame, classes: Sequence[str], by: Sequence[str]) -> pd.DataFrame:
    """WA, UA and WF1 of every group of `by` (such as protocol, inputs, fold); columns truth and predicted are read."""
    rows = [dict(zip(by, key, strict=True)) | scores(group["truth"], group["predicted"], classes)
            for key, group in predictions.groupby(list(by), sort=False)]
    return pd.DataFrame(rows)


def _checked(truth: Sequence, predicted: Sequence, classes: Sequence) -> tuple[np.ndarray, np.ndarray, list]:
    truth, predicted, classes = np.asarray(truth), np.asarray(predicted), list(classes)
    if truth.ndim != 1 or truth.shape != predicted.shape or not len(truth):
        raise BadInput(f"got {truth.shape} true and {predicted.shape} predicted labels; expected as many of both, at "
                       "least one, in one dimension")
    for kind, labels in (("true label", truth), ("predicted label", predicted)):
        if strangers := set(labels.tolist()) - set(classes):
            raise unknown(kind, min(strangers, key=str), classes)
    return truth, predicted, classes
