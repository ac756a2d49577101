"""Which hybrids are run: windows of layers, single parts, and sets of blocks, each once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lapilli.inspection.intervention.patching import Patch, block_sets, everything, nothing, window, windows

SHALLOW = 8
"""The most layers of a model of which every window is run, and the most blocks that share a gain."""

PARTS = ("embeddings", "connector", "norm", "head")
"""What is exchanged alone beside the layers."""


@dataclass(frozen=True)
class Plan:
    """The hybrids of a model of `depth` layers."""

    depth: int

    @property
    def blocks(self) -> int:
        """The number of blocks of adjacent layers whose shares are measured."""
        return min(self.depth, SHALLOW)

    @cached_property
    def windows(self) -> dict[tuple[int, int], Patch]:
        """Windows of layers by start and end: all, or of a deep model single, sliding and cumulative ones."""
        if self.depth <= SHALLOW:
            patches = windows(self.depth)
        else:
            patches = [*windows(self.depth, [1, self.depth // SHALLOW]), *self.cumulative]
        ordered = sorted({_ends(patch): patch for patch in patches}.items())
        return dict(ordered)

    @cached_property
    def parts(self) -> dict[str, Patch]:
        """Each part alone, all layers, and all of the model."""
        none = (False,) * self.depth
        alone = {part: Patch(none, **{part: True}) for part in PARTS}
        return {**alone, "layers": window(self.depth, 0, self.depth), "all": everything(self.depth)}

    @cached_property
    def cumulative(self) -> list[Patch]:
        """From the first layer on up to each, then from each on up to the last."""
        ends = range(1, self.depth + 1)
        return [window(self.depth, 0, end) for end in ends] + [window(self.depth, end - 1, self.depth) for end in ends]

    @cached_property
    def sets(self) -> list[Patch]:
        """Every set of blocks, in the order of `block_sets`."""
        return block_sets(self.depth, self.blocks)

    @cached_property
    def patches(self) -> list[Patch]:
        """All hybrids, each once; the first is the target itself."""
        return list(dict.fromkeys([nothing(self.depth), *self.windows.values(), *self.parts.values(), *self.sets]))

    @cached_property
    def controls(self) -> list[Patch]:
        """The hybrids that are run with other sources too, each once."""
        return list(dict.fromkeys([*self.cumulative, *self.parts.values()]))

    def numbers(self, patches: Sequence[Patch]) -> list[int]:
        """The places of these hybrids in `patches`."""
        place = {patch: number for number, patch in enumerate(self.patches)}
        return [place[patch] for patch in patches]


def _ends(patch: Patch) -> tuple[int, int]:
    start = patch.layers.index(True)
    return start, start + sum(patch.layers)
