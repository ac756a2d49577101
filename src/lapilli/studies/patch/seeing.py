"""What of a gain is seeing: with a question's own picture less with another's, whose answer is another one."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lapilli.core.statistics.recovery import shares_of_gain
from lapilli.studies.patch.settings import OTHER, SWAPPED
from lapilli.studies.patch.shares import Floats, Shares, columns


def seeing(shares: Shares, readout: str, samples: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Of every hybrid that reads other pictures what it changes with its own, with another, and the difference.

    Both ways. `samples` are those that have another picture, by their place among all. `share` is the hybrid's in what
    the models differ by in seeing.
    """
    for target, source in OTHER.items():
        other = shares.readings[SWAPPED, target, source]
        own = shares.readings["image", target, source]
        rows = own.rows(other.numbers)
        with_own = shares.changes(("image", target, source), readout)[np.ix_(rows, samples)]
        with_other = shares.changes((SWAPPED, target, source), readout)
        gains = shares.gains("image", target, readout)[list(samples)] - shares.gains(SWAPPED, target, readout)
        yield {
            "target": target, "source": source, "readout": readout, "n": len(samples), "numbers": other.numbers,
            "own": _means(shares, with_own), "other": _means(shares, with_other),
            "seeing": _means(shares, with_own - with_other),
            "share": columns(shares_of_gain(with_own - with_other, gains, shares.seed)),
        }  # fmt: skip


def _means(shares: Shares, rows: Floats) -> dict[str, list[float]]:
    return columns([shares.mean(row) for row in rows])
