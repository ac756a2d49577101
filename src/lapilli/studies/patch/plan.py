"""Which hybrids are run: windows of layers, single parts, parts of layers, and sets of blocks, each once."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from lapilli.inspection.intervention.patching import Patch, block_sets, everything, nothing, window, windows

SHALLOW = 8
"""The most layers of a model of which every window is run, and the most blocks that share a gain."""

PARTS: Mapping[str, Mapping[str, Any]] = {part: {part: True} for part in ("embeddings", "connector", "norm", "head")}
"""What is exchanged alone beside the layers."""

WITHIN: Mapping[str, Mapping[str, Any]] = {
    "image": {"positions": "image"},
    "text": {"positions": "text"},
    "attention": {"modules": ("attention",)},
    "mlp": {"modules": ("gate_up", "down")},
    "gate_up": {"modules": ("gate_up",)},
    "down": {"modules": ("down",)},
    "norms": {"modules": ("norms",)},
}
"""What is exchanged of layers: all of them at image tokens or at all others, or modules of some kinds everywhere."""

UNCONTROLLED = ("gate_up", "down")
"""Parts of the MLP, of which no controls are run."""


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
            few = windows(self.depth, [1, self.depth // SHALLOW])
            patches = [*few, *self.from_below, *self.from_each(range(self.depth))]
        ordered = sorted({_ends(patch): patch for patch in patches}.items())
        return dict(ordered)

    @cached_property
    def parts(self) -> dict[str, Patch]:
        """Each part alone, all layers, the shallow half of them, and all of the model."""
        alone = {part: replace(nothing(self.depth), **exchanged) for part, exchanged in PARTS.items()}
        layers = {"layers": window(self.depth, 0, self.depth), "shallow": window(self.depth, 0, self.half)}
        return {**alone, **layers, "all": everything(self.depth)}

    @property
    def half(self) -> int:
        """The number of layers of the shallow half."""
        return math.ceil(self.depth / 2)

    @cached_property
    def within(self) -> dict[tuple[str, str], Patch]:
        """Parts of the shallow half and of all layers: the part of `parts`, and what of it, of WITHIN."""
        return {
            (part, what): replace(self.parts[part], **exchanged)
            for part in ("shallow", "layers")
            for what, exchanged in WITHIN.items()
        }

    @cached_property
    def from_below(self) -> list[Patch]:
        """All layers up to each, from the first on."""
        return self.up_to(range(1, self.depth + 1))

    def up_to(self, stops: Sequence[int]) -> list[Patch]:
        """All layers before each of these."""
        return [window(self.depth, 0, stop) for stop in stops]

    def from_each(self, starts: Sequence[int]) -> list[Patch]:
        """All layers from each of these on."""
        return [window(self.depth, start, self.depth) for start in starts]

    @cached_property
    def sets(self) -> list[Patch]:
        """Every set of blocks, in the order of `block_sets`."""
        return block_sets(self.depth, self.blocks)

    @cached_property
    def patches(self) -> list[Patch]:
        """All hybrids, each once; the first is the target itself."""
        every = [nothing(self.depth), *self.windows.values(), *self.parts.values(), *self.sets, *self.within.values()]
        return list(dict.fromkeys(every))

    @cached_property
    def beside(self) -> list[Patch]:
        """The hybrids that read other pictures too: the target itself, and parts."""
        return list(dict.fromkeys([nothing(self.depth), *self.parts.values()]))

    @cached_property
    def controls(self) -> list[Patch]:
        """The hybrids that are run with other sources too, of a deep model cumulative ones at the ends of blocks."""
        within = [patch for (_, what), patch in self.within.items() if what not in UNCONTROLLED]
        cumulative = [*self.up_to(self._ends), *self.from_each([0, *self._ends[:-1]])]
        return list(dict.fromkeys([*cumulative, *self.parts.values(), *within]))

    @cached_property
    def answering(self) -> list[Patch]:
        """The hybrids that answer in their own words: the target itself, cumulative ones from below, and parts."""
        parts = [patch for part, patch in self.parts.items() if part != "all"]
        return list(dict.fromkeys([nothing(self.depth), *self.up_to(self._ends), *parts]))

    @property
    def _ends(self) -> list[int]:
        """The layers behind the last of every block."""
        return [-(-self.depth * (block + 1) // self.blocks) for block in range(self.blocks)]

    def readable(self, patches: Sequence[Patch], kind: str) -> list[Patch]:
        """Those of these hybrids that read a kind of prompts: parts of layers are exchanged under a picture only."""
        return [patch for patch in patches if kind != "text" or patch not in self._within]

    @cached_property
    def _within(self) -> set[Patch]:
        return set(self.within.values())

    def numbers(self, patches: Sequence[Patch]) -> list[int]:
        """The places of these hybrids in `patches`."""
        place = {patch: number for number, patch in enumerate(self.patches)}
        return [place[patch] for patch in patches]


def _ends(patch: Patch) -> tuple[int, int]:
    start = patch.layers.index(True)
    return start, start + sum(patch.layers)
