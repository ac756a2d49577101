"""Overlaps and what chance gives, against counting, scipy and shuffling."""

import itertools

import numpy as np
import pytest
from scipy.stats import hypergeom

from lapilli.core.statistics.sets import hypergeometric, tail
from lapilli.studies.color.overlap import PAPER, overlap, sizes, top, verdict_size, within_layers

LAYERS, WIDTH, N = 5, 4, 40


def _table(heads, noise=0.0, seed=0):
    """Of N questions: these heads first, in their order, all others nothing, and some noise."""
    rng = np.random.default_rng(seed)
    table = noise * rng.standard_normal((N, LAYERS, WIDTH))
    for rank, (layer, head) in enumerate(heads):
        table[:, layer, head] += 10 - rank
    return table


def test_sizes_are_the_papers_and_shares_of_all_heads():
    assert (sizes(20), sizes(1024)) == ([1, 2, 5, 10], [10, 51, 102, 256])
    assert (sizes(4), sizes(8), sizes(1)) == ([1, 4], [1, 2, 8], [1])  # where there are fewer than ten: all


@pytest.mark.parametrize(("heads", "k"), [(1024, 10), (40, 10), (36, 9), (20, 5), (4, 1), (1, 1)])
def test_verdicts_speak_of_the_papers_ten_but_of_no_more_than_a_quarter(heads, k):
    assert verdict_size(heads) == k and k in sizes(heads)


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
    assert found.observed == 4 and found.p < 0.01 and found.least_p == pytest.approx(hypergeom(20, 5, 5).pmf(5))
    assert found.within_least_p == pytest.approx(1 / 4)  # the fifth head is the same, or is not
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


@pytest.mark.parametrize(
    ("counts", "least"),
    [((5,), None), ((4, 1), 1 / 4), ((3, 2), 1 / 24), ((1, 1, 1, 1, 1), 4**-5), ((2, 2, 1), 1 / 144)],
)
def test_the_smallest_p_is_that_of_the_same_sets(counts, least):
    """Of sets with these numbers of heads in layers of four."""
    width = 5 if least is None else WIDTH
    heads = [(layer, head) for layer, count in enumerate(counts) for head in range(count)]
    table = np.zeros((N, LAYERS, width))
    for layer, head in heads:
        table[:, layer, head] = 1
    found = overlap(table, table, len(heads))
    assert found.within_p == found.within_least_p == pytest.approx(1 if least is None else least)


@pytest.mark.parametrize("total", [8, 10])
def test_of_as_many_heads_as_there_are_nothing_can_be_said(total):
    table = np.random.default_rng(0).normal(size=(N, 2, total // 2))
    found = overlap(table, table, min(PAPER, total))
    assert found.observed == total and found.least_p == found.within_least_p == 1


@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_independent_tables_share_as_much_as_p_says(noise):
    """Of 400 pairs no more than one in twenty has p < .05, though noise of the same questions is alike in both."""
    rng, p = np.random.default_rng(0), []
    for _ in range(400):
        both = noise * rng.standard_normal((6, LAYERS, WIDTH))
        one, other = (
            rng.standard_normal((LAYERS, WIDTH)) + both + noise * rng.standard_normal(both.shape) for _ in "ab"
        )
        first, second = (set(top(table.mean(0), 5)) for table in (one, other))
        p.append(
            [
                tail(chances, len(first & second))
                for chances in (hypergeometric(20, 5, 5), within_layers(first, second, WIDTH))
            ]
        )
    assert ((np.array(p) < 0.05).mean(0) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)).all()
