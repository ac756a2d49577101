"""Setting samples aside for validation, by picture: no picture is on both sides."""

import math
from collections.abc import Sequence

import numpy as np

from lapilli.data.sample import Sample


def rows_aside(samples: Sequence[Sample], share: float, seed: int) -> list[int]:
    """The rows of about this share of the samples, in order, and never those of all groups of pictures.

    Samples that share a picture, directly or through others, are one group; one without pictures is a group by itself.
    `seed` shuffles the groups; they are taken one after the other, but for those that would exceed the share. Where
    every group exceeds it, the smallest is taken, and of a single group nothing.
    """
    groups = _groups(samples)
    wanted, rows = math.ceil(share * len(samples)), list[int]()
    for number in np.random.default_rng(seed).permutation(len(groups)):
        if len(rows) + len(groups[number]) <= min(wanted, len(samples) - 1):
            rows += groups[number]
    if not rows and len(groups) > 1:
        rows = min(groups, key=len)
    return sorted(rows)


def _groups(samples: Sequence[Sample]) -> list[list[int]]:
    """The rows of the samples that share pictures, group by group."""
    leader: dict[str, str] = {}

    def leading(name: str) -> str:
        while (above := leader.setdefault(name, name)) != name:
            leader[name] = leader[above]  # so that the next way is shorter
            name = above
        return name

    for sample in samples:
        for name in sample.images:
            leader[leading(name)] = leading(sample.images[0])
    groups: dict[str | int, list[int]] = {}
    for row, sample in enumerate(samples):
        groups.setdefault(leading(sample.images[0]) if sample.images else row, []).append(row)
    return list(groups.values())
