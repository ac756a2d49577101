"""Intervals of figures that are no mean: pictures are drawn with replacement, with all questions about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapilli.core.statistics.bootstrap import draws, interval
from lapilli.core.statistics.clusters import numbered
from lapilli.evaluation.published.protocol import Judged

_AT_ONCE = 250  # draws whose weights are in memory together

Statistic = Callable[[NDArray[np.float64], Sequence[Judged]], NDArray[np.float64]]
"""(weights (draw, row), rows) -> the statistic of every draw, (draw,)."""


def interval_of(rows: Sequence[Judged], statistic: Statistic) -> list[float]:
    """The ends of the 95 % bootstrap interval of a statistic of weighted rows; nan for fewer than two pictures."""
    numbers = numbered([row.cluster for row in rows])
    count = int(numbers.max()) + 1 if len(numbers) else 0
    if count < 2:
        return [float("nan"), float("nan")]
    weights = draws(count, 0).weights
    parts = [
        statistic(weights[start : start + _AT_ONCE][:, numbers], rows) for start in range(0, len(weights), _AT_ONCE)
    ]
    ends: Any = interval(0.0, np.concatenate(parts), count)
    return [ends.low, ends.high]
