"""How far each weight matrix of a language model moved, by layer and part."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lapilli.core.errors import LapilliError
from lapilli.model.stored import is_finite

_IN_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.(.+?)(?:\.(weight|bias))?$")


@dataclass(frozen=True)
class WeightChange:
    """The change of one tensor.

    name            the tensor's
    layer           the number of its layer; None for one that is in no layer
    part            its name inside the layer, such as `mlp.up_proj`, or its whole name
    length          the length |base|
    absolute        the length |tuned - base|
    effective_rank  exp of the entropy of the change's singular values; nan without change and for vectors
    parameters      its numbers
    """

    name: str
    layer: int | None
    part: str
    length: float
    absolute: float
    effective_rank: float
    parameters: int

    @property
    def relative(self) -> float:
        """The change's length over the base's; nan for a base of zeros."""
        return self.absolute / self.length if self.length else math.nan


def weight_changes(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], ranks: bool = True) -> list[WeightChange]:
    """The change of every tensor, in the order of `base`; without `ranks` no singular values are computed.

    Sources: effective rank, Roy & Vetterli 2007, EUSIPCO 15:606. There is no error: weights are no sample.
    Raises LapilliError for a tensor that only one model has, and for one of two shapes, such as a vocabulary that grew.
    """
    if differing := sorted(base.keys() ^ tuned.keys()):
        raise LapilliError(f"{differing[0]}: only one of the models has it, so they are no base and its tuned version")
    return [_change(name, weight, tuned[name], ranks) for name, weight in base.items() if weight.is_floating_point()]


def by_layer(changes: Iterable[WeightChange]) -> dict[int, tuple[float, float]]:
    """Of every layer as a whole the length of the change, and that over the length of the base's weights.

    The second is nan for a layer of zeros. Raises LapilliError for layers of two stacks, such as those of a vision
    encoder beside the language model's.
    """
    changes = [change for change in changes if change.layer is not None]
    if len(stacks := sorted({change.name.partition("layers.")[0] for change in changes})) > 1:
        raise LapilliError(f"layers of {' and of '.join(map(repr, stacks))}: take those of one of them")
    squares: dict[int, tuple[float, float]] = {}
    for change in changes:
        if change.layer is not None:
            moved, length = squares.get(change.layer, (0.0, 0.0))
            squares[change.layer] = moved + change.absolute**2, length + change.length**2
    return {
        layer: (math.sqrt(moved), math.sqrt(moved / length) if length else math.nan)
        for layer, (moved, length) in squares.items()
    }


def _change(name: str, base: Tensor, tuned: Tensor, ranks: bool) -> WeightChange:
    if base.shape != tuned.shape:
        raise LapilliError(f"{name}: {tuple(base.shape)} in one model, {tuple(tuned.shape)} in the other")
    moved = tuned.detach().to(base.device).double() - base.detach().double()
    if not is_finite(moved):
        raise LapilliError(f"{name}: not all of its numbers are finite in both models; save them again")
    place = _IN_LAYER.search(name)
    return WeightChange(
        name=name,
        layer=int(place[1]) if place else None,
        part=place[2] if place else name,
        length=float(base.detach().double().norm()),
        absolute=float(moved.norm()),
        effective_rank=_effective_rank(moved) if ranks and moved.ndim == 2 else math.nan,
        parameters=moved.numel(),
    )


def _effective_rank(matrix: Tensor) -> float:
    values = torch.linalg.svdvals(matrix)
    total = float(values.sum())
    if not total > 0:
        return math.nan
    shares = values[values > 0] / total
    return math.exp(-float((shares * shares.log()).sum()))
