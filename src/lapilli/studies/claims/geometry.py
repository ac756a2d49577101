"""Claims about states: where they change, how much, and how many dimensions they have.

Depth is from 0, before the first layer, to 1, behind the last.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from lapilli.core.statistics.estimate import Estimate
from lapilli.core.statistics.joint import largest_mean_at, mean_at, place_of_largest_at
from lapilli.studies.claims.claim import Claim
from lapilli.studies.claims.evidence import Evidence, Floats
from lapilli.studies.tuning import BASE, FLOOR, TUNED

_SCALES = (2, 4, 8, 16, 32)
_NO_DIMENSION = "too few distinct states for their dimensions"
_UNCHANGED = "no layer of the language model changed"
_DRAWS = 10_000


def _changed_above_floor(evidence: Evidence, level: float) -> Estimate | str:
    """By how much further the tuning turned the states than another seed of it does, where that is most."""
    if not evidence.has_floor:
        return "needs a second tuning: --floor"
    change, floor = (1 - _cosines(evidence, pair) for pair in ("change", FLOOR))
    apart = change - floor
    return largest_mean_at(apart[:, np.isfinite(apart).all(0)], evidence.seed, level)


def _cosines(evidence: Evidence, pair: str) -> Floats:
    """Of two models' states of the last token behind every layer with enough distinct states, (layer, sample)."""
    cosines = evidence.apart("image", "last", "cosine", pair)[1 : evidence.depth + 1]
    return cosines[np.isfinite(cosines).any(1)]


def _image_changes_more(evidence: Evidence, level: float) -> Estimate:
    """By how much more the shallow half of the layers changed at image tokens than at the question alone."""
    half = slice(0, math.ceil(evidence.depth / 2))
    image, text = evidence.local("image", "image_mean")[half], evidence.local("text", "question_end")[half]
    return mean_at((image - text).mean(0), evidence.seed, level)


def _least_similar(evidence: Evidence, level: float) -> Estimate:
    """The depth behind the layer at which both models' states are least alike."""
    cosines = evidence.apart("image", "last", "cosine", "change")[1 : evidence.depth + 1]
    return place_of_largest_at(-cosines, (np.arange(len(cosines)) + 1) / evidence.depth, evidence.seed, level)


def _centre_of_change(evidence: Evidence, level: float) -> Estimate | str:
    """The depth at the centre of the layers' changes at image tokens; .5 where all changed alike."""
    changes = evidence.local("image", "image_mean")
    if not changes.sum(0).all():
        return _UNCHANGED
    depths = (np.arange(evidence.depth) + 0.5) / evidence.depth
    return mean_at((depths @ changes) / changes.sum(0), evidence.seed, level)


def _compression(evidence: Evidence, level: float) -> Estimate | str:
    """By what share the tuned states have more dimensions in the middle, by the measure that says most."""
    measures = [f"gride_{scale}" for scale in _scales(evidence)] + ["participation_ratio"]
    quantile = NormalDist().inv_cdf(1 - level / 2 / len(measures))
    figures: list[tuple[float, float, float]] = []
    for measure in measures:
        (tuned, error), (base, base_error) = (_middle(evidence, measure, model) for model in (TUNED, BASE))
        if not (math.isfinite(error) and math.isfinite(base_error) and base > 0):
            return _NO_DIMENSION
        value, half = tuned / base - 1, quantile * math.hypot(error, base_error * tuned / base) / base
        figures.append((value, value - half, value + half))
    value, low, high = (max(ends) for ends in zip(*figures, strict=True))
    return Estimate(value, low, high, evidence.n)


def _scales(evidence: Evidence) -> list[int]:
    """The scales whose neighbors are nearer than a tenth of the samples: of others the errors are too small."""
    return [scale for scale in _SCALES if scale < evidence.n / 10]


def _middle(evidence: Evidence, measure: str, model: str) -> tuple[float, float]:
    value, error = evidence.space(measure, model)
    return float(value[evidence.depth // 2]), float(error[evidence.depth // 2])


def _earlier_peak(evidence: Evidence, level: float) -> Estimate | str:
    """By how much deeper the tuned states have most dimensions; errors of sites are drawn as if independent."""
    rng = np.random.default_rng(evidence.seed)
    measure = f"gride_{_scales(evidence)[-1]}"
    peaks = [_peaks(*evidence.space(measure, model), evidence.depth, rng) for model in (TUNED, BASE)]
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
        "Behind some layer, tuning turns the states further than another seed of the tuning does.",
        "1 - cosine of the last token's states, base and tuned less tuned and second tuning, where it is most",
        "implied wherever profiles are read without a second tuning beside them",
        _changed_above_floor,
        least=0.0,
    ),
    Claim(
        "G2",
        "Shallow layers change more at image tokens than at the end of a question without its picture.",
        "relative change of what the layers of the shallow half add, at image tokens less at the question",
        "for: earlier studies of LLaVA on COCO and ScienceQA",
        _image_changes_more,
        least=0.05,
        fewest=2,
    ),
    Claim(
        "G3",
        "Base and tuned states are least alike in the shallow middle.",
        "depth of the least cosine of the last token's states",
        "for: earlier studies of LLaVA on COCO; against: of text, where it is the last third",
        _least_similar,
        least=0.15,
        most=0.55,
        by_samples=False,
        fewest=2,
    ),
    Claim(
        "G4",
        "What the layers themselves do to image tokens changes in the shallow half.",
        "depth of the centre of the layers' changes",
        "for: early and middle layers join the modalities; against: LISA, where the ends change",
        _centre_of_change,
        most=0.5,
        fewest=2,
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
        by_samples=False,
        fewest=2,
    ),
)
