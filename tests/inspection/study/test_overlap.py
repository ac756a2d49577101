"""Overlaps and what chance gives, against counting, scipy and shuffling."""

import itertools

import numpy as np
import pytest
from scipy.stats import hypergeom

from lapilli.inspection.study.overlap import overlap, sizes, top

LAYERS, WIDTH, N = 5, 4, 40


def _table(heads, noise=0.0, seed=0):
    """Of N questions: these heads first, in their order, all others nothing, and some noise."""
    rng = np.random.default_rng(seed)
    table = noise * rng.standard_normal((N, LAYERS, WIDTH))
    for rank, (layer, head) in enumerate(heads):
        table[:, layer, head] += 10 - rank
    return table


def test_sizes_are_shares_of_all_heads_and_at_least_one():
    assert (sizes(20), sizes(1024), sizes(4)) == ([1, 2, 5], [51, 102, 256], [1])


def test_top_heads_come_in_their_order():
    heads = [(3, 1), (0, 2), (4, 0)]
    assert top(_table(heads).mean(0), 3) == heads


def test_planted_sets_share_what_was_planted():
    one, other = [(0, 0), (1, 1), (2, 2), (3, 3), (4, 0)], [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1)]
    found = overlap(_table(one), _table(other), 5)
    assert (found.shared.value, found.shared.low, found.shared.high, found.shared.n) == (3, 3, 3, N)
    assert found.chance == pytest.approx(25 / 20)
    assert found.p == pytest.approx(hypergeom(20, 5, 5).sf(2))
    assert found.within == pytest.approx(5 / 4)  # one head of four in each layer: each is hit in one case of four
    hits = sum(sum(a == b for a, b in zip(one, each, strict=True)) >= 3 for each in _within_layers(other))
    assert found.within_p == pytest.approx(hits / WIDTH**LAYERS)


def _within_layers(heads):
    return (
        [(layer, at) for (layer, _), at in zip(heads, some, strict=True)]
        for some in itertools.product(range(WIDTH), repeat=LAYERS)
    )


def test_sets_that_fill_a_layer_agree_there_by_chance_alone():
    """Both hold all four heads of layer 0: four shared are no more than as many in the same layers always share."""
    one, other = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)], [(0, 0), (0, 1), (0, 2), (0, 3), (1, 1)]
    found = overlap(_table(one), _table(other), 5)
    assert found.observed == 4 and found.p < 0.01
    assert found.within == pytest.approx(4.25) and found.within_p == pytest.approx(1)


def test_the_chance_of_shuffled_heads_is_what_shuffling_gives():
    rng = np.random.default_rng(1)
    one, other = {(0, 0), (0, 1), (2, 0)}, [(0, 2), (0, 3), (2, 1)]
    found = overlap(_table(sorted(one)), _table(other), 3)
    shuffled = []
    for _ in range(4000):
        places = {layer: rng.permutation(WIDTH) for layer in (0, 2)}
        shuffled.append(len(one & {(layer, int(places[layer][head])) for layer, head in other}))
    assert found.within == pytest.approx(np.mean(shuffled), abs=0.05)
    assert found.observed == 0 and (found.within_p, found.p) == pytest.approx((1, 1))


def test_an_interval_is_as_wide_as_questions_differ():
    """Two heads that change places from question to question make the shared number uncertain; clear ones do not."""
    noisy = _table([(0, 0), (1, 1)], noise=30, seed=4), _table([(0, 0), (1, 1)], noise=30, seed=5)
    found = overlap(*noisy, 5).shared
    assert found.low < found.high and found.low <= found.value <= found.high
