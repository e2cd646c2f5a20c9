"""Intervals and paired tests, against plain loops, textbooks' numbers and simulated data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mer_kit.errors import BadInput
from mer_kit.evaluation.metrics import scores
from mer_kit.evaluation.statistics import (
    SCORES,
    cluster_interval,
    interval,
    mcnemar,
    paired_cluster_bootstrap,
)

CLASSES = ("angry", "happy", "neutral", "sad")


def made_up(clusters: int, size: int, right_a: float, right_b: float, seed: int, spread: float = 0.3):
    """Truth, two systems' predictions and clusters; each cluster is `spread` easier or harder for each system."""
    generator = np.random.default_rng(seed)
    truth = generator.choice(CLASSES, (clusters, size), p=[0.2, 0.2, 0.5, 0.1])

    def system(right: float) -> np.ndarray:
        ease = generator.uniform(right - spread, right + spread, (clusters, 1))
        return np.where(generator.random(truth.shape) < ease, truth, generator.choice(CLASSES, truth.shape))

    of = np.repeat(np.arange(clusters), size)
    return truth.ravel(), system(right_a).ravel(), system(right_b).ravel(), of


def test_interval_is_students():
    values = [0.7, 0.72, 0.68, 0.75]
    mean, low, high = interval(values)
    assert mean == pytest.approx(0.7125)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 3, 0.7125, np.std(values, ddof=1) / 2))
    assert high - mean == pytest.approx(3.182446 * 0.029861 / 2, rel=1e-4)
    assert interval(np.reshape(values, (2, 2))) == interval(values)
    assert interval([0.5, 0.5]) == (0.5, 0.5, 0.5)


def test_one_value_has_no_interval():
    mean, low, high = interval([0.6])
    assert mean == 0.6 and np.isnan(low) and np.isnan(high)
    for wrong in ([], [0.5, np.nan]):
        with pytest.raises(BadInput, match="expected at least one, all of them numbers"):
            interval(wrong)


@pytest.mark.parametrize("metric", SCORES)
def test_scores_from_counts_are_those_of_the_metrics(metric):
    generator = np.random.default_rng(0)
    for _ in range(200):
        truth, said = (generator.integers(0, 4, 6) for _ in range(2))  # few, so that classes are often absent
        counts = np.zeros((4, 4))
        np.add.at(counts, (truth, said), 1)
        assert SCORES[metric](counts) == pytest.approx(scores(truth, said, range(4))[metric])


@pytest.mark.parametrize("metric", SCORES)
def test_bootstrap_equals_a_plain_loop(metric):
    truth, a, b, clusters = made_up(12, 7, 0.7, 0.6, seed=1)
    found = paired_cluster_bootstrap(truth, a, b, clusters, metric, resamples=200, seed=5)
    draws = np.random.default_rng(5).multinomial(12, np.full(12, 1 / 12), size=200)
    differences = []
    for draw in draws:
        rows = np.concatenate([np.flatnonzero(clusters == c) for c, times in enumerate(draw) for _ in range(times)])
        of_a, of_b = (scores(truth[rows], said[rows], CLASSES)[metric] for said in (a, b))
        differences.append(of_a - of_b)
    differences = np.round(differences, 12)
    observed = scores(truth, a, CLASSES)[metric] - scores(truth, b, CLASSES)[metric]
    assert found[:3] == pytest.approx((observed, *np.quantile(differences, [0.025, 0.975])))
    extreme = min((differences <= 0).sum(), (differences >= 0).sum()) + 1
    assert found.p == pytest.approx(min(1, 2 * extreme / 201))


def test_clusters_may_have_any_names_and_sizes_and_rows_any_order():
    truth, a, b, clusters = made_up(15, 6, 0.8, 0.6, seed=2)
    keep = np.random.default_rng(0).permutation(len(truth))[:70]
    found = paired_cluster_bootstrap(truth[keep], a[keep], b[keep], clusters[keep], "UA")
    order = np.argsort(keep)
    named = [f"Ses{c:02}" for c in clusters[keep][order]]
    assert paired_cluster_bootstrap(*(list(x[keep][order]) for x in (truth, a, b)), named, "UA") == found
    swapped = paired_cluster_bootstrap(truth[keep], b[keep], a[keep], clusters[keep], "UA")
    assert swapped == pytest.approx((-found.difference, -found.high, -found.low, found.p))


def test_the_same_predictions_do_not_differ():
    truth, a, _, clusters = made_up(10, 5, 0.7, 0.7, seed=3)
    for metric in SCORES:
        assert paired_cluster_bootstrap(truth, a, a, clusters, metric) == (0, 0, 0, 1)
    assert mcnemar(truth, a, a) == (0, 0, 1)


def test_a_clear_difference_is_found_and_p_agrees_with_the_interval():
    truth, a, b, clusters = made_up(30, 20, 0.9, 0.5, seed=4, spread=0.1)
    found = paired_cluster_bootstrap(truth, a, b, clusters, "WA", resamples=999)
    assert found.low > 0.2 and found.p == pytest.approx(2 / 1000)
    for seed in range(30):
        found = paired_cluster_bootstrap(*made_up(25, 8, 0.75, 0.68, seed=seed), "WA", resamples=2000)
        if not 0.04 < found.p < 0.06:
            assert (found.p < 0.05) == (not found.low <= 0 <= found.high)


def test_p_is_about_uniform_without_a_difference():
    p = [paired_cluster_bootstrap(*made_up(40, 10, 0.7, 0.7, seed=seed), "UA", resamples=400).p for seed in range(300)]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.09
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_intervals_cover_the_truth():
    """With clusters alike inside, 95 % of intervals hold the true difference; resampled utterances hold fewer."""
    inside, naive = [], []
    for seed in range(300):
        truth, a, b, clusters = made_up(30, 12, 0.75, 0.6, seed=seed, spread=0.25)
        true = 0.75 * (0.75 - 0.6)  # a guess is right once in four
        found = paired_cluster_bootstrap(truth, a, b, clusters, "WA", resamples=400)
        inside.append(found.low <= true <= found.high)
        alone = paired_cluster_bootstrap(truth, a, b, np.arange(len(truth)), "WA", resamples=100)
        naive.append(alone.low <= true <= alone.high)
    assert 0.91 <= np.mean(inside) <= 0.98
    assert np.mean(naive) < np.mean(inside)


def test_means_of_clusters_equal_a_plain_loop():
    generator = np.random.default_rng(6)
    values, clusters = generator.random(50), generator.integers(0, 9, 50)
    found = cluster_interval(values, clusters, resamples=200, seed=3)
    draws = np.random.default_rng(3).multinomial(9, np.full(9, 1 / 9), size=200)
    means = [np.mean(np.concatenate([np.tile(values[clusters == c], n) for c, n in enumerate(d)])) for d in draws]
    assert found == pytest.approx((values.mean(), *np.quantile(means, [0.025, 0.975])))
    assert cluster_interval([1, 1, 1], ["a", "a", "b"]) == (1, 1, 1)


def test_mcnemar_is_the_binomial_test():
    truth = ["x"] * 20
    a = ["x"] * 10 + ["y"] * 2 + ["x"] * 5 + ["y"] * 3
    b = ["y"] * 10 + ["x"] * 2 + ["x"] * 5 + ["z"] * 3
    found = mcnemar(truth, a, b)
    assert found[:2] == (10, 2)
    assert found.p == pytest.approx(2 * sum(np.array([1, 12, 66])) / 2**12)  # two tails of 0, 1, 2 of 12
    assert mcnemar(truth, b, a) == (2, 10, found.p)


def test_wrong_shapes_are_refused():
    with pytest.raises(BadInput, match=r"got \[3, 3, 2, 3\] true labels"):
        paired_cluster_bootstrap("abc", "abc", "ab", "xyz", "WA")
    with pytest.raises(BadInput, match="one cluster; resampling needs at least two dialogues"):
        paired_cluster_bootstrap(list("ab"), list("ab"), list("ba"), list("xx"), "WA")
    with pytest.raises(BadInput, match="unknown metric 'F1'; expected one of: WA, UA, WF1"):
        paired_cluster_bootstrap(list("ab"), list("ab"), list("ba"), list("xy"), "F1")
    with pytest.raises(BadInput, match="a number for each"):
        cluster_interval([0.1, np.nan], ["a", "b"])
