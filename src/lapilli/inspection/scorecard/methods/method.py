"""What a method is: a function from a case to a score for every patch, and what a reader of a table must know of it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lapilli.inspection.scorecard.case import Case

Map: TypeAlias = NDArray[np.float64]
"""A score for every patch of the picture, row by row, (patch,). The larger, the more the patch spoke for the word."""

Family: TypeAlias = Literal["floor", "zero-pass", "one-backward", "many-pass"]
"""What it costs beyond the answer: nothing and no look inside; nothing; a backward pass or two; many passes."""


@dataclass(frozen=True)
class Method:
    """A way to make a map.

    function   its docstring's first line says what the map is; the paragraph that begins with "Paper:" names its source
    ours       whether it is this package's own proposal
    operators  those that take patches away as is done to make the map, or nearly so: under them it is not held out
    unit       "logit" where sums over patches foretell a change of the word's logit or log-probability; "rank" else
    released   whether it repeats a known fault of a released code, to be shown beside the method as published
    """

    name: str
    family: Family
    function: Callable[[Case], Map]
    ours: bool = False
    operators: tuple[str, ...] = ()
    unit: Literal["logit", "rank"] = "rank"
    released: bool = False

    def __call__(self, case: Case) -> Map:
        """The map, float64, (patch,). Raises ValueError for a function that gives anything else."""
        found = np.asarray(self.function(case), np.float64)
        if found.shape != case.patches.shape:
            raise ValueError(f"method {self.name!r}: gives {found.shape} numbers; {case.patches.shape} are meant")
        if not np.isfinite(found).all():
            raise ValueError(f"method {self.name!r}: gives numbers that are not finite; scores must be")
        return found

    @property
    def says(self) -> str:
        """What the map is, in a sentence."""
        return self._paragraphs[0]

    @property
    def paper(self) -> str:
        """Where the method comes from; nothing for what has no source."""
        return next((one.removeprefix("Paper: ") for one in self._paragraphs if one.startswith("Paper: ")), "")

    @property
    def _paragraphs(self) -> list[str]:
        text = inspect.cleandoc(self.function.__doc__ or self.name)
        return [" ".join(part.split()) for part in text.split("\n\n")]
