"""Random sets of heads, as large as a tested set: of any heads, or with as many in every layer."""

from collections import Counter
from collections.abc import Callable, Sequence
from math import comb, prod
from typing import TypeAlias

import numpy as np

from lapilli.inspection.intervention.ablation import Head

HeadSet: TypeAlias = tuple[Head, ...]
"""Heads, ascending."""


def random_sets(
    rng: np.random.Generator, shape: tuple[int, int], heads: Sequence[Head], count: int, same_layers: bool = False
) -> list[HeadSet]:
    """Draw `count` different sets of as many heads as `heads`, none equal to it; fewer where no more exist.

    `shape` is (layer, head) of the model. With `same_layers` every set has as many heads in each layer as `heads` has.
    """
    layers, width = shape
    if same_layers:
        counts = Counter(layer for layer, _ in heads)
        possible = prod(comb(width, n) for n in counts.values())
        return _different(lambda: _within(rng, counts, width), possible, count, heads)
    possible = comb(layers * width, len(heads))
    return _different(lambda: _anywhere(rng, layers * width, width, len(heads)), possible, count, heads)


def _anywhere(rng: np.random.Generator, heads: int, width: int, k: int) -> HeadSet:
    return tuple(divmod(int(number), width) for number in np.sort(rng.choice(heads, k, replace=False)))


def _within(rng: np.random.Generator, counts: Counter[int], width: int) -> HeadSet:
    by_layer = {layer: np.sort(rng.choice(width, n, replace=False)).tolist() for layer, n in counts.items()}
    return tuple((layer, head) for layer in sorted(by_layer) for head in by_layer[layer])


def _different(draw: Callable[[], HeadSet], possible: int, count: int, excluded: Sequence[Head]) -> list[HeadSet]:
    used, sets = {tuple(sorted(excluded))}, list[HeadSet]()
    while len(sets) < min(count, possible - 1):
        candidate = draw()
        if candidate not in used:
            used.add(candidate)
            sets.append(candidate)
    return sets
