"""What metrics say where the truth is known: additive words, one decisive patch, maps that say nothing."""

from itertools import permutations

import numpy as np
import pytest

from lapilli.studies.scorecard.curves import POINTS, Curves, mean_curves, orders, removed_sets, steps
from lapilli.studies.scorecard.metrics import (
    calibration,
    energy,
    overlap,
    pointing,
    precision,
    rank_correlation,
    slope_terms,
)

PATCHES = 48  # two patches a step


def curves(values, worth, seed=0):
    """The curves of a map for a word whose log-probability is `worth(present)`, of a bool array of patches."""

    def along(order):
        found = []
        for removed in removed_sets(order):
            present = np.ones(len(values), bool)
            present[removed] = False
            found.append(float(worth(present)))
        return np.array(found)

    drawn = orders(values, np.random.default_rng(seed))
    return mean_curves(Curves(along(order), along(order[::-1])) for order in drawn)


def additive(weights):
    return lambda present: weights[present].sum()


def test_steps_are_even_and_whole():
    assert steps(576) == list(range(0, 577, 24))
    assert steps(36)[0] == 0 and steps(36)[-1] == 36 and len(steps(36)) == POINTS
    assert set(np.diff(steps(36))) == {1, 2}


def test_one_decisive_patch():
    weights = np.zeros(PATCHES)
    weights[7] = 3.0
    right, wrong = curves(weights, additive(weights)), curves(-weights, additive(weights))
    # It goes in the first step of one direction, and in the last of the other: half a step of 24 is left of either.
    assert right.deletion == pytest.approx(1 / 48) and right.insertion == pytest.approx(47 / 48)
    assert right.gap == pytest.approx(23 / 24) and wrong.gap == pytest.approx(-23 / 24)
    assert right.early == pytest.approx(1 / 12)  # of 6 steps, half of the first


def test_an_additive_word_has_the_areas_of_its_sums():
    weights = np.arange(PATCHES, 0, -1.0)
    found, total = curves(weights, additive(weights)), weights.sum()
    left = np.array([weights[2 * point :].sum() / total for point in range(25)])
    deletion = ((left[1:] + left[:-1]) / 2).mean()
    assert found.deletion == pytest.approx(deletion)
    assert found.insertion == pytest.approx(1 - deletion)  # what is gone first from one end is left last from the other
    assert found.gap == pytest.approx(1 - 2 * deletion)
    best = max(curves(np.random.default_rng(seed).permutation(weights), additive(weights)).gap for seed in range(50))
    assert best < found.gap


@pytest.mark.parametrize("seed", range(5))
def test_a_constant_map_has_no_gap_whatever_the_word_does(seed):
    table = np.random.default_rng(seed).normal(size=2**12)

    def anything(present):
        return table[int(present[:12] @ (1 << np.arange(12)))]

    found = curves(np.full(PATCHES, 2.5), anything, seed)
    assert found.gap == 0 and found.insertion == found.deletion


def test_a_random_map_has_no_gap_on_average():
    rng = np.random.default_rng(1)
    weights = rng.exponential(size=PATCHES)
    gaps = [curves(rng.normal(size=PATCHES), additive(weights)).gap for _ in range(400)]
    assert abs(np.mean(gaps)) < 3 * np.std(gaps) / 20


def test_partly_equal_maps_keep_the_order_that_they_have():
    values = np.repeat([3.0, 2.0, 1.0], PATCHES // 3)
    for order in orders(values, np.random.default_rng(0)):
        assert (values[order] == values).all()
    one, other = (order[: PATCHES // 3] for order in orders(values, np.random.default_rng(0)))
    assert (one == other[::-1]).all()


def test_scaled_curves_have_a_floor_and_a_ceiling():
    found = Curves(np.array([0.1, 9.0, -9.0, 0.0]), np.array([0.1, 0.05, 0.05, 0.0])).scaled
    np.testing.assert_allclose(found.morf, [0.2, 1.2, 0, 0])  # half a nat is the least that a curve is scaled by
    np.testing.assert_allclose(found.lerf, [0.2, 0.1, 0.1, 0])


COVERAGE = np.array([0, 0, 0.5, 1, 0, 0, 0, 0.5])
AREA = COVERAGE.mean()


def counted(order, coverage):
    """Average precision of patches in that order."""
    ranked = coverage[np.asarray(order)]
    return (ranked * ranked.cumsum() / np.arange(1, len(ranked) + 1)).sum() / ranked.sum()


ORDERED = np.mean([counted(order, COVERAGE) for order in permutations(range(8))])


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
def test_a_constant_map_points_by_chance(value):
    constant = np.full(8, value)
    assert pointing(constant, COVERAGE) == pytest.approx(AREA)
    assert energy(constant, COVERAGE) == pytest.approx(1)
    assert precision(constant, COVERAGE) == pytest.approx(ORDERED)
    assert pointing(constant, COVERAGE, ties_hit=True) == 1  # as a released code has it: never a miss


def test_a_planted_mask_is_found():
    assert pointing(COVERAGE, COVERAGE) == 1
    assert energy(np.array([0, 0, 0, 1.0, 0, 0, 0, -5]), COVERAGE) == pytest.approx(1 / AREA)
    assert precision(COVERAGE, COVERAGE) == pytest.approx((1 + 0.5 * 1.5 / 2 + 0.5 * 2 / 3) / 2)
    tied = np.array([0, 9.0, 9, 9, 0, 0, 0, 0])
    assert pointing(tied, COVERAGE) == pytest.approx(0.5) and pointing(tied, COVERAGE, ties_hit=True) == 1


def test_precision_is_average_precision_of_a_binary_mask():
    rng = np.random.default_rng(2)
    values, mask = rng.normal(size=40), (rng.random(40) < 0.3).astype(float)
    ranked = mask[np.argsort(-values)]
    expected = np.mean([ranked[: place + 1].mean() for place in np.flatnonzero(ranked)])
    assert precision(values, mask) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_precision_of_equal_patches_is_what_a_random_order_of_them_gives(seed):
    rng = np.random.default_rng(seed)
    values, coverage = rng.integers(0, 3, 7).astype(float), rng.random(7) * (rng.random(7) < 0.6) + 0.01
    orders = [order for order in permutations(range(7)) if (np.diff(values[list(order)]) <= 0).all()]
    assert precision(values, coverage) == pytest.approx(np.mean([counted(order, coverage) for order in orders]))


def test_random_maps_point_by_chance_on_average():
    rng = np.random.default_rng(3)
    maps = rng.normal(size=(4000, 8))
    assert np.mean([pointing(one, COVERAGE) for one in maps]) == pytest.approx(AREA, abs=0.02)
    assert np.mean([energy(one, COVERAGE) for one in maps]) == pytest.approx(1, abs=0.05)
    assert np.mean([precision(one, COVERAGE) for one in maps]) == pytest.approx(ORDERED, abs=0.02)


def test_calibration_is_within_sizes():
    predicted = np.array([[1.0, 2, 3, 4], [10, 20, 30, 40]])
    assert calibration(predicted, predicted**3) == pytest.approx(1)
    assert calibration(predicted, -predicted) == pytest.approx(-1)
    sizes = np.array([[1.0] * 4, [9.0] * 4])  # a constant map: the same of all groups of a size
    assert calibration(sizes, predicted) == 0
    assert calibration(predicted, sizes) == 0


def test_terms_of_a_slope_give_least_squares_through_zero():
    rng = np.random.default_rng(4)
    predicted, measured = rng.normal(size=(2, 3, 16))
    product, square = slope_terms(predicted, measured)
    (slope, *_), *_ = np.linalg.lstsq(predicted.reshape(-1, 1), measured.ravel(), rcond=None)
    assert product / square == pytest.approx(slope)


def test_rank_correlation_and_overlap():
    rising = np.arange(9.0)
    assert rank_correlation(rising, rising**3) == pytest.approx(1)
    assert rank_correlation(rising, np.ones(9)) == 0
    assert overlap(rising, rising, 1 / 3) == 1 and overlap(rising, -rising, 1 / 3) == 0
    assert overlap(rising, np.roll(rising, 1), 1 / 3) == pytest.approx(2 / 3)


def test_equal_patches_overlap_by_chance():
    assert overlap(np.ones(8), np.ones(8), 1 / 4) == pytest.approx(1 / 4)
    sparse = np.zeros(16)
    sparse[:1] = 1
    assert overlap(sparse, sparse, 1 / 4) == pytest.approx((1 + 3 * 3 / 15) / 4)  # three more of fifteen, twice
