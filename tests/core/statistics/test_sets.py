"""Chance, as scipy counts it."""

import numpy as np
import pytest
from scipy.stats import hypergeom

from lapilli.core.statistics.sets import expected, hypergeometric, least, least_rank_p, rank_p, tail


@pytest.mark.parametrize(("all_", "first", "second"), [(20, 5, 5), (20, 1, 1), (9, 4, 7), (1024, 10, 10)])
def test_the_hypergeometric_distribution_is_that_of_scipy(all_, first, second):
    chances = hypergeometric(all_, first, second)
    assert chances == pytest.approx(hypergeom(all_, first, second).pmf(np.arange(len(chances))), abs=1e-12)
    assert chances.sum() == pytest.approx(1)


@pytest.mark.parametrize(("all_", "first", "second"), [(20, 5, 5), (20, 1, 1), (9, 4, 7), (4, 4, 4), (1024, 10, 10)])
def test_means_tails_and_the_smallest_p_are_those_of_scipy(all_, first, second):
    chances, there = hypergeometric(all_, first, second), hypergeom(all_, first, second)
    assert expected(chances) == pytest.approx(there.mean())
    assert [tail(chances, n) for n in range(len(chances))] == pytest.approx(
        [there.sf(n - 1) for n in range(len(chances))]
    )
    assert least(chances) == pytest.approx(there.pmf(min(first, second)))


@pytest.mark.parametrize(("sets", "level_is_possible"), [(3, False), (19, False), (20, True)])
def test_by_rank_no_p_is_smaller_than_that_of_the_lowest(sets, level_is_possible):
    assert rank_p(-1.0, np.zeros(sets)) == least_rank_p(sets)
    assert (least_rank_p(sets) < 0.05) == level_is_possible
