"""Random sets of heads: different, of the right size, and of the right layers."""

import itertools
from collections import Counter

import numpy as np
import pytest

from lapilli.studies.color.random_head_sets import random_sets

SHAPE = (5, 4)


def _drawn(heads, count=20, same_layers=False, seed=0):
    return random_sets(np.random.default_rng(seed), SHAPE, heads, count, same_layers)


def test_they_differ_from_one_another_and_from_the_one_that_is_tested():
    heads = [(4, 3), (0, 0), (2, 1)]
    found = _drawn(heads)
    assert len(set(found)) == 20 and tuple(sorted(heads)) not in found
    assert all(len(set(one)) == 3 and list(one) == sorted(one) for one in found)


def test_every_head_is_as_likely():
    counts = Counter(head for seed in range(200) for one in _drawn([(0, 0), (1, 1)], 5, seed=seed) for head in one)
    expected = 200 * 5 * 2 / 20
    assert len(counts) == 20 and all(abs(n - expected) < 5 * expected**0.5 for n in counts.values())


def test_where_few_are_possible_all_of_them_come():
    assert sorted(_drawn([(1, 2)], 50)) == [
        ((at, head),) for at in range(5) for head in range(4) if (at, head) != (1, 2)
    ]
    others = [tuple((3, head) for head in pair) for pair in itertools.combinations(range(4), 2)]
    others.remove(((3, 1), (3, 2)))
    assert sorted(_drawn([(3, 2), (3, 1)], 20, same_layers=True)) == others


@pytest.mark.parametrize("heads", [[(0, 1), (0, 2), (3, 0)], [(1, 0), (2, 0), (4, 0)]])
def test_sets_of_the_same_layers_have_as_many_heads_in_each(heads):
    meant = Counter(layer for layer, _ in heads)
    found = _drawn(heads, same_layers=True)
    assert len(found) == 20 and all(Counter(layer for layer, _ in one) == meant for one in found)


def test_of_a_whole_layer_there_is_no_other_set():
    assert _drawn([(2, head) for head in range(4)], same_layers=True) == []
