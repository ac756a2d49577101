"""Chance, as scipy counts it."""

import numpy as np
import pytest
from scipy.stats import hypergeom

from lapilli.core.statistics.sets import hypergeometric


@pytest.mark.parametrize(("all_", "first", "second"), [(20, 5, 5), (20, 1, 1), (9, 4, 7), (1024, 10, 10)])
def test_the_hypergeometric_distribution_is_that_of_scipy(all_, first, second):
    chances = hypergeometric(all_, first, second)
    assert chances == pytest.approx(hypergeom(all_, first, second).pmf(np.arange(len(chances))), abs=1e-12)
    assert chances.sum() == pytest.approx(1)
