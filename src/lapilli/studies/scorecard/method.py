"""What a method is: a function from a case to a score for every patch, and what a reader of a table must know of it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lapilli.studies.scorecard.case import Case

Map: TypeAlias = NDArray[np.float64]
"""A score for every patch of the picture, row by row, (patch,). The larger, the more the patch spoke for the word."""

Family: TypeAlias = Literal["floor", "zero-pass", "one-backward", "many-pass"]
"""What it costs beyond the answer: nothing and no look inside; nothing; a backward pass or two; many passes."""

Unit: TypeAlias = Literal["logit", "nat", "rank"]


@dataclass(frozen=True)
class Method:
    """A way to make a map.

    function   its docstring's first line says what the map is; the paragraph that begins with "Paper:" names its source
    ours       whether it is this package's own proposal
    operators  those that take patches away as is done to make the map, or nearly so, or that leave what the map is
               measured from: under them it is not held out
    unit       "logit" where sums over patches foretell how the word's centred logit falls, "nat" where they foretell it
               of the log-probability, "rank" where they foretell neither
    heads      how many heads it sums over, where that says little without how many there are
    by_layer   whether the function is (case, layer) -> a map of each layer: which layer counts is chosen by other cases
    released   whether it repeats a known fault of a released code, to be shown beside the method as published
    """

    name: str
    family: Family
    function: Callable[..., Map]
    ours: bool = False
    operators: tuple[str, ...] = ()
    unit: Unit = "rank"
    released: bool = False
    heads: int = 0
    by_layer: bool = False

    def shown(self, heads: int) -> "Method":
        """The method under its name in a model of so many heads: "top 10 heads" says little where there are 20."""
        name = self.name.replace(f"{self.heads} heads", f"{min(self.heads, heads)} of {heads} heads")
        return replace(self, name=name) if self.heads else self

    def maps(self, case: Case) -> NDArray[np.float64]:
        """The map, or that of every layer, (map, patch). Raises ValueError as a call does."""
        layers = range(case.trace.decoder.depth if self.by_layer else 1)
        return np.stack([self(case, layer) for layer in layers])

    def __call__(self, case: Case, layer: int = 0) -> Map:
        """The map, float64, (patch,); of one layer, where there is one of each.

        Raises ValueError for a function that gives anything else.
        """
        found = np.asarray(self.function(case, layer) if self.by_layer else self.function(case), np.float64)
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
