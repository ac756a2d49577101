"""What every statistic comes as."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval and the number of samples it rests on; nan where there are too few of them."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Tested(Estimate):
    """A difference with its 95 % interval and the two-sided p that it is none."""

    p: float
