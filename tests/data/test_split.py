"""Validation rows: about the share asked for, and no picture on both sides."""

import numpy as np
import pytest

from lapilli.data.sample import Sample
from lapilli.data.split import rows_aside


def _sample(number, *images):
    return Sample(str(number), images, ())


@pytest.mark.parametrize("seed", range(5))
def test_no_picture_is_on_both_sides(seed):
    rng = np.random.default_rng(seed)
    samples = [_sample(n, *(f"{p}.png" for p in rng.integers(0, 80, rng.integers(0, 3)))) for n in range(120)]
    rows = set(rows_aside(samples, 0.2, seed))
    sides = [
        {name for row, sample in enumerate(samples) if (row in rows) is side for name in sample.images}
        for side in (0, 1)
    ]
    assert not sides[0] & sides[1]
    assert 0 < len(rows) < len(samples)


def test_the_share_is_met_by_as_few_groups_as_it_takes():
    samples = [_sample(n, f"{n // 3}.png") for n in range(300)]
    rows = rows_aside(samples, 0.1, 0)
    assert len(rows) == 30 and rows == sorted(rows)
    assert rows_aside(samples, 0.1, 0) == rows != rows_aside(samples, 0.1, 1)
    assert len(rows_aside(samples, 0.001, 0)) == 3  # one group at least


@pytest.mark.parametrize("seed", range(8))
def test_a_large_group_is_passed_over(seed):
    samples = [_sample(n, "same.png" if n < 900 else f"{n}.png") for n in range(1000)]
    assert len(rows_aside(samples, 0.1, seed)) == 100


def test_pictures_that_are_joined_through_others_stay_together():
    chain = [_sample(n, f"{n}.png", f"{n + 1}.png") for n in range(10)]
    assert rows_aside(chain, 0.3, 0) == []  # one group: nothing can be set aside
    apart = [*chain, *(_sample(n) for n in range(10, 20))]
    for seed in range(10):
        rows = rows_aside(apart, 0.5, seed)
        assert {*range(10)} <= {*rows} or not {*range(10)} & {*rows}
