"""Intervals of figures that are no mean: pictures are drawn with replacement, with all questions about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapilli.core.statistics.bootstrap import DRAWS, draws, interval
from lapilli.core.statistics.clusters import MANY, numbered
from lapilli.evaluation.published.protocol import Judged

_AT_ONCE = 2**21  # weights that are in memory together

Statistic = Callable[[NDArray[np.float64], Sequence[Judged]], NDArray[np.float64]]
"""(weights (draw, row), rows) -> the statistic of every draw, (draw,)."""


def interval_of(rows: Sequence[Judged], statistic: Statistic, count: int = DRAWS) -> list[float]:
    """The ends of the 95 % bootstrap interval of a statistic of weighted rows, from `count` draws, at most `DRAWS`.

    They are nan for fewer than two pictures. The draws are those of `draws`, a part at a time.
    """
    numbers = numbered([row.cluster for row in rows])
    pictures = int(numbers.max()) + 1 if len(numbers) else 0
    if pictures < 2:
        return [float("nan"), float("nan")]
    parts = [statistic(weights[:, numbers], rows) for weights in _weights(pictures, count, _AT_ONCE // len(rows) + 1)]
    ends: Any = interval(0.0, np.concatenate(parts), pictures)
    return [ends.low, ends.high]


def _weights(pictures: int, count: int, at_once: int) -> Iterator[NDArray[np.float64]]:
    """The weights of the pictures in `count` draws, (draw, picture), `at_once` at a time."""
    sizes = [min(at_once, count - start) for start in range(0, count, at_once)]
    if pictures <= MANY:
        yield from np.split(draws(pictures, 0).weights[:count], np.cumsum(sizes)[:-1])
        return
    rng = np.random.default_rng(0)  # all together would be gigabytes
    for size in sizes:
        yield rng.multinomial(pictures, np.full(pictures, 1 / pictures), size=size) / pictures
