"""How far rankings of the methods agree: between operators, with plausibility, and between two models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from lapilli.core.statistics.bootstrap import resampled
from lapilli.report.kit.figures import percent
from lapilli.report.scorecard import words
from lapilli.report.scorecard.card import Card, Figure, number, read_card
from lapilli.report.scorecard.tables import Scale


@dataclass(frozen=True)
class Tau:
    """Kendall's tau of two rankings (Kendall 1938, Biometrika 30:81) with its interval."""

    one: str
    other: str
    found: Figure

    @property
    def alike(self) -> str:
        """The share of pairs of methods that both put in the same order, where no two are tied."""
        return percent((1 + self.found.value) / 2, 0)

    @property
    def marks(self) -> str:
        """A cell's custom properties: a bar from 0 to tau, on an axis from -1 to 1."""
        return Scale(-1.0, 1.0, chance=0.0).marks(self.found)

    @property
    def verdict(self) -> str:
        """What the interval alone says, unless it is that both agree."""
        if self.found.low > 0:
            return ""
        return "they disagree" if self.found.high < 0 else "no agreement can be told"


@dataclass(frozen=True)
class Agreement:
    """Operators against one another, as the rows of a lower triangle, and every other pair of rankings."""

    operators: tuple[str, ...]
    triangle: tuple[tuple[str, tuple[Tau | None, ...]], ...]
    others: tuple[Tau, ...]

    @property
    def between(self) -> list[Tau]:
        """The triangle's pairs, the least agreement first."""
        found = [tau for _, row in self.triangle for tau in row if tau]
        return sorted(found, key=lambda tau: tau.found.value)


def agreement(card: Card) -> Agreement | None:
    """What the scorecard says on rankings; None where it says nothing."""
    found = [tau for tau in map(_tau, card.rows("agreement")) if tau]
    names = [name for name, _ in card.operators]
    pairs = {frozenset((tau.one, tau.other)): tau for tau in found if tau.one in names and tau.other in names}
    rows = [(row, tuple(pairs.get(frozenset((row, col))) for col in names[:i])) for i, row in enumerate(names)]
    others = tuple(tau for tau in found if frozenset((tau.one, tau.other)) not in pairs)
    triangle = tuple(rows[1:]) if pairs else ()
    return Agreement(tuple(names[:-1]), triangle, others) if found else None


def _tau(row: Mapping[str, Any]) -> Tau | None:
    value = number(row.get("tau"))
    if value is None:
        return None
    low, high = number(row.get("low")), number(row.get("high"))
    found = Figure(value, value if low is None else low, value if high is None else high, row.get("n"))
    return Tau(str(row["one"]), str(row["other"]), found)


def between_models(first: Card, second: Card) -> Tau | None:
    """Tau of the methods' gaps on two models, each under its primary operator; its interval draws methods again.

    None with fewer than three methods in common.
    """
    ranked = [method.name for method in first.methods if not method.released]
    both = [(first.score(name), second.score(name)) for name in ranked]
    values = np.array([(one.value, other.value) for one, other in both if one and other])
    if len(values) < 3:
        return None
    found = resampled(lambda drawn: float(kendalltau(*values[drawn].T).statistic), len(values))
    return Tau(first.model, second.model, Figure(found.value, found.low, found.high, found.n))


def told_between(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any] | None:
    """`between_models` of two scorecards, for JSON."""
    tau = between_models(read_card(first), read_card(second, 1))
    if tau is None:
        return None
    found = tau.found
    return {"one": tau.one, "other": tau.other, "tau": found.value, "low": found.low, "high": found.high, "n": found.n}


def said(tau: Tau) -> str:
    """Tau with its interval, and the pairs in the same order."""
    return f"τ {words.told(tau.found)}: {tau.alike} of the pairs of methods in the same order"
