"""Paired comparisons, against scipy, by hand and by simulation (benchmarks/coverage.py)."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binomtest, norm, ttest_rel

from lapilli.core.statistics import clusters, paired
from lapilli.core.statistics.clusters import clustered_mean
from lapilli.core.statistics.paired import detectable, kappa, mcnemar, paired_difference

ALONE = range(200)


def binary(first_only, second_only, both=3, neither=2):
    pairs = [(1, 0)] * first_only + [(0, 1)] * second_only + [(1, 1)] * both + [(0, 0)] * neither
    return [bool(one) for one, _ in pairs], [bool(other) for _, other in pairs]


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (5, 5), (9, 2), (2, 9), (60, 35)])
def test_mcnemar_is_the_exact_sign_test(first, second):
    result = mcnemar(*binary(first, second))
    assert (result.first_only, result.second_only) == (first, second)
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert result.p == pytest.approx(expected, abs=1e-12)


def test_a_difference_of_independent_pairs_is_nearly_that_of_the_t_test():
    rng = np.random.default_rng(3)
    first, second = rng.normal(0.12, 1, 200), rng.normal(0, 1, 200)
    result, expected = paired_difference(first, second, ALONE), ttest_rel(first, second)
    low, high = expected.confidence_interval()
    assert result.n == 200 and result.value == pytest.approx((first - second).mean(), abs=1e-12)
    assert (result.low, result.high) == pytest.approx((low, high), abs=0.02)
    assert result.p == pytest.approx(expected.pvalue, abs=0.02)


@pytest.mark.parametrize("n", [5, 6, 8, 9, 12, 30])
@pytest.mark.parametrize("sign", [1, -1])
def test_of_few_clusters_that_all_differ_in_one_direction_p_is_the_sign_test_s_at_most(n, sign):
    """So that the interval and p say the same from six clusters on, below which no such test finds anything."""
    apart = sign * np.random.default_rng(n).uniform(0.5, 1.5, n)
    result = paired_difference(apart, np.zeros(n), range(n))
    assert 0 < result.p <= binomtest(n, n).pvalue
    assert (result.p < 0.05) == (n > 5) and result.low * result.high > 0


def test_copies_of_a_picture_s_questions_add_nothing():
    rng = np.random.default_rng(4)
    first, second = rng.normal(0.3, 1, 50), rng.normal(0, 1, 50)
    alone = paired_difference(first, second, range(50))
    copied = paired_difference(np.repeat(first, 4), np.repeat(second, 4), np.repeat(range(50), 4))
    assert (copied.low, copied.high, copied.p) == pytest.approx((alone.low, alone.high, alone.p), abs=1e-9)
    assert copied.n == 200
    naive = paired_difference(np.repeat(first, 4), np.repeat(second, 4), ALONE)
    assert naive.high - naive.low < 0.6 * (alone.high - alone.low)


def test_of_nothing_and_of_what_never_differs_no_p_is_given():
    for values in ([], [1.0], [1.0, 0.0, 1.0]):
        for more in (0, 0.1):
            higher = [value + more for value in values]
            result = paired_difference(higher, values, range(len(values)))
            assert np.isnan(result.p) and np.isnan(detectable(higher, values, range(len(values))))


def test_the_least_detectable_difference_is_found_four_times_in_five():
    """Of true differences of that size, by the normal approximation that it is from."""
    rng = np.random.default_rng(5)
    first, second = rng.normal(0, 1, 200), rng.normal(0, 1, 200)
    least = detectable(first, second, ALONE)
    error = (first - second).std(ddof=1) / np.sqrt(200)
    assert norm.sf(norm.isf(0.025) - least / error) == pytest.approx(0.8, abs=0.02)


def test_more_questions_detect_less():
    rng = np.random.default_rng(6)
    first, second = rng.normal(0, 1, 800), rng.normal(0, 1, 800)
    least = [detectable(first[:n], second[:n], range(n)) for n in (50, 200, 800)]
    assert all(more > less for more, less in pairwise(least))


def test_of_many_clusters_nothing_is_drawn_and_nothing_changes(monkeypatch):
    rng = np.random.default_rng(8)
    cluster = np.repeat(np.arange(3_000), rng.integers(1, 4, 3_000))
    first, second = (rng.normal(gap, 1, len(cluster)) for gap in (0.03, 0))
    drawn = paired_difference(first, second, cluster), clustered_mean(first, cluster)
    monkeypatch.setattr(clusters, "MANY", 2_000)
    monkeypatch.setattr(paired, "MANY", 2_000)
    normal = paired_difference(first, second, cluster), clustered_mean(first, cluster)
    for one, other in zip(drawn, normal, strict=True):
        width = one.high - one.low
        assert one.value == pytest.approx(other.value) and (one.low, one.high) == pytest.approx(
            (other.low, other.high), abs=0.04 * width
        )
    assert normal[0].p == pytest.approx(drawn[0].p, abs=0.02) and 0.001 < normal[0].p < 0.9


def test_kappa_by_hand():
    assert kappa([True, True, False, False], [True, True, False, False]) == 1
    assert kappa([True, False] * 2, [True, True, False, False]) == 0
    # 10 answers: both 4, neither 3, one 2, other 1: agreement .7, chance .6 * .5 + .4 * .5 = .5
    assert kappa([True] * 6 + [False] * 4, [True] * 4 + [False] * 2 + [True] + [False] * 3) == pytest.approx(0.4)
    assert np.isnan(kappa([True, True], [True, True])) and np.isnan(kappa([], []))
