"""Claims about hybrids: which layers bring the gain back, and whether that is their direction or their size.

The gain is of content, log p(right answer | candidates), about questions with their pictures.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lapilli.core.statistics.bootstrap import draws, interval
from lapilli.core.statistics.estimate import Estimate
from lapilli.core.statistics.joint import (
    largest_at,
    largest_change_at,
    place_of_largest_at,
    share_at,
    share_over_draws_at,
)
from lapilli.core.statistics.ranks import rank_correlation, spearman
from lapilli.core.statistics.recovery import half_recovery
from lapilli.studies.claims.claim import LEVEL, Claim
from lapilli.studies.claims.evidence import Evidence, Floats
from lapilli.studies.tuning import BASE, KINDS, TUNED

_GAIN = ("image", "content")
_NO_GAIN = "the tuning gained nothing about these questions"
_RANDOM = "random"
_NO_MORE_THAN_CHANCE = 0.05
_WITH = {"image": "with", "text": "without"}


def _half_sufficient(evidence: Evidence, level: float) -> Estimate | str:
    """The share of the gain that the shallow half of the layers brings into the base."""
    return _share(evidence, evidence.brought([_shallow_half(evidence)], *_GAIN)[0], level)


def _half_necessary(evidence: Evidence, level: float) -> Estimate | str:
    """The share of the gain that is lost with the shallow half of the layers."""
    return _share(evidence, evidence.lost([_shallow_half(evidence)], *_GAIN)[0], level)


def _shallow_half(evidence: Evidence) -> int:
    return evidence.window(0, math.ceil(evidence.depth / 2))


def _share(evidence: Evidence, changes: Floats, level: float) -> Estimate | str:
    if not evidence.has_gain(*_GAIN, level):
        return _NO_GAIN
    return share_at(changes, evidence.gains(*_GAIN), evidence.seed, level)


def _ways_agree(evidence: Evidence, level: float) -> Estimate | str:
    """The rank correlation over layers of what each brings alone and what is lost with it alone."""
    single = evidence.windows(1)
    return _correlation(evidence, evidence.brought(single, *_GAIN), evidence.lost(single, *_GAIN), level)


def _change_predicts(evidence: Evidence, level: float) -> Estimate | str:
    """The rank correlation over layers of each one's own change at image tokens and what it brings alone."""
    changes = evidence.local("image", "image_mean")
    return _correlation(evidence, changes, evidence.brought(evidence.windows(1), *_GAIN), level)


def _correlation(evidence: Evidence, first: Floats, second: Floats, level: float) -> Estimate | str:
    """Of tables (layer, sample), beside what the same curves give when one is shifted along the depth, in a circle.

    Curves over depth are smooth, so that few of them are unlike each other by chance. Where more than 5 in 100 shifts
    do as well, no relation is within the interval. That is not corrected for the other claims: it takes 320 layers.
    """
    if not evidence.has_gain(*_GAIN, level):
        return _NO_GAIN
    if evidence.depth * LEVEL < 1:
        least = 1 / evidence.depth
        return f"{evidence.depth} layers can be shifted so few ways that no p is below {least:.2g}; it takes 20 layers"
    figure = rank_correlation(first.T, second.T, evidence.seed, level)
    means = first.mean(1), second.mean(1)
    shifts = np.array([np.roll(means[0], shift) for shift in range(evidence.depth)])
    chance = spearman(shifts, np.tile(means[1], (evidence.depth, 1)))
    return figure if (chance >= chance[0]).mean() <= LEVEL else replace(figure, low=min(figure.low, 0.0))


def _best_window(evidence: Evidence, level: float) -> Estimate | str:
    """The depth at the centre of the window that brings most, of a quarter of the layers; above 8, of an eighth."""
    if not evidence.has_gain(*_GAIN, level):
        return _NO_GAIN
    width = max(1, evidence.depth // 8 if evidence.depth > 8 else evidence.depth // 4)
    brought = evidence.brought(evidence.windows(width), *_GAIN)
    centres = (np.arange(len(brought)) + width / 2) / evidence.depth
    return place_of_largest_at(brought, centres, evidence.seed, level)


def _largest_single(evidence: Evidence, level: float) -> Estimate | str:
    """The share of the gain that the best single layer brings."""
    if not evidence.has_gain(*_GAIN, level):
        return _NO_GAIN
    brought, gains = evidence.brought(evidence.windows(1), *_GAIN), evidence.gains(*_GAIN)
    drawn = draws(evidence.n, evidence.seed)
    replicates = drawn.means(brought.T) / drawn.means(gains)[:, None]
    return largest_at(brought.mean(1) / gains.mean(), replicates, evidence.n, level)


def _interference(evidence: Evidence, level: float) -> Estimate | str:
    """By how many answers the worst window of layers is below the worse of both models, as a share of the samples."""
    numbers = [at for width in range(1, evidence.depth) for at in evidence.windows(width)]
    if evidence.patched["candidates"]["most"] == 1:
        return "no question has another candidate: every hybrid is right"
    worse = min((evidence.own("image", role, "likeliest") for role in (BASE, TUNED)), key=np.mean)
    hybrids = np.vstack([evidence.hybrids(numbers, "image", role, "likeliest") for role in (BASE, TUNED)])
    return largest_change_at(worse - hybrids, level)


def _depths_differ(evidence: Evidence, level: float) -> Estimate | str:
    """By how much deeper half of the gain is back about questions without their picture than with it.

    Where half is not back in more draws than the level allows, the difference may be any.
    """
    if without := [kind for kind in KINDS if not evidence.has_gain(kind, "content", level)]:
        return f"the tuning gained nothing about questions {_WITH[without[0]]} their pictures"
    depths = {kind: _half_depths(evidence, kind) for kind in KINDS}
    if never := [kind for kind in KINDS if np.isnan(depths[kind][0])]:
        return f"all layers together bring less than half of the gain {_WITH[never[0]]} the pictures"
    apart = depths["text"] - depths["image"]
    if np.isnan(apart).mean() > level:
        return Estimate(float(apart[0]), -1.0, 1.0, evidence.n)
    return interval(float(apart[0]), apart[1:], evidence.n, level)


def _half_depths(evidence: Evidence, kind: str) -> Floats:
    """The depth by which half of the gain is back for good: as measured, then in every draw; nan where it never is."""
    first = [evidence.window(0, end) for end in range(1, evidence.depth + 1)]
    brought, gains = evidence.brought(first, kind, "content"), evidence.gains(kind, "content")
    drawn = draws(evidence.n, evidence.seed)
    shares = np.vstack([brought.mean(1) / gains.mean(), drawn.means(brought.T) / drawn.means(gains)[:, None]])
    layers = [half_recovery(range(1, len(first) + 1), one) for one in shares]
    return np.array([np.nan if layer is None else layer / evidence.depth for layer in layers])


def _random_share(evidence: Evidence, level: float) -> Estimate | str:
    """The share of the gain that random changes bring, in all layers, each tensor's as long as the tuning's.

    Its interval holds the spread of the draws.
    """
    layers = [evidence.patched["parts"]["layers"]]
    true = _share(evidence, evidence.brought(layers, *_GAIN)[0], level)
    if isinstance(true, str):
        return true
    if not true.low > _NO_MORE_THAN_CHANCE:
        return "the tuned layers bring no more themselves"
    by_chance = evidence.brought(layers, *_GAIN, _RANDOM)[:, 0]
    return share_over_draws_at(by_chance, evidence.gains(*_GAIN), evidence.seed, level)


def _at_image_tokens(evidence: Evidence, level: float) -> Estimate | str:
    """What the shallow half brings at image tokens alone, as a share of what it brings at all positions."""
    half = evidence.brought([_shallow_half(evidence)], *_GAIN)[0]
    whole = _share(evidence, half, level)
    if isinstance(whole, str):
        return whole
    by_chance = evidence.brought([_shallow_half(evidence)], *_GAIN, _RANDOM)[:, 0]
    if not share_over_draws_at(half - by_chance, evidence.gains(*_GAIN), evidence.seed, level).low > 0:
        return "the shallow half of the tuned layers brings no more than random changes of it do"
    (at_images,) = evidence.brought([evidence.within("shallow", "image")], *_GAIN)
    return share_at(at_images, half, evidence.seed, level)


def _format_share(evidence: Evidence, level: float) -> Estimate | str:
    """The share of format, whether any candidate is said, in the gain in log p(right answer)."""
    if not evidence.has_gain("image", "log_p", level):
        return _NO_GAIN
    return share_at(evidence.gains("image", "format"), evidence.gains("image", "log_p"), evidence.seed, level)


CLAIMS: Sequence[Claim] = (
    Claim(
        "P1",
        "The shallow half of the tuned layers is enough.",
        "share of the gain that they bring into the base",
        "for: 98 % of the gain in accuracy, in earlier studies of LLaVA; against: captions and text",
        _half_sufficient,
        least=0.9,
        fewest=2,
    ),
    Claim(
        "P2",
        "The shallow half of the tuned layers is needed.",
        "share of the gain that is lost with them",
        "for: patching of answers in both directions",
        _half_necessary,
        least=0.8,
        fewest=2,
    ),
    Claim(
        "P2b",
        "The layers that bring most alone are those whose loss costs most.",
        "rank correlation over the layers",
        "for: the same",
        _ways_agree,
        least=0.5,
        by_samples=False,
    ),
    Claim(
        "P3",
        "The window of layers that brings most is in the shallow middle.",
        "depth of the centre of the best window, of a quarter of the layers (an eighth, above 8 layers)",
        "for: middle layers move the picture's facts; against: the first layers hold them",
        _best_window,
        least=0.2,
        most=0.6,
        by_samples=False,
        fewest=2,
    ),
    Claim(
        "P4",
        "No single layer brings much of the gain.",
        "share of the gain that the best layer brings alone",
        "for: 29 % at most, in earlier studies of LLaVA",
        _largest_single,
        most=0.3,
        fewest=2,
    ),
    Claim(
        "P5",
        "Some hybrids are worse than both models: layers of one do not fit the other's.",
        "share of answers by which the worst window is below the worse model",
        "for: earlier studies of LLaVA on text; swapped layers of language models",
        _interference,
        least=0.02,
        by_samples=False,
        fewest=2,
    ),
    Claim(
        "P6",
        "Without the picture, half of the gain is back deeper than with it.",
        "difference of the depths",
        "for: depths of 3 and 15 of 32 layers, in earlier studies of LLaVA",
        _depths_differ,
        least=0.15,
        by_samples=False,
        fewest=2,
    ),
    Claim(
        "P7",
        "The layers that changed most at image tokens are those that bring most.",
        "rank correlation over the layers",
        "implied wherever layers are chosen by how much they changed",
        _change_predicts,
        least=0.5,
        by_samples=False,
    ),
    Claim(
        "P8",
        "It is the direction of the change that counts, and not its size.",
        "share of the gain that random changes of the same size bring, in all layers",
        "implied wherever patching is read without random changes beside it",
        _random_share,
        most=_NO_MORE_THAN_CHANCE,
        by_samples=False,
    ),
    Claim(
        "P9",
        "Much of the gain is format: saying an answer of the expected form at all.",
        "share of format in the gain in log p(right answer)",
        "for: tuning as a change of style",
        _format_share,
        least=0.3,
    ),
    Claim(
        "P10",
        "The shallow half of the tuned layers acts on image tokens.",
        "share of what it brings that it brings at image tokens alone",
        "for: facts of the picture lie in early layers; against: image tokens are passive there",
        _at_image_tokens,
        least=0.7,
        fewest=2,
    ),
)
