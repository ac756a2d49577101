"""Claims about hybrids: which layers bring the gain back, and whether that is their direction or their size.

The gain is of content, log p(right answer | candidates), about questions with their pictures.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lapilli.core.statistics.bootstrap import draws, interval
from lapilli.core.statistics.estimate import Estimate
from lapilli.core.statistics.ranks import rank_correlation, spearman
from lapilli.core.statistics.recovery import half_recovery
from lapilli.studies.claims.claim import LEVEL, Claim
from lapilli.studies.claims.evidence import Evidence, Floats
from lapilli.studies.claims.figures import largest_of, mean_of, place_of_largest, share_of
from lapilli.studies.tuning import BASE, KINDS, TUNED

_GAIN = ("image", "content")
_NO_GAIN = "the tuning gained nothing about these questions"
_RANDOM = "random"


def _half_sufficient(evidence: Evidence, level: float) -> Estimate | str:
    """The share of the gain that the shallow half of the layers brings into the base."""
    return _share(evidence, evidence.brought([_shallow_half(evidence)], *_GAIN)[0], level)


def _half_necessary(evidence: Evidence, level: float) -> Estimate | str:
    """The share of the gain that is lost with the shallow half of the layers."""
    return _share(evidence, evidence.lost([_shallow_half(evidence)], *_GAIN)[0], level)


def _shallow_half(evidence: Evidence) -> int:
    return evidence.window(0, math.ceil(evidence.depth / 2))


def _share(evidence: Evidence, changes: Floats, level: float) -> Estimate | str:
    if not evidence.has_gain(*_GAIN):
        return _NO_GAIN
    return share_of(changes, evidence.gains(*_GAIN), evidence.seed, level)


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

    Curves over depth are smooth, so that few of them are unlike each other by chance. Where a shift does as well, no
    relation is within the interval.
    """
    if not evidence.has_gain(*_GAIN):
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
    """The depth at the centre of the quarter of the layers that brings most."""
    if not evidence.has_gain(*_GAIN):
        return _NO_GAIN
    width = max(1, evidence.depth // 8 if evidence.depth > 8 else evidence.depth // 4)
    brought = evidence.brought(evidence.windows(width), *_GAIN)
    centres = (np.arange(len(brought)) + width / 2) / evidence.depth
    return place_of_largest(brought, centres, evidence.seed, level)


def _largest_single(evidence: Evidence, level: float) -> Estimate | str:
    """The share of the gain that the best single layer brings."""
    if not evidence.has_gain(*_GAIN):
        return _NO_GAIN
    brought, gains = evidence.brought(evidence.windows(1), *_GAIN), evidence.gains(*_GAIN)
    return largest_of([share_of(one, gains, evidence.seed, level / len(brought)) for one in brought])


def _interference(evidence: Evidence, level: float) -> Estimate:
    """By how many answers the worst window of layers is below the worse of both models, as a share of the samples."""
    worse = min((evidence.own("image", role, "likeliest") for role in (BASE, TUNED)), key=np.mean)
    numbers = [at for width in range(1, evidence.depth) for at in evidence.windows(width)]
    hybrids = [one for role in (BASE, TUNED) for one in evidence.hybrids(numbers, "image", role, "likeliest")]
    return largest_of([mean_of(worse - one, evidence.seed, level / len(hybrids)) for one in hybrids])


def _depths_differ(evidence: Evidence, level: float) -> Estimate | str:
    """By how much deeper half of the gain is back about questions without their picture than with it."""
    if without := [kind for kind in KINDS if not evidence.has_gain(kind, "content")]:
        return f"the tuning gained nothing about questions {'without' if 'text' in without else 'with'} pictures"
    first = [evidence.window(0, end) for end in range(1, evidence.depth + 1)]
    depths = []
    for kind in KINDS:
        drawn = draws(evidence.n, evidence.seed)
        brought, gains = evidence.brought(first, kind, "content"), evidence.gains(kind, "content")
        shares = np.vstack([brought.mean(1) / gains.mean(), drawn.means(brought.T) / drawn.means(gains)[:, None]])
        depths.append(np.array([_half(one) for one in shares]) / evidence.depth)
    image, text = depths
    return interval(float(text[0] - image[0]), (text - image)[1:], evidence.n, level)


def _half(shares: Floats) -> int:
    """The number of layers from the first on that bring half of the gain; one more than all where they do not."""
    number = half_recovery(range(1, len(shares) + 1), shares)
    return len(shares) + 1 if number is None else number


def _random_share(evidence: Evidence, level: float) -> Estimate | str:
    """The share of the gain that random changes bring, in all layers, each tensor's as long as the tuning's."""
    return _share(evidence, evidence.brought([evidence.patched["parts"]["layers"]], *_GAIN, _RANDOM)[0], level)


def _format_share(evidence: Evidence, level: float) -> Estimate | str:
    """The share of format, whether any candidate is said, in the gain in log p(right answer)."""
    if not evidence.has_gain("image", "log_p"):
        return _NO_GAIN
    return share_of(evidence.gains("image", "format"), evidence.gains("image", "log_p"), evidence.seed, level)


CLAIMS: Sequence[Claim] = (
    Claim(
        "P1",
        "The shallow half of the tuned layers is enough.",
        "share of the gain that they bring into the base",
        "for: 98 % of the gain in accuracy, in earlier studies of LLaVA; against: captions and text",
        _half_sufficient,
        least=0.9,
    ),
    Claim(
        "P2",
        "The shallow half of the tuned layers is needed.",
        "share of the gain that is lost with them",
        "for: patching of answers in both directions",
        _half_necessary,
        least=0.8,
    ),
    Claim(
        "P2b",
        "The layers that bring most alone are those whose loss costs most.",
        "rank correlation over the layers",
        "for: the same",
        _ways_agree,
        least=0.5,
    ),
    Claim(
        "P3",
        "The window of layers that brings most is in the shallow middle.",
        "depth of the centre of the best window, of a quarter of the layers (an eighth, above 8 layers)",
        "for: middle layers move the picture's facts; against: the first layers hold them",
        _best_window,
        least=0.2,
        most=0.6,
    ),
    Claim(
        "P4",
        "No single layer brings much of the gain.",
        "share of the gain that the best layer brings alone",
        "for: 29 % at most, in earlier studies of LLaVA",
        _largest_single,
        most=0.3,
    ),
    Claim(
        "P5",
        "Some hybrids are worse than both models: layers of one do not fit the other's.",
        "share of answers by which the worst window is below the worse model",
        "for: earlier studies of LLaVA on text; swapped layers of language models",
        _interference,
        least=0.02,
    ),
    Claim(
        "P6",
        "Without the picture, half of the gain is back deeper than with it.",
        "difference of the depths",
        "for: depths of 3 and 15 of 32 layers, in earlier studies of LLaVA",
        _depths_differ,
        least=0.15,
    ),
    Claim(
        "P7",
        "The layers that changed most at image tokens are those that bring most.",
        "rank correlation over the layers",
        "implied wherever layers are chosen by how much they changed",
        _change_predicts,
        least=0.5,
    ),
    Claim(
        "P8",
        "It is the direction of the change that counts, and not its size.",
        "share of the gain that random changes of the same size bring, in all layers",
        "implied wherever patching is read without random changes beside it",
        _random_share,
        most=0.05,
    ),
    Claim(
        "P9",
        "Much of the gain is format: saying an answer of the expected form at all.",
        "share of format in the gain in log p(right answer)",
        "for: tuning as a change of style",
        _format_share,
        least=0.3,
    ),
)
