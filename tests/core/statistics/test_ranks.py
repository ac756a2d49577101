"""Agreement of rankings and of sets of the largest, against scipy and without bias."""

import numpy as np
import pytest
from scipy.stats import spearmanr, wilcoxon

from lapilli.core.statistics.ranks import least_signed_rank_p, rank_correlation, shared_largest, spearman

N = 40


def world(rng, alike, noise, items, positive):
    """True means (item,) of two tables whose correlation is `alike`, and what 40 samples of them measure."""
    first, second = rng.standard_normal((2, items))
    true = np.stack([first, alike * first + np.sqrt(1 - alike**2) * second])
    true = np.exp(1.2 * true) if positive else true
    errors = rng.standard_normal((3, N, items))
    paired = 0.5 * errors[0] + np.sqrt(0.75) * errors[1:]  # of the same samples, so their errors are alike
    return true, true[:, None] + noise * true.std() * np.sqrt(N) * paired


def test_rows_are_correlated_as_scipy_does():
    first, second = np.random.default_rng(0).normal(size=(2, 7, 30))
    expected = [spearmanr(one, other).statistic for one, other in zip(first, second, strict=True)]
    assert spearman(first, second) == pytest.approx(expected)


def test_a_table_without_a_ranking_agrees_with_none():
    """All equal, or nothing but noise: neither has a correlation, nor an interval of one."""
    equal, noise = np.zeros((10, 20)), np.random.default_rng(0).normal(size=(4, 20))
    for first, second in ((equal, equal), (equal, np.tile(np.arange(20.0), (10, 1))), (noise, noise)):
        found = rank_correlation(first, second)
        assert np.isnan([found.value, found.low, found.high]).all() and found.n == len(first)


@pytest.mark.parametrize(("alike", "noise"), [(0.9, 0.3), (0.9, 0.5)])
@pytest.mark.parametrize("positive", [False, True])
def test_noise_does_not_pull_the_correlation_to_0(alike, noise, positive):
    """No bias beyond .1 and what chance does; uncorrected it is up to .3. Coverage is simulated in test_coverage.py."""
    rng, bias = np.random.default_rng(1), []
    for seed in range(15):
        true, (first, second) = world(rng, alike, noise, 20, positive)
        bias.append(rank_correlation(first, second, seed).value - spearmanr(*true).statistic)
    assert abs(np.nanmean(bias)) < 0.1 + 2 * np.nanstd(bias) / np.sqrt(15)


def test_without_noise_both_are_what_is_seen():
    rng = np.random.default_rng(3)
    table = rng.normal(size=20) + 1e-6 * rng.normal(size=(2, N, 20))
    table[1, :, [0, 1]] += 50
    correlation = rank_correlation(*table)
    seen = spearmanr(*table.mean(1)).statistic
    assert (correlation.value, correlation.low, correlation.high) == pytest.approx((seen, seen, seen))
    tops = [set(np.argsort(-means)[:5].tolist()) for means in table.mean(1)]
    shared = shared_largest(*table, k=5)
    assert (shared.value, shared.low, shared.high) == (len(tops[0] & tops[1]),) * 3


def test_a_table_agrees_with_itself_even_where_its_means_are_equal():
    table = np.random.default_rng(5).normal(size=(N, 20)) * 0.1 + np.arange(20) // 2
    table[:, 1] = table[:, 0]
    found = rank_correlation(table, table.copy())
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))


def test_of_noise_nothing_is_said():
    first, second = np.random.default_rng(4).normal(size=(2, N, 20))
    estimate = rank_correlation(first, second)
    assert not estimate.low > 0 and not estimate.high < 0


def test_of_too_few_samples_nothing_is_said():
    assert np.isnan(rank_correlation(np.ones((3, 5)), np.ones((3, 5))).value)
    assert np.isnan(shared_largest(np.ones((1, 5)), np.ones((1, 5)), 2).value)


@pytest.mark.parametrize("n", [1, 2, 5, 10, 20])
def test_no_signed_ranks_have_a_smaller_p_than_the_least(n):
    assert least_signed_rank_p(n) == pytest.approx(wilcoxon(np.arange(1.0, n + 1)).pvalue)
    rng = np.random.default_rng(n)
    assert all(wilcoxon(rng.normal(1, 1, n)).pvalue >= least_signed_rank_p(n) - 1e-12 for _ in range(50))
