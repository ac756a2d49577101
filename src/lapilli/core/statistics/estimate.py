"""The type of every statistic: a value with its interval."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval and its number of samples; nan where there are too few of them."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Tested:
    """A difference with its 95 % interval and number of samples, and the two-sided p of the hypothesis that it is 0."""

    value: float
    low: float
    high: float
    n: int
    p: float
