"""Intervals of trials in clusters: how often they hold the truth, and that single trials are as without clusters."""

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from lapilli.core.statistics.bootstrap import mean
from lapilli.core.statistics.clusters import clustered, clustered_mean
from lapilli.core.statistics.proportion import score_interval, wilson

TIMES = 600


def trials(rng, clusters, share, alike):
    """One to five a cluster; `alike` is their correlation within one."""
    sizes = rng.integers(1, 6, clusters)
    of_cluster = rng.beta(share * (1 / alike - 1), (1 - share) * (1 / alike - 1), clusters)
    cluster = np.repeat(np.arange(clusters), sizes)
    return rng.random(len(cluster)) < of_cluster[cluster], cluster


@pytest.mark.parametrize("clusters", [10, 40, 200])
@pytest.mark.parametrize(("share", "alike"), [(0.5, 0.01), (0.5, 0.6), (0.8, 0.3), (0.97, 0.2)])
def test_a_share_covers_the_truth_as_often_as_stated(clusters, share, alike):
    rng = np.random.default_rng(clusters)
    found = [clustered(*trials(rng, clusters, share, alike)) for _ in range(TIMES)]
    covered = np.mean([one.low <= share <= one.high for one in found])
    assert covered >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / TIMES)
    assert covered <= (0.995 if clusters == 10 else 0.985)  # the fewer, the wider


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_who_takes_the_trials_for_independent_covers_it_too_seldom(share):
    """The control of the test above."""
    rng = np.random.default_rng(0)
    made = [trials(rng, 200, share, 0.6)[0] for _ in range(TIMES)]
    found = [wilson(right.sum(), len(right)) for right in made]
    assert np.mean([one.low <= share <= one.high for one in found]) < 0.85


@pytest.mark.parametrize(("right", "n"), [(0, 7), (3, 7), (7, 7), (12, 400), (0, 0)])
def test_single_trials_have_wilsons_interval(right, n):
    assert repr(clustered([at < right for at in range(n)], range(n))) == repr(wilson(right, n))  # nan equals none


@pytest.mark.parametrize("right", [True, False])
def test_where_all_are_right_or_none_a_cluster_counts_once(right):
    found, alone = clustered([right] * 40, [at // 4 for at in range(40)]), wilson(10 * right, 10)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high)) and found.n == 40
    one = clustered([True, False, True], ["a.png"] * 3)
    assert one.low < 0.15 and one.high > 0.9


@pytest.mark.parametrize("wrong", [1, 12, 60])
def test_few_clusters_with_the_rarer_result_tell_little_of_how_alike_trials_are(wrong):
    """Of 100 clusters of six `wrong` have half of their trials wrong: one counts as much as that trials are copies."""
    hits = np.array([3] * wrong + [6] * (100 - wrong))
    share, n = hits.mean() / 6, 600
    between, alone = ((hits - 6 * share) ** 2).sum() * 100 / 99, n * n * share * (1 - share) / (n - 1)
    effect = (wrong * min(max(1, between / alone), 6) + 6) / (wrong + 1)
    independent = n / effect * (norm.ppf(0.975) / student.ppf(0.975, 99)) ** 2
    expected = score_interval(hits.sum(), n, independent)
    found = clustered([trial < hit for hit in hits for trial in range(6)], [at // 6 for at in range(n)])
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("clusters", "size"), [(49, 8), (20, 10), (100, 2)])
def test_a_first_wrong_answer_does_not_make_a_share_much_surer(clusters, size):
    lows = [
        clustered(
            [at >= wrong * size or at % size > 0 for at in range(clusters * size)], np.arange(clusters * size) // size
        ).low
        for wrong in range(4)
    ]
    assert max(lows) - lows[0] < 0.08 and lows[3] - lows[1] < 0.03


def test_right_and_wrong_are_mirror_images():
    right = [False, False, False, False, *[True] * 6, False, False]
    cluster = [0, 0, 1, 2, *[3] * 7, 2]
    found, other = clustered(right, cluster), clustered([not one for one in right], cluster)
    assert (found.low, found.high) == pytest.approx((1 - other.high, 1 - other.low))


def test_one_cluster_that_went_wrong_leaves_an_interval_near_that_of_single_trials():
    found = clustered([at > 1 for at in range(50)], [max(at, 1) for at in range(50)])
    alone = wilson(48, 50)
    assert alone.low - 0.03 < found.low < alone.low and alone.high < found.high < 1


def test_what_clusters_are_called_does_not_matter():
    right, cluster = trials(np.random.default_rng(3), 30, 0.5, 0.3)
    named = [f"{number:03d}.png" for number in cluster]
    order = np.random.default_rng(4).permutation(len(right))
    mixed = clustered(right[order], [named[at] for at in order])
    assert (mixed.low, mixed.high) == pytest.approx((clustered(right, cluster).low, clustered(right, named).high))


@pytest.mark.parametrize("clusters", [20, 100])
def test_a_mean_covers_the_truth_as_often_as_stated(clusters):
    rng, covered, naive = np.random.default_rng(clusters), 0, 0
    for _ in range(TIMES):
        cluster = np.repeat(np.arange(clusters), rng.integers(1, 6, clusters))
        values = rng.normal(0, 1, clusters)[cluster] + 0.5 * rng.normal(0, 1, len(cluster))
        found = clustered_mean(values, cluster)
        covered += found.low <= 0 <= found.high
        naive += abs(values.mean()) < 1.96 * values.std() / np.sqrt(len(values))
    assert covered / TIMES >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / TIMES) > naive / TIMES


def test_the_mean_of_single_values_is_that_without_clusters():
    values = np.random.default_rng(5).normal(size=50)
    ours, theirs = clustered_mean(values, range(50)), mean(values)
    assert (ours.value, ours.low, ours.high, ours.n) == pytest.approx((theirs.value, theirs.low, theirs.high, 50))
    assert clustered_mean([], []).n == 0
