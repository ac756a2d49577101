"""Readings of hybrids, and what share of the gain each has: the numbers that figures of all kinds are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lapilli.core.statistics.bootstrap import draws
from lapilli.core.statistics.crossed import means_over_draws
from lapilli.core.statistics.estimate import Estimate
from lapilli.core.statistics.recovery import shares_of_gain, shares_over_draws
from lapilli.studies.patch.plan import Plan
from lapilli.studies.patch.settings import OTHER

Floats: TypeAlias = NDArray[np.float64]

Exchange: TypeAlias = tuple[str, str, str]
"""A kind of prompts, a target and a source."""


@dataclass(frozen=True, eq=False)
class Readings:
    """Read-outs by name, (patch, sample) or, of several draws, (draw, patch, sample), and every patch's number."""

    numbers: Sequence[int]
    values: Mapping[str, Floats]

    def of(self, readout: str, number: int) -> Floats:
        """A read-out of one patch of the plan, (sample,) or (draw, sample)."""
        values: Floats = self.values[readout][..., list(self.numbers).index(number), :]
        return values

    def rows(self, numbers: Sequence[int]) -> list[int]:
        """The places of patches of the plan."""
        return [list(self.numbers).index(number) for number in numbers]


def together(readings: Sequence[Readings]) -> Readings:
    """The readings of several draws as one; a single one stays as it is."""
    if len(readings) == 1:
        return readings[0]
    names = readings[0].values
    return Readings(readings[0].numbers, {name: np.stack([one.values[name] for one in readings]) for name in names})


@dataclass(frozen=True, eq=False)
class Shares:
    """What shares of the gain are made of: the plan, all readings, and the seed of the draws of samples."""

    plan: Plan
    readings: Mapping[Exchange, Readings]
    seed: int

    def own(self, kind: str, role: str, readout: str) -> Floats:
        """A read-out of the base or of the tuned model itself, (sample,)."""
        return self.readings[kind, role, OTHER[role]].of(readout, 0)

    def gains(self, kind: str, target: str, readout: str) -> Floats:
        """The way from the target to the model whose parts are put into it, (sample,)."""
        return self.own(kind, OTHER[target], readout) - self.own(kind, target, readout)

    def changes(self, exchange: Exchange, readout: str) -> Floats:
        """What the hybrids of an exchange differ from their target by, (patch, sample) or (draw, patch, sample)."""
        kind, target, _ = exchange
        return self.readings[exchange].values[readout] - self.own(kind, target, readout)

    def shares(self, exchange: Exchange, readout: str, changes: Floats) -> list[Estimate]:
        """The share of the way that changes, as `changes` has them, have gone."""
        of = shares_over_draws if changes.ndim == 3 else shares_of_gain
        return of(changes, self.gains(*exchange[:2], readout), self.seed)

    def scores(self, exchange: Exchange, readout: str) -> list[Estimate]:
        """The mean read-out of every hybrid."""
        values = self.readings[exchange].values[readout]
        return means_over_draws(values, self.seed) if values.ndim == 3 else [self.mean(row) for row in values]

    def mean(self, values: Floats) -> Estimate:
        """The mean over samples."""
        return draws(len(values), self.seed).mean(values)


def columns(estimates: Sequence[Estimate]) -> dict[str, list[float]]:
    """Estimates as a list of each of their fields but n."""
    return {name: [getattr(one, name) for one in estimates] for name in ("value", "low", "high")}
