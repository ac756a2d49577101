"""Intrinsic dimensions: known manifolds, and DADApy's values of the same points."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tests.inspection.measures.manifolds import DIMENSIONS, MAKERS, NOISE, manifold

from lapilli.inspection.measures import distinct, gride, mle_dimension, neighborhood_overlap, neighbors, two_nn

STORED = json.loads(Path(__file__).with_name("dadapy_values.json").read_text(encoding="utf-8"))["manifolds"]
BIAS = {1: 0.06, 2: 0.06, 5: 0.12, 10: 0.20, 20: 0.35}
"""The share by which the dimension of 1,000 points is too low at small scales, at the most."""


@cache
def known(name, noise=0.0):
    return neighbors(manifold(name, noise), 64)


@pytest.mark.parity
@pytest.mark.parametrize("noise", [0.0, NOISE])
@pytest.mark.parametrize("name", MAKERS)
def test_dadapy_says_the_same(name, noise):
    expected, points = STORED[f"{name}, noise {noise}"], manifold(name, noise)
    assert np.abs(points).astype(np.float64).sum() == pytest.approx(expected["checksum"], rel=1e-9)
    curve = gride(known(name, noise))
    np.testing.assert_allclose([scale.value for scale in curve], expected["gride"], rtol=1e-3)
    np.testing.assert_allclose([scale.distance for scale in curve], expected["distance"], rtol=1e-5)
    assert [scale.scale for scale in curve] == [2, 4, 8, 16, 32, 64]
    assert two_nn(known(name, noise)).value == pytest.approx(expected["two_nn"], rel=1e-3)


@pytest.mark.parity
@pytest.mark.parametrize("name", ["line", "swiss roll", "cube 20"])
def test_dadapy_counts_the_same_overlap(name):
    points = manifold(name)
    moved = (points + 0.002 * np.random.default_rng(1).standard_normal(points.shape)).astype(np.float32)
    (overlap,) = neighborhood_overlap(known(name), neighbors(moved, 30), ks=(30,))
    chance = 30 / (len(points) - 1)
    assert overlap.value * (1 - chance) + chance == pytest.approx(STORED[f"{name}, noise 0.0"]["overlap"], abs=1e-6)


@pytest.mark.parametrize("name", MAKERS)
def test_the_dimension_of_a_known_manifold(name):
    """Within three of its errors; of many dimensions too low by no more than is known."""
    d = DIMENSIONS[name]
    for measured in (two_nn(known(name)), *gride(known(name))[:3], mle_dimension(known(name), k=10)):
        below = 3 * measured.error + BIAS[d] * d
        assert -below < measured.value - d < 3 * measured.error + 0.02 * d


@pytest.mark.parametrize("name", ["line", "swiss roll", "cube 2"])
def test_noise_is_seen_at_small_scales_and_the_manifold_at_large_ones(name):
    curve, clean = gride(known(name, NOISE)), gride(known(name))
    assert curve[0].value > clean[0].value + 2 * clean[0].error
    assert curve[-1].value == pytest.approx(clean[-1].value, rel=0.2)


@pytest.mark.parametrize(
    "measure", [two_nn, lambda points: gride(points, 8)[-1], lambda points: mle_dimension(points, 8)]
)
def test_rotation_scale_and_shift_leave_it(measure):
    rng = np.random.default_rng(0)
    points, (turn, _) = rng.standard_normal((300, 6)), np.linalg.qr(rng.standard_normal((6, 6)))
    assert measure(points @ turn * 7 + 3).value == pytest.approx(measure(points).value, rel=1e-9)


@pytest.mark.parametrize(
    "measure", [two_nn, lambda points: gride(points, 8)[0], lambda points: mle_dimension(points, 8)]
)
def test_duplicates_count_once(measure):
    points = np.random.default_rng(0).standard_normal((200, 4))
    doubled = np.concatenate([points, points[:70], points[:5]])
    assert measure(doubled).value == pytest.approx(measure(points).value, rel=1e-12)
    assert measure(doubled).n == 200
    with pytest.raises(ValueError, match="distance 0"):
        measure(neighbors(doubled, 8))


def test_equal_rows_are_found_whatever_their_zeros():
    assert distinct(np.array([[0.0, 1], [-0.0, 1], [2, 1], [0, 1]])).tolist() == [0, 2]
    assert distinct(np.arange(4.0)[:, None], np.array([[1.0], [2], [1], [3]])).tolist() == [0, 1, 3]


@pytest.mark.parametrize("points", [np.zeros((50, 4)), np.ones((1, 3)), np.eye(2), np.empty((0, 3)), np.eye(3)])
def test_too_few_points_have_no_dimension(points):
    assert np.isnan(two_nn(points).value)
    assert all(np.isnan(scale.value) for scale in gride(points))
    assert np.isnan(mle_dimension(points).value)


def test_the_likelihood_by_its_formula():
    """The maximum over a grid of log of d (mu^d - 1)^(k - 1) mu^((1 - 2k) d - 1), Denti et al. 2022."""
    distance = known("cube 5").distance
    mu = distance[:, 7] / distance[:, 3]
    grid = np.linspace(3, 7, 4_001)
    likelihood = [(np.log(d) + 3 * np.log(mu**d - 1) + ((1 - 8) * d - 1) * np.log(mu)).sum() for d in grid]
    assert gride(known("cube 5"))[2].value == pytest.approx(grid[np.argmax(likelihood)], rel=2e-3)


@pytest.mark.parametrize("n", [60, 100, 129])
def test_small_scales_have_errors_where_large_ones_have_none(n):
    curve = gride(np.random.default_rng(0).standard_normal((n, 3)))
    known_errors = [not np.isnan(scale.error) for scale in curve]
    assert known_errors == [scale.scale < n // 2 for scale in curve] and not all(known_errors)
    assert all(0 < scale.error < scale.value for scale in curve[:3])


def test_what_is_no_part_of_the_ratios_is_refused():
    points = np.random.default_rng(0).standard_normal((50, 3))
    for fraction in (0, 1, 2, -0.5, np.nan):
        with pytest.raises(ValueError, match="fraction"):
            two_nn(points, fraction)
    for range_max in (1, 0, -4):
        with pytest.raises(ValueError, match="range_max"):
            gride(points, range_max)
