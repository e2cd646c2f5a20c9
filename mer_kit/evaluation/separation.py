"""Are classes apart in a space of features? Measured, since a picture of it depends on how it was drawn; and drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_samples
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from mer_kit.errors import BadInput, Missing, unknown
from mer_kit.evaluation.statistics import cluster_interval

PROJECTIONS = ("pca", "tsne", "umap")


def silhouettes(features: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """(n,) from -1 to 1: how much nearer each of features (n, d) is, by cosine, to its own class than to the next."""
    features, classes = np.asarray(features, dtype=float), set(labels)
    if features.ndim != 2 or len(features) != len(labels) or not 2 <= len(classes) < len(features):
        raise BadInput(f"got features {features.shape} and {len(labels)} labels of {len(classes)} classes; expected "
                       "(n, d) and n labels of at least 2 classes, not each its own")
    return silhouette_samples(features, np.asarray(labels), metric="cosine")


def class_ratio(features: np.ndarray, labels: Sequence[str]) -> float:
    """Variance between class means, each weighed by its size, over variance within classes, summed over dimensions."""
    table = pd.DataFrame(np.asarray(features, dtype=float))
    means = table.groupby(np.asarray(labels)).transform("mean")
    return float(((means - table.mean()) ** 2).to_numpy().sum() / ((table - means) ** 2).to_numpy().sum())


def separation_table(systems: dict[str, np.ndarray], labels: Sequence[str], clusters: Sequence[str]) -> pd.DataFrame:
    """A row a system: mean silhouette with its interval over clusters (dialogues), class ratio, and for all but the
    first how far the first is ahead in silhouette, in pairs.

    systems: name -> features (n, d) of the same utterances. Columns silhouette, low, high, ratio, ahead, ahead_low,
    ahead_high.
    """
    apart = {name: silhouettes(features, labels) for name, features in systems.items()}
    first, rows = next(iter(apart)), {}
    for name, values in apart.items():
        ahead = cluster_interval(apart[first] - values, clusters) if name != first else (np.nan,) * 3
        rows[name] = (*cluster_interval(values, clusters), class_ratio(systems[name], labels), *ahead)
    return pd.DataFrame.from_dict(rows, orient="index", columns=[
        "silhouette", "low", "high", "ratio", "ahead", "ahead_low", "ahead_high"])


def projection(features: np.ndarray, method: str = "tsne", seed: int = 0) -> np.ndarray:
    """(n, 2): features (n, d) on a plane, neighbours by cosine kept near; nothing else in the picture can be relied on.

    method: "pca", the two directions of most variance; "tsne", which starts from them; or "umap", which the package
    umap-learn has. Another seed gives another picture by the last two.
    """
    features = np.asarray(features, dtype=float)
    if method not in PROJECTIONS:
        raise unknown("projection", method, PROJECTIONS)
    if features.ndim != 2 or len(features) < 4:
        raise BadInput(f"got features {features.shape}; expected (n, d) of at least 4 utterances")
    if method == "umap":
        try:
            from umap import UMAP  # here: seconds to import
        except ImportError:
            raise Missing("umap-learn is not installed; install it (pip install umap-learn), or take 'tsne'") from None
        drawn = UMAP(n_neighbors=min(15, len(features) - 1), random_state=seed, n_jobs=1)
    elif method == "pca":
        drawn = PCA(2, svd_solver="full")
    else:
        drawn = TSNE(perplexity=min(30.0, (len(features) - 1) / 3), init="pca", random_state=seed)
    with threadpool_limits(1):  # sums split otherwise change the picture; and UMAP would leave torch its own threads
        return drawn.fit_transform(normalize(features))


def projected_together(features: np.ndarray, labels: np.ndarray | None, method: str = "tsne",
                       seed: int = 0) -> tuple[np.ndarray, np.ndarray | None]:
    """`projection` of features (n, d) with label embeddings (C, d) among them: places (n, 2), and of labels (C, 2)."""
    if labels is None:
        return projection(features, method, seed), None
    return tuple(np.split(projection(np.concatenate([features, labels]), method, seed), [len(features)]))


def nearest_labels(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,): which of the label embeddings (C, d) is nearest to each of features (n, d), by cosine."""
    return (normalize(features) @ normalize(labels).T).argmax(axis=1)
