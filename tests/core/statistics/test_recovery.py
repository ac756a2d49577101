"""Shares of a gain: the columns of a published experiment, recovered as printed there.

Layers 0 to l of LLaVA-1.5-7B put into its base: Palacios, "How LLaVA Learns to See", thesis, Trieste 2025.
"""

import numpy as np
import pytest

from lapilli.core.statistics.bootstrap import draws
from lapilli.core.statistics.recovery import (
    half_recovery,
    half_recovery_depth,
    has_gain,
    interference,
    recovered,
    shares_of_gain,
)

LAYERS = range(1, 32, 2)
COLUMNS = {
    "questions about pictures": (
        [1246, 1389, 1516, 1583, 1612, 1631, 1648, 1648, 1650, 1652, 1656, 1672, 1686, 1683, 1691, 1694],
        (1046, 1660),
        [33, 56, 77, 88, 92, 95, 98, 98, 98, 99, 99, 102, 104, 104, 105, 106],
        3,
    ),
    "questions about texts": (
        [1461, 1478, 1428, 1301, 1283, 1450, 1582, 1680, 1738, 1778, 1781, 1819, 1829, 1844, 1856, 1877],
        (1462, 1861),
        [0, 4, -9, -40, -45, -3, 30, 55, 69, 79, 80, 90, 92, 96, 99, 104],
        15,
    ),
    "captions of 100 tokens, CIDEr in thousandths": (
        [31, 32, 57, 88, 268, 479, 531, 629, 675, 708, 722, 746, 770, 781, 790, 809],
        (10.2, 822.1),
        [2.5, 3, 6, 10, 32, 58, 64, 76, 82, 86, 88, 91, 93, 95, 96, 98],
        11,
    ),
    "captions of 30 tokens, CIDEr in thousandths": (
        [157, 164, 196, 220, 403, 670, 744, 870, 926, 965, 991, 1017, 1040, 1056, 1065, 1087],
        (133.8, 1080.5),
        [2, 3, 6, 9, 28, 57, 64, 78, 84, 88, 90, 93, 96, 97, 98, 101],
        11,
    ),
    "captions of 20 tokens, CIDEr in thousandths": (
        [567, 591, 586, 594, 592, 588, 583, 648, 771, 852, 869, 899, 916, 945, 974, 1026],
        (577.1, 963.8),
        [-3, 4, 2, 4, 4, 3, 2, 18, 50, 71, 75, 83, 88, 95, 103, 116],
        17,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_a_published_column_is_recovered(name):
    scores, (base, tuned), printed, half = COLUMNS[name]
    shares = recovered(scores, base, tuned)
    np.testing.assert_allclose(100 * shares, printed, atol=1)  # in whole per cent
    assert half_recovery(LAYERS, shares) == half


def test_texts_suffer_at_layers_7_to_9():
    scores, ends, *_ = COLUMNS["questions about texts"]
    below = interference(scores, *ends)
    assert sorted(np.argsort(below)[-2:]) == [LAYERS.index(7), LAYERS.index(9)]
    assert below[[3, 4]].tolist() == [161, 179] and below[6:].max() == 0
    assert interference(COLUMNS["questions about pictures"][0], 1046, 1660).max() == 0
    assert interference([3, 5], 6, 4).tolist() == [1, 0]


def test_no_gain_has_no_shares():
    assert np.isnan(recovered([1, 2], 3, 3)).all()
    assert half_recovery([0, 1], np.array([0.9, 0.4])) is None
    assert half_recovery([0, 1, 2], np.array([0.6, 0.4, 0.5])) == 2
    assert half_recovery([0, 1], np.array([np.nan, np.nan])) is None
    assert recovered([2], 4, 0).tolist() == [0.5]


@pytest.mark.parametrize("shares", [[], [0.1], [0.9, 0.1], [0.9] * 4])
def test_every_layer_has_a_share(shares):
    with pytest.raises(ValueError, match=f"3 layers and {len(shares)} shares"):
        half_recovery([0, 1, 2], np.array(shares))


def test_shares_are_ratios_of_means_of_the_same_draws():
    rng = np.random.default_rng(0)
    gains = 1 + rng.standard_normal(60)
    changes = np.stack([0.3 * gains, 0.3 * gains + 0.5 * rng.standard_normal(60), -gains])
    exact, noisy, lost = shares_of_gain(changes, gains, seed=4)
    assert (exact.value, exact.low, exact.high) == pytest.approx((0.3, 0.3, 0.3)) and exact.n == 60
    assert lost.value == pytest.approx(-1) and lost.high == pytest.approx(-1)
    assert noisy.value == pytest.approx(changes[1].mean() / gains.mean())
    weights = draws(60, 4).weights
    drawn = (weights @ changes[1]) / (weights @ gains)
    assert noisy.low < np.quantile(drawn, 0.03) and noisy.high > np.quantile(drawn, 0.97)


def test_of_no_gain_there_is_no_share():
    gains = np.array([1.0, -1.0] * 30)
    assert not has_gain(gains) and has_gain(gains + 1) and has_gain(gains - 1) and not has_gain(np.zeros(60))
    assert not has_gain(np.array([1.0] * 8 + [-1.0] * 2 + [0.0] * 40))  # whose lower end is a rounding error, 3e-18
    (share,) = shares_of_gain(gains[None], gains)
    assert np.isnan([share.value, share.low, share.high]).all() and share.n == 60
    assert np.isnan(half_recovery_depth(gains[None], gains).value)


def test_half_recovery_has_the_depths_of_its_draws():
    gains = np.ones(80)
    sure = half_recovery_depth(np.stack([0.1 * gains, 0.6 * gains, gains]), gains)
    assert (sure.value, sure.low, sure.high, sure.n) == (1, 1, 1, 80)
    some = np.array([1.0] * 44 + [0.0] * 36)
    open_ = half_recovery_depth(np.stack([0 * gains, some, gains]), gains)
    assert (open_.value, open_.low, open_.high) == (1, 1, 2)
    never = half_recovery_depth(np.stack([0 * gains, 0.1 * gains]), gains)
    assert (never.value, never.low, never.high) == (2, 2, 2)
