"""Samples by picture: set aside for validation, so that no picture is on both sides, or shown each other's pictures."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lapilli.core.errors import LapilliError
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


def with_other_pictures(samples: Sequence[Sample], seed: int) -> tuple[Sample, ...]:
    """The samples in their order, each with the pictures of another, which are not the same ones.

    Pictures go between samples that have equally many of them; of several one may be the sample's own. Every sample's
    are used once, so that all are seen as often as before. `seed` draws who gets whose. Samples without pictures stay
    as they are. Raises LapilliError where most samples with so many pictures have the same ones.
    """
    donors = list(range(len(samples)))
    for number in {len(sample.images) for sample in samples} - {0}:
        rows = [row for row, sample in enumerate(samples) if len(sample.images) == number]
        for row, donor in zip(rows, _donors([samples[row].images for row in rows], seed), strict=True):
            donors[row] = rows[donor]
    return tuple(replace(sample, images=samples[donor].images) for sample, donor in zip(samples, donors, strict=True))


def _donors(pictures: Sequence[tuple[str, ...]], seed: int) -> list[int]:
    """For each place another, whose pictures differ, in any order.

    The same ones lie side by side in an order drawn by the seed; a step as long as the longest run of them leaves it.
    """
    same = [tuple(sorted(names)) for names in pictures]
    counts = Counter(same)
    most, step = counts.most_common(1)[0]
    if 2 * step > len(same):
        what = f"{step} of the {len(same)} samples with {len(most)} of them show {', '.join(most)}"
        raise LapilliError(f"pictures cannot be shuffled: {what}")
    drawn = np.random.default_rng(seed).permutation(len(counts))
    places = dict(zip(counts, drawn.tolist(), strict=True))
    order = sorted(range(len(same)), key=lambda row: places[same[row]])
    donors = [0] * len(same)
    for at, row in enumerate(order):
        donors[row] = order[(at + step) % len(order)]
    return donors
