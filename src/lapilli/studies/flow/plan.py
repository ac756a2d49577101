"""In which layers pictures, and as a control text, are hidden, and before which layers pictures enter."""

from dataclasses import dataclass
from functools import cached_property

RESULT = "flow"
"""The name of the study's result in its run folder."""


@dataclass(frozen=True)
class Plan:
    """The variants of a run of a model of `depth` layers, in this order.

    The model itself; with pictures hidden in each window of layers; with random text hidden in each; and with pictures
    that enter before each layer but the first.
    """

    depth: int

    @property
    def width(self) -> int:
        """A quarter of the layers, at least one."""
        return max(1, round(self.depth / 4))

    @cached_property
    def windows(self) -> list[range]:
        """From each layer on to the last, single layers, and every window of a quarter of them; each once."""
        withdrawn = [range(layer, self.depth) for layer in range(self.depth)]
        sliding = [range(start, start + width) for width in (1, self.width) for start in range(self.depth - width + 1)]
        return list(dict.fromkeys([*withdrawn, *sliding]))

    @property
    def entries(self) -> range:
        """The layers before which pictures enter: before the first they always do."""
        return range(1, self.depth)

    @property
    def variants(self) -> int:
        """The number of variants."""
        return 1 + 2 * len(self.windows) + len(self.entries)
