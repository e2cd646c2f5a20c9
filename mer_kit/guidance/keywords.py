"""Label keywords of LE-MER (Wang et al., Interspeech 2023, arXiv 2309.02106), section 2.1.

"we extract the keywords on the text corpus under one class in the training set ... Specifically, we adopt the commonly
used TF-IDF algorithm to extract the Top-K words". The paper does not say what a document is, nor which idf. We take all
training texts of a class as one document, so n = number of classes, and

    tf-idf(w, class) = tf(w, class) · log(n / df(w))

with tf = count of w in the class's texts and df = number of classes whose texts hold w at least `min_count` times: one
slip of the tongue does not make "angry" a word of happy people. A word of every class weighs nothing. Library defaults
smooth the idf, log((1 + n) / (1 + df)) + 1, which with so few documents stays near 1 for every word, so that "you",
"the" and "to" come first: kept as `idf="smoothed"` and shown failing in notebook 01.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

from mer_kit.corpora.corpus import Corpus
from mer_kit.corpora.protocols import Protocol
from mer_kit.errors import BadInput, pick

WORD = r"(?u)\b\w[\w']*\w\b|\b\w\b"
TOP_K = 9  # words a class, as in the paper's Figure 3
IDF = {
    "log": lambda n, df: np.log(n / df),
    "smoothed": lambda n, df: np.log((1 + n) / (1 + df)) + 1,  # scikit-learn's default
    "none": lambda n, df: np.ones_like(df, dtype=float),
}
STOP_WORDS = {"english": ENGLISH_STOP_WORDS, "none": frozenset()}


def keywords(texts: Sequence[str], labels: Sequence[str], classes: Sequence[str], top_k: int | None = TOP_K,
             idf: str = "log", stop_words: str | Collection[str] = "english", min_count: int = 3) -> pd.DataFrame:
    """The `top_k` words of each class by tf · idf over the classes' documents.

    texts, labels: of the training part alone. idf: "log", "smoothed" or "none". min_count: a word counts for a class
    from this many occurrences in it. top_k None: all words. stop_words: "english", "none", or a list; a word with an
    apostrophe is stopped by what stands before it ("you're" by "you").
    Returns columns class, rank (1 ..), word, count, df, tfidf; ties in the order of the alphabet. Classes whose words
    all occur in every class have no rows: such texts carry nothing.
    """
    require_classes("text", labels, classes)
    stops = pick("stop_words", stop_words, STOP_WORDS) if isinstance(stop_words, str) else frozenset(stop_words)
    counts, words = class_counts(texts, labels, classes)
    stopped = np.array([w in stops or w.split("'")[0] in stops for w in words])
    return tf_idf(counts, counts >= min_count, words, classes, top_k, idf, stopped, "word")


def tf_idf(counts: np.ndarray, counted: np.ndarray, terms: Sequence, classes: Sequence[str], top_k: int | None,
           idf: str = "log", stopped: np.ndarray | bool = False, column: str = "term") -> pd.DataFrame:
    """The `top_k` terms of each class, words or codes of sound, as in `keywords`; `column` names them in the table.

    counts (C, terms); counted (C, terms): does the term count for the class (df sums it)? stopped (terms,): left out.
    """
    df = np.maximum(counted.sum(axis=0), 1)
    weight = counts * pick("idf", idf, IDF)(len(classes), df)
    usable = counted & ~np.asarray(stopped) & (weight > 0)
    rows = [(c, terms[j], counts[i, j], df[j], weight[i, j])
            for i, c in enumerate(classes) for j in np.flatnonzero(usable[i])]
    table = pd.DataFrame(rows, columns=["class", column, "count", "df", "tfidf"])
    table["class"] = pd.Categorical(table["class"], list(classes))
    table = table.sort_values(["class", "tfidf", column], ascending=[True, False, True], ignore_index=True)
    table.insert(1, "rank", table.groupby("class", observed=True).cumcount() + 1)
    return table if top_k is None else table[table["rank"] <= top_k].reset_index(drop=True)


def require_classes(what: str, labels: Sequence[str], classes: Sequence[str]) -> None:
    """Refuse training labels in which a class never occurs; what: "text" or "sound"."""
    if missing := [c for c in classes if c not in set(labels)]:
        raise BadInput(f"no training {what} of class {missing[0]!r}; what is key to a class shows only beside "
                       f"every other: {', '.join(classes)}")


def class_counts(texts: Sequence[str], labels: Sequence[str], classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """How often each word stands in each class's texts: counts (C, words), words (words,) in lower case."""
    vectorizer = CountVectorizer(token_pattern=WORD, preprocessor=_plain)
    try:
        occurrences = vectorizer.fit_transform(texts)
    except ValueError:  # scikit-learn's answer to texts without any word
        raise BadInput(f"none of the {len(texts)} training texts holds a word; keywords need text") from None
    labels = np.asarray(labels)
    counts = np.stack([np.asarray(occurrences[labels == c].sum(axis=0)).ravel() for c in classes])
    return counts, vectorizer.get_feature_names_out()


def overlap(table: pd.DataFrame) -> pd.DataFrame:
    """How many keywords two classes share, (C, C); the diagonal holds each class's own number."""
    classes = table["class"].cat.categories
    words = {c: set(table["word"][table["class"] == c]) for c in classes}
    return pd.DataFrame([[len(words[a] & words[b]) for b in classes] for a in classes], classes, classes)


def score_by_keywords(texts: Sequence[str], table: pd.DataFrame) -> pd.DataFrame:
    """Each text's share of tf-idf in each class's keywords, (n, C): what the keywords alone can tell, without training.

    A word's vote for a class is its tfidf there, divided by the class's largest so that no class shouts.
    """
    classes = table["class"].cat.categories
    votes = table.assign(vote=table["tfidf"] / table.groupby("class", observed=True)["tfidf"].transform("max"))
    votes = votes.pivot(index="word", columns="class", values="vote").reindex(columns=classes).fillna(0.0)
    if votes.empty:
        return pd.DataFrame(0.0, range(len(texts)), classes)
    counter = CountVectorizer(token_pattern=WORD, preprocessor=_plain, vocabulary=votes.index, binary=True)
    return pd.DataFrame(counter.transform(texts) @ votes.to_numpy(), columns=classes)


def predict_by_keywords(corpus: Corpus, protocol: Protocol, everything: bool = False, **options) -> pd.DataFrame:
    """Each fold's test part classified by keywords alone: the class with most votes, else training's most frequent one.

    everything: choose the keywords on all texts, the tested ones among them. This is the leak that notebook 01 shows,
    and nothing else in the kit does. options: of `keywords`. Returns columns fold, keywords, id, truth, predicted.
    """
    corpus.require("text")
    rows, classes, runs = corpus.targets.set_index("id"), corpus.label_set.classes, []
    for fold in protocol.folds:
        train, test = rows.loc[list(fold.train)], rows.loc[list(fold.test)]
        source = rows if everything else train
        votes = score_by_keywords(test["text"], keywords(source["text"], source["label"], classes, **options))
        best = votes.idxmax(axis=1).where(votes.max(axis=1) > 0, train["label"].mode()[0])
        runs.append(pd.DataFrame({"fold": fold.name, "keywords": "everything" if everything else "training part",
                                  "id": fold.test, "truth": test["label"].to_numpy(), "predicted": best.to_numpy()}))
    return pd.concat(runs, ignore_index=True)


def _plain(text: str | None) -> str:
    return (text or "").lower().replace("’", "'")
