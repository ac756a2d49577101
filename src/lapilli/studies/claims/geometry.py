"""Claims about states: where they change, how much, and how many dimensions they have.

Depth is from 0, before the first layer, to 1, behind the last.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from lapilli.core.statistics.estimate import Estimate
from lapilli.studies.claims.claim import Claim
from lapilli.studies.claims.evidence import Evidence, Floats
from lapilli.studies.claims.figures import largest_of, mean_of, place_of_largest
from lapilli.studies.tuning import BASE, FLOOR, TUNED

_DIMENSIONS = ("gride_2", "gride_4", "gride_8", "gride_16", "gride_32", "participation_ratio")
_PEAK = "gride_32"
_NO_DIMENSION = "too few distinct states for their dimensions"
_DRAWS = 10_000


def _changed_above_floor(evidence: Evidence, level: float) -> Estimate | str:
    """By how much more the tuning moved the states than another seed of it does, in the layer where that is most."""
    if not evidence.has_floor:
        return "needs a second tuning: --floor"
    change, floor = (evidence.apart("image", "last", "relative_l2", pair) for pair in ("change", FLOOR))
    layers = range(1, evidence.depth + 1)
    part = level / len(layers)
    return largest_of([mean_of(change[site] - floor[site], evidence.seed, part) for site in layers])


def _image_changes_more(evidence: Evidence, level: float) -> Estimate:
    """By how much more the shallow half of the layers changed at image tokens than at the question alone."""
    half = slice(0, math.ceil(evidence.depth / 2))
    image, text = evidence.local("image", "image_mean")[half], evidence.local("text", "question_end")[half]
    return mean_of((image - text).mean(0), evidence.seed, level)


def _least_similar(evidence: Evidence, level: float) -> Estimate:
    """The depth at which both models' states are least alike."""
    cosine = evidence.apart("image", "last", "cosine", "change")[: evidence.depth + 1]
    return place_of_largest(-cosine, np.arange(len(cosine)) / evidence.depth, evidence.seed, level)


def _centre_of_change(evidence: Evidence, level: float) -> Estimate:
    """The depth at the centre of the layers' changes at image tokens; .5 where all changed alike."""
    changes = evidence.local("image", "image_mean")
    depths = (np.arange(evidence.depth) + 0.5) / evidence.depth
    return mean_of((depths @ changes) / changes.sum(0), evidence.seed, level)


def _compression(evidence: Evidence, level: float) -> Estimate | str:
    """By what share the tuned states have more dimensions in the middle, by the measure that says most."""
    quantile = NormalDist().inv_cdf(1 - level / 2 / len(_DIMENSIONS))
    figures = []
    for measure in _DIMENSIONS:
        (tuned, error), (base, base_error) = (_middle(evidence, measure, model) for model in (TUNED, BASE))
        if not (math.isfinite(error) and math.isfinite(base_error) and base > 0):
            return _NO_DIMENSION
        value, half = tuned / base - 1, quantile * math.hypot(error, base_error * tuned / base) / base
        figures.append(Estimate(value, value - half, value + half, evidence.n))
    return largest_of(figures)


def _middle(evidence: Evidence, measure: str, model: str) -> tuple[float, float]:
    value, error = evidence.space(measure, model)
    return float(value[evidence.depth // 2]), float(error[evidence.depth // 2])


def _earlier_peak(evidence: Evidence, level: float) -> Estimate | str:
    """By how much deeper the tuned states have most dimensions; errors of sites are drawn as if independent."""
    rng = np.random.default_rng(evidence.seed)
    peaks = [_peaks(*evidence.space(_PEAK, model), evidence.depth, rng) for model in (TUNED, BASE)]
    if any(np.isnan(drawn).any() for drawn in peaks):
        return _NO_DIMENSION
    apart = peaks[0] - peaks[1]
    low, high = np.quantile(apart[1:], (level / 2, 1 - level / 2))
    return Estimate(float(apart[0]), float(low), float(high), evidence.n)


def _peaks(value: Floats, error: Floats, depth: int, rng: np.random.Generator) -> Floats:
    """The depths of the largest value behind a layer: as measured, then in draws of the errors, (1 + draw,)."""
    value, error = value[1 : depth + 1], error[1 : depth + 1]
    if not (np.isfinite(value) & np.isfinite(error)).all():
        return np.full(1, np.nan)
    drawn = value + np.vstack([np.zeros(depth), error * rng.standard_normal((_DRAWS, depth))])
    depths: Floats = (drawn.argmax(1) + 1) / depth
    return depths


CLAIMS: Sequence[Claim] = (
    Claim(
        "G1",
        "Somewhere, tuning moves the states further than another seed of the tuning does.",
        "relative distance of the last token's states, tuned from base less second tuning from tuned, where it is most",
        "implied wherever profiles are read without a second tuning beside them",
        _changed_above_floor,
        least=0.0,
    ),
    Claim(
        "G2",
        "Shallow layers change more for image tokens than for text.",
        "change of the layers' own updates in the shallow half, at image tokens less at the question without a picture",
        "for: earlier studies of LLaVA on COCO and ScienceQA",
        _image_changes_more,
        least=0.05,
    ),
    Claim(
        "G3",
        "Base and tuned states are least alike in the shallow middle.",
        "depth of the least cosine of the last token's states",
        "for: earlier studies of LLaVA on COCO; against: of text, where it is the last third",
        _least_similar,
        least=0.15,
        most=0.55,
    ),
    Claim(
        "G4",
        "What the layers themselves do to image tokens changes in the shallow half.",
        "depth of the centre of the layers' changes",
        "for: early and middle layers join the modalities; against: LISA, where the ends change",
        _centre_of_change,
        most=0.5,
    ),
    Claim(
        "G5",
        "In the middle, tuned states have fewer dimensions, by every measure.",
        "relative change of the dimension at half depth, by the measure in which it fell least",
        "for: earlier studies of LLaVA; against: it depends on the estimator",
        _compression,
        most=-0.1,
    ),
    Claim(
        "G6",
        "Tuned states have most dimensions at a shallower depth.",
        "difference of the depths, tuned less base",
        "for: an earlier peak goes with a better model",
        _earlier_peak,
        most=-0.06,
    ),
)
