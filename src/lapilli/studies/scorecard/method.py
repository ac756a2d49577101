"""The method of a scorecard: a function from a case to a score for every patch, with its description for readers."""

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
"""The cost beyond the answer: nothing, without access to the model; nothing; a backward pass or two; many passes."""

Unit: TypeAlias = Literal["logit", "nat", "rank"]


@dataclass(frozen=True)
class Method:
    """A way to make a map.

    function   its docstring's first line says what the map is; the paragraph that begins with "Paper:" names its source
    ours       whether it is this package's own proposal
    operators  the operators that remove patches as the method does, or nearly so, or whose baseline is the map's own:
               under them it is not held out
    unit       "logit" where sums over patches predict the fall of the word's centred logit, "nat" where they predict
               that of its log-probability, "rank" where they predict neither
    heads      the number of heads that it sums over, where that means little without the number of all heads
    by_layer   whether the function is (case, layer) -> a map of each layer; other cases choose the layer
    released   whether it repeats a known fault of a released code, to compare with the method as published
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

    def with_head_count(self, heads: int) -> "Method":
        """The method with the model's number of heads in its name: "top 10 heads" means little where there are 20."""
        name = self.name.replace(f"{self.heads} heads", f"{min(self.heads, heads)} of {heads} heads")
        return replace(self, name=name) if self.heads else self

    def maps(self, case: Case) -> NDArray[np.float64]:
        """The map, or the maps of all layers, (map, patch). Raises ValueError as a call does."""
        layers = range(case.trace.decoder.depth if self.by_layer else 1)
        return np.stack([self(case, layer) for layer in layers])

    def __call__(self, case: Case, layer: int = 0) -> Map:
        """The map, float64, (patch,); that of `layer` for a method by layers.

        Raises ValueError for a function that returns anything else.
        """
        values = np.asarray(self.function(case, layer) if self.by_layer else self.function(case), np.float64)
        if values.shape != case.patches.shape:
            raise ValueError(f"method {self.name!r}: gives {values.shape} numbers; {case.patches.shape} are meant")
        if not np.isfinite(values).all():
            raise ValueError(f"method {self.name!r}: gives numbers that are not finite; scores must be")
        return values

    @property
    def says(self) -> str:
        """The description of the map, in a sentence."""
        return self._paragraphs[0]

    @property
    def paper(self) -> str:
        """The source of the method; empty without one."""
        return next(
            (paragraph.removeprefix("Paper: ") for paragraph in self._paragraphs if paragraph.startswith("Paper: ")), ""
        )

    @property
    def _paragraphs(self) -> list[str]:
        text = inspect.cleandoc(self.function.__doc__ or self.name)
        return [" ".join(part.split()) for part in text.split("\n\n")]
