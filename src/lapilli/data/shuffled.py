"""Samples with each other's pictures: what a model learns of them, it learns without seeing what they are about."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lapilli.core.errors import LapilliError
from lapilli.data.sample import Sample


def with_other_pictures(samples: Sequence[Sample], seed: int) -> tuple[Sample, ...]:
    """The samples in their order, each with the pictures of another, and none with its own.

    Pictures go between samples that have equally many of them; every sample's are used once, so that all are seen as
    often as before. `seed` draws who gets whose. Samples without pictures stay as they are. Raises LapilliError where
    most samples with so many pictures have the same ones.
    """
    donors = list(range(len(samples)))
    for number in {len(sample.images) for sample in samples} - {0}:
        rows = [row for row, sample in enumerate(samples) if len(sample.images) == number]
        for row, donor in zip(rows, _donors([samples[row].images for row in rows], seed), strict=True):
            donors[row] = rows[donor]
    return tuple(replace(sample, images=samples[donor].images) for sample, donor in zip(samples, donors, strict=True))


def _donors(pictures: Sequence[tuple[str, ...]], seed: int) -> list[int]:
    """For each place another, whose pictures differ.

    Equal ones lie side by side in an order drawn by the seed; a step as long as the longest run of them leaves it.
    """
    counts = Counter(pictures)
    step = max(counts.values())
    if 2 * step > len(pictures):
        most = counts.most_common(1)[0][0]
        raise LapilliError(f"{step} of {len(pictures)} samples show {', '.join(most)}: too many for others to be shown")
    drawn = np.random.default_rng(seed).permutation(len(counts))
    places = dict(zip(counts, drawn.tolist(), strict=True))
    order = sorted(range(len(pictures)), key=lambda row: places[pictures[row]])
    donors = [0] * len(pictures)
    for at, row in enumerate(order):
        donors[row] = order[(at + step) % len(order)]
    return donors
