"""A claim, what is found of it, and the rule that decides: the whole interval, not its middle."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lapilli.core.statistics.estimate import Estimate
from lapilli.studies.claims.evidence import Evidence

Verdict: TypeAlias = Literal["refuted", "supported", "inconclusive", "untested"]

LEVEL = 0.05
"""How often the interval of any claim of the list may miss the truth: each has its part of it (Bonferroni)."""

Test: TypeAlias = Callable[[Evidence, float], "Estimate | str"]
"""Measures a claim's figure, with an interval that misses the truth at most as often as it is told.

Of what cannot be measured it says why.
"""


@dataclass(frozen=True)
class Claim:
    """What is claimed, and the figures for which it is true: those from `least` to `most`.

    id          G of geometry, P of patching, F of flow: the layers in which pictures are read
    says        the claim, in a sentence
    measure     what its figure is, in words, with its unit
    source      who claims it, or the opposite
    test        measures the figure
    by_samples  whether the interval narrows as the root of the number of samples does: that of a layer's place need
                not, nor an exact one, nor one over a few random draws
    fewest      layers: of models with fewer, depth alone would decide
    """

    id: str
    says: str
    measure: str
    source: str
    test: Test
    least: float = -math.inf
    most: float = math.inf
    by_samples: bool = True
    fewest: int = 1


@dataclass(frozen=True)
class Finding:
    """A claim's verdict and its figure; `why` says why it was not tested, and `needed` what would decide it."""

    id: str
    says: str
    measure: str
    source: str
    least: float | None
    most: float | None
    verdict: Verdict
    value: float | None
    low: float | None
    high: float | None
    n: int
    why: str = ""
    needed: str = ""


def finding_of(claim: Claim, evidence: Evidence, level: float) -> Finding:
    """Measure a claim's figure and decide. `level` is how often its interval may miss the truth."""
    few = evidence.depth < claim.fewest
    figure = f"{evidence.depth} layers are too few; it takes {claim.fewest}" if few else claim.test(evidence, level)
    if isinstance(figure, str):
        return _finding(claim, "untested", None, why=figure)
    if not (math.isfinite(figure.low) and math.isfinite(figure.high)):
        return _finding(
            claim, "untested", figure, why="the figure has no interval: no samples differ, or what differs is noise"
        )
    verdict = decided(figure, claim.least, claim.most)
    return _finding(claim, verdict, figure, needed=_needed(claim, figure, verdict))


def decided(figure: Estimate, least: float, most: float) -> Verdict:
    """Supported where the whole interval is between the ends, refuted where none of it is, else inconclusive."""
    if least <= figure.low and figure.high <= most:
        return "supported"
    return "refuted" if figure.high < least or figure.low > most else "inconclusive"


def _finding(claim: Claim, verdict: Verdict, figure: Estimate | None, why: str = "", needed: str = "") -> Finding:
    least, most = (end if math.isfinite(end) else None for end in (claim.least, claim.most))
    value, low, high, n = (figure.value, figure.low, figure.high, figure.n) if figure else (None, None, None, 0)
    return Finding(
        claim.id, claim.says, claim.measure, claim.source,
        least=least, most=most, verdict=verdict, value=value, low=low, high=high, n=n, why=why, needed=needed,
    )  # fmt: skip


_COUNTABLE = 100_000  # samples: a figure at a bound would take any number of them


def _needed(claim: Claim, figure: Estimate, verdict: Verdict) -> str:
    """What would change the verdict: more samples, if the figure stays what it is, or a figure beyond a bound."""
    bounds = [bound for bound in (claim.least, claim.most) if math.isfinite(bound)]
    nearest = min(bounds, key=lambda bound: abs(figure.value - bound))
    if verdict != "inconclusive":
        return f"a figure beyond {nearest:g}, {abs(figure.value - nearest):.2g} away"
    if not claim.by_samples:
        return ""
    inside = [bound for bound in bounds if figure.low < bound < figure.high and bound != figure.value]
    if not inside:
        return "another measure: the figure is the bound"
    ratios = [
        (figure.high - figure.value if bound > figure.value else figure.value - figure.low) / abs(figure.value - bound)
        for bound in inside
    ]
    number = figure.n * max(ratios) ** 2
    count = f"about {math.ceil(number):,}" if number <= _COUNTABLE else f"more than {_COUNTABLE:,}"
    return f"{count} samples, if the figure stays {figure.value:.2g}"
