"""The agreement of rankings of the methods: between operators, with plausibility, and between two models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from lapilli.core.statistics.bootstrap import resampled
from lapilli.report.kit.figures import percent
from lapilli.report.scorecard import words
from lapilli.report.scorecard.card import Card, Figure, bounded, number, read_card
from lapilli.report.scorecard.tables import Scale


@dataclass(frozen=True)
class Tau:
    """Kendall's tau of two rankings (Kendall 1938, Biometrika 30:81) with its interval."""

    first: str
    second: str
    figure: Figure

    @property
    def alike(self) -> str:
        """The share of pairs of methods in the same order in both rankings, where no two are tied."""
        return percent((1 + self.figure.value) / 2, 0)

    @property
    def marks(self) -> str:
        """A cell's custom properties: a bar from 0 to tau, on an axis from -1 to 1."""
        return Scale(-1.0, 1.0, chance=0.0).marks(self.figure)

    @property
    def verdict(self) -> str:
        """The conclusion from the interval: "" for agreement, disagreement, or none."""
        if self.figure.has_interval and self.figure.low > 0:
            return ""
        return "they disagree" if self.figure.has_interval and self.figure.high < 0 else "no agreement can be told"


@dataclass(frozen=True)
class Agreement:
    """The operators pair by pair, as the rows of a lower triangle, and every other pair of rankings."""

    operators: tuple[str, ...]
    triangle: tuple[tuple[str, tuple[Tau | None, ...]], ...]
    others: tuple[Tau, ...]

    @property
    def between(self) -> list[Tau]:
        """The triangle's pairs, the least agreement first."""
        taus = [tau for _, row in self.triangle for tau in row if tau]
        return sorted(taus, key=lambda tau: tau.figure.value)


def agreement(card: Card) -> Agreement | None:
    """The agreement of the scorecard's rankings; None where it has none."""
    taus = [tau for tau in map(_tau, card.rows("agreement")) if tau]
    names = [name for name, _ in card.operators]
    pairs = {frozenset((tau.first, tau.second)): tau for tau in taus if tau.first in names and tau.second in names}
    rows = [(row, tuple(pairs.get(frozenset((row, col))) for col in names[:i])) for i, row in enumerate(names)]
    others = tuple(tau for tau in taus if frozenset((tau.first, tau.second)) not in pairs)
    triangle = tuple(rows[1:]) if pairs else ()
    return Agreement(tuple(names[:-1]), triangle, others) if taus else None


def _tau(row: Mapping[str, Any]) -> Tau | None:
    value = number(row.get("tau"))
    if value is None:
        return None
    figure = bounded(value, number(row.get("low")), number(row.get("high")), row.get("n"))
    return Tau(str(row["one"]), str(row["other"]), figure)


def between_models(first: Card, second: Card) -> Tau | None:
    """Tau of the methods' gaps on two models, each under its primary operator; the bootstrap draws methods.

    None with fewer than three methods in common.
    """
    ranked = [method.name for method in first.methods if not method.released]
    both = [(first.score(name), second.score(name)) for name in ranked]
    values = np.array([(on_first.value, on_second.value) for on_first, on_second in both if on_first and on_second])
    if len(values) < 3:
        return None
    estimate = resampled(lambda indices: float(kendalltau(*values[indices].T).statistic), len(values))
    return Tau(
        first.model, second.model, bounded(estimate.value, number(estimate.low), number(estimate.high), estimate.n)
    )


def between_scorecards(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return `between_models` of two scorecards as a dict for JSON; None with too few methods in common."""
    tau = between_models(read_card(first), read_card(second, 1))
    if tau is None:
        return None
    interval = {"tau": tau.figure.value, "low": tau.figure.low, "high": tau.figure.high, "n": tau.figure.n}
    return {"one": tau.first, "other": tau.second, **interval}


def describe(tau: Tau) -> str:
    """Tau with its interval, and the pairs in the same order."""
    return f"τ {words.with_interval(tau.figure)}: {tau.alike} of the pairs of methods in the same order"
