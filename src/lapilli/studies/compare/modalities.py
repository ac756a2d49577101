"""How far layers turn image tokens and words, and how pictures and their captions lie in the states of one model."""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lapilli.inspection.measures import (
    Measured,
    centroid_distance,
    cluster_homogeneity,
    cosine,
    distinct,
    modality_probe,
    neighborhood_overlap,
)
from lapilli.inspection.measures.points import centered, halvings
from lapilli.inspection.streams import States
from lapilli.studies.compare.settings import TOKENS

K = 10
"""The number of neighbors of which the overlap of pictures and captions is taken."""

Floats: TypeAlias = NDArray[np.float64]

Pair: TypeAlias = tuple[Tensor, Tensor]
"""The states of pictures and of their captions at one site, (sample, d_model) each."""


def turns(states: Mapping[str, States]) -> dict[str, Floats]:
    """1 - cosine of a token's state before and behind every layer, `turn-MODEL-POSITION-samples`, (layer, sample)."""
    return {
        f"turn-{model}-{position}-samples": np.array([1 - _cosines(*both) for both in pairwise(_stream(of, position))])
        for model, of in states.items()
        for position in TOKENS
    }


def _stream(states: States, position: str) -> list[Tensor]:
    """The states before the first layer and behind each."""
    return [states.at(position, site) for where, site in states.names if where == position and "layers" in site]


def _cosines(before: Tensor, after: Tensor) -> Floats:
    samples = cosine(before, after).samples
    assert samples is not None
    return samples


def beside_captions(images: Mapping[str, States], captions: Mapping[str, States]) -> dict[str, Floats]:
    """What is measured of pictures and their captions, the means of their tokens, in the states of every model.

    `caption-overlap-MODEL-samples`, (site, sample), before the first layer and behind each, nan where a sample was left
    out; their mean is `caption-overlap-MODEL`, (1 + 2 halvings, site): of all samples, then of both halves of each
    halving. At half depth, of every gap: `caption-GAP-MODEL-samples`, (sample,), of one that is a mean of theirs, and
    `caption-GAP-MODEL`, (1 + 2 halvings,), of another.
    """
    streams = {
        model: list(zip(_stream(images[model], "image_mean"), _stream(captions[model], "question_mean"), strict=True))
        for model in images
    }
    overlaps = {f"caption-overlap-{model}-samples": _overlaps(pairs) for model, pairs in streams.items()}
    for model, pairs in streams.items():
        parts = [overlaps[f"caption-overlap-{model}-samples"], *map(_overlaps, _halves(pairs))]
        overlaps[f"caption-overlap-{model}"] = np.array([_means(part) for part in parts])
    middle = {model: pairs[len(pairs) // 2] for model, pairs in streams.items()}
    return overlaps | dict(_gaps(middle))


def _overlaps(pairs: list[Pair]) -> Floats:
    """Of every picture the share of its nearest that is also nearest to its caption, above chance, (site, sample)."""
    values = np.full((len(pairs), len(pairs[0][0])), np.nan)
    for row, (image, caption) in zip(values, pairs, strict=True):
        rows = distinct(image, caption)
        if len(rows) > K + 1:
            (overlap,) = neighborhood_overlap(image[rows], caption[rows], (K,))
            row[rows] = overlap.samples
    return values


def _halves(pairs: list[Pair]) -> Iterator[list[Pair]]:
    """The states of both halves of every halving of the samples, which models share."""
    for first in halvings(len(pairs[0][0])):
        for half in (first, ~first):
            yield [(image[half], caption[half]) for image, caption in pairs]


def _means(values: Floats) -> Floats:
    """The means of values (site, sample) over the samples that were measured; nan where none was."""
    measured = np.isfinite(values)
    means: Floats = np.divide(
        np.where(measured, values, 0.0).sum(1), measured.sum(1), np.full(len(values), np.nan), where=measured.any(1)
    )
    return means


BY_SAMPLES: Mapping[str, Callable[[Tensor, Tensor], Measured]] = {
    "probe": modality_probe,
    "cosine": lambda image, text: cosine(centered(image), centered(text)),
}
"""What each sample says of how two modalities lie: how often a probe tells them apart, and how alike a pair is."""

BY_HALVES: Mapping[str, Callable[[Tensor, Tensor], Measured]] = {
    "centroids": centroid_distance,
    "homogeneity": cluster_homogeneity,
}
"""How far two modalities lie apart as a whole."""


def _gaps(pairs: Mapping[str, Pair]) -> Iterator[tuple[str, Floats]]:
    """Of the samples that equal no other in any model, so that models are paired."""
    rows = distinct(*(states for pair in pairs.values() for states in pair))
    some = [np.arange(len(rows)), *(np.flatnonzero(part) for half in halvings(len(rows)) for part in (half, ~half))]
    for model, (image, caption) in pairs.items():
        for name, measure in BY_SAMPLES.items():
            samples = measure(image[rows], caption[rows]).samples
            yield f"caption-{name}-{model}-samples", np.full(len(rows), np.nan) if samples is None else samples
        for name, measure in BY_HALVES.items():
            values = [measure(image[rows[part]], caption[rows[part]]).value for part in some]
            yield f"caption-{name}-{model}", np.array(values)
