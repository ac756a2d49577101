"""Claims about the layers in which text reads a picture: the shallow half alone, not the first, most in the middle.

Answers are counted by the likeliest candidate. Costs in nats are of content, log p(right answer | candidates).
"""

import math
from collections.abc import Callable

import numpy as np

from lapilli.core.statistics.bootstrap import draws, interval
from lapilli.core.statistics.estimate import Estimate
from lapilli.core.statistics.joint import largest_at, largest_change_at, mean_at, spread_only
from lapilli.core.statistics.recovery import ROUNDING
from lapilli.studies.claims.claim import Claim
from lapilli.studies.claims.evidence import Evidence, Floats
from lapilli.studies.tuning import BASE, TUNED

_LATE, _ENTRY, _QUARTER = 0.01, 0.02, 0.1  # of answers, of answers, and of what all layers read
_ENTRY_DEPTH = 0.2
_FEWEST = 5  # layers: of four, two are in the middle


def _late_unused(evidence: Evidence, level: float) -> Estimate | str:
    """The share of answers that the tuned model loses when text reads pictures in its shallow half alone."""
    return _lost(evidence, lambda: _hidden(evidence, math.ceil(evidence.depth / 2), evidence.depth), _LATE, level)


def _early_unused(evidence: Evidence, level: float) -> Estimate | str:
    """The share of answers that the tuned model loses when pictures enter at a fifth of the depth."""
    layer = max(1, round(_ENTRY_DEPTH * evidence.depth))
    rows = {one["layer"]: one["at"] for one in evidence.flow["late"]}
    return _lost(evidence, lambda: rows[layer], _ENTRY, level)


def _lost(evidence: Evidence, variant: Callable[[], int], margin: float, level: float) -> Estimate | str:
    """The share of answers lost in a variant; nothing is said where pictures give no more answers than the margin."""
    own, *_ = answers = evidence.readings[f"{TUNED}-image-likeliest"]
    blind = evidence.readings[f"{TUNED}-text-likeliest"][0]
    if not largest_change_at((own - blind)[None], level).low > margin:
        return f"pictures give the tuned model no more than {margin:g} of the answers: there is little to lose"
    return largest_change_at((own - answers[variant()])[None], level)


def _middle_most(evidence: Evidence, level: float) -> Estimate | str:
    """By how much more the middle quarter costs the tuned model than any other, as a share of what all layers cost."""
    if why := _unread(evidence, TUNED, level):
        return why
    middle, others = _quarters(evidence)
    costs, total = _costs(evidence, TUNED, [middle, *others]), _total(evidence, TUNED)
    drawn = draws(len(total), evidence.seed)
    apart = costs[1:] - costs[0]
    replicates = drawn.means(apart.T) / drawn.means(total)[:, None]
    more = largest_at(apart.mean(1) / total.mean(), replicates, len(total), level)
    return Estimate(-more.value, -more.high, -more.low, more.n)


def _tuning_sharpens(evidence: Evidence, level: float) -> Estimate | str:
    """By how much larger the middle quarter's share of what all layers cost is in the tuned model than in the base."""
    if why := _unread(evidence, TUNED, level) or _unread(evidence, BASE, level):
        return why
    middle, _ = _quarters(evidence)
    shares = []
    for role in (TUNED, BASE):
        (cost,), total = _costs(evidence, role, [middle]), _total(evidence, role)
        drawn = draws(len(total), evidence.seed)
        shares.append(np.append(cost.mean() / total.mean(), drawn.means(cost) / drawn.means(total)))
    value, *replicates = shares[0] - shares[1]
    return spread_only(interval(float(value), np.array(replicates), len(total), level))


def _unread(evidence: Evidence, role: str, level: float) -> str:
    """What to say of a model that is no surer of right answers by what its text reads of the pictures."""
    if mean_at(_total(evidence, role), evidence.seed, level).low > ROUNDING:
        return ""
    return f"what text reads of pictures makes the {role} model no surer of right answers"


def _quarters(evidence: Evidence) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """The window of a quarter of the layers nearest the middle, and all that share no layer with it."""
    width: int = evidence.flow["width"]
    start = (evidence.depth - width) // 2
    others = [at for at in range(evidence.depth - width + 1) if abs(at - start) >= width]
    return (start, start + width), [(at, at + width) for at in others]


def _total(evidence: Evidence, role: str) -> Floats:
    """What it costs that no text reads pictures in any layer, (sample,)."""
    cost: Floats = _costs(evidence, role, [(0, evidence.depth)])[0]
    return cost


def _costs(evidence: Evidence, role: str, windows: list[tuple[int, int]]) -> Floats:
    """What it costs that no text reads pictures in windows of layers, in nats of content, (window, sample)."""
    content = evidence.readings[f"{role}-image-content"]
    costs: Floats = content[0] - content[[_hidden(evidence, *window) for window in windows]]
    return costs


def _hidden(evidence: Evidence, start: int, stop: int) -> int:
    """The row of the variant in which pictures are hidden in the layers from `start` to before `stop`."""
    rows = {(one["start"], one["stop"]): one["at"] for one in evidence.flow["hidden"] if one["what"] == "image"}
    return int(rows[start, stop])


CLAIMS = (
    Claim(
        "F1",
        "In the deeper half of the layers, the tuned model's text reads nothing of the picture that it needs.",
        "share of answers that are lost without it there",
        "for: image tokens can be dropped half way; against: of captions",
        _late_unused,
        most=_LATE,
        by_samples=False,
        fewest=_FEWEST,
    ),
    Claim(
        "F2",
        "Pictures can enter the tuned model late, at a fifth of its depth.",
        "share of answers that are lost by that, without training",
        "for: models trained that way; against: shallow layers of hybrids bring the gain",
        _early_unused,
        most=_ENTRY,
        by_samples=False,
        fewest=_FEWEST,
    ),
    Claim(
        "F3",
        "The middle quarter of the layers is where text reads most of the picture.",
        "how much more it costs to block it than any other quarter, as a share of all layers",
        "for: attention knock-out in LLaVA; against: attention to pictures is largest in the first layers",
        _middle_most,
        least=_QUARTER,
        fewest=_FEWEST,
    ),
    Claim(
        "F3b",
        "Tuning sharpens that.",
        "the middle quarter's cost as a share of all layers, tuned less base",
        "implied wherever knock-out of a tuned model alone is read as what tuning did",
        _tuning_sharpens,
        least=_QUARTER,
        fewest=_FEWEST,
    ),
)
