"""Operators that remove patches. Each changes the model's input, and is read at the key word's queries.

An operator is a function (case, sets of patches) -> WordAfterRemoval, by set. It is one of:

    blur      the pixels are replaced by those of the picture blurred beyond recognition, and encoded again
    mean      the pixels are replaced by the mean color, which is 0 once it is normalised
    drop      no position attends to the patches' tokens; the others keep their positions (Jain et al. 2022,
              "Missingness Bias in Model Debugging", do so in a ViT). The encoder has mixed them into their neighbours
    knockout  no text attends to them; what they gave other patches stays (Geva et al. 2023)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.core.layout import Positions
from lapilli.inspection.intervention.patch_knockout import read_knockout
from lapilli.inspection.intervention.removal import blurred, reread_pixels
from lapilli.inspection.intervention.replay import Cut, replay
from lapilli.inspection.readings import Readings
from lapilli.studies.scorecard.case import Case
from lapilli.studies.scorecard.plan import require_operators


@dataclass(frozen=True, eq=False)
class WordAfterRemoval:
    """The key word without each of some sets of patches.

    log_prob   (set,) the log-probability of all its pieces, in nats
    logit      (set,) its pieces' logits less the mean of all, summed
    changed    (set,) whether another word would be said in its place
    """

    log_prob: NDArray[np.float64]
    logit: NDArray[np.float64]
    changed: NDArray[np.bool_]


Operator: TypeAlias = Callable[[Case, Sequence[Positions]], WordAfterRemoval]

_AT_ONCE = 64  # pictures that are painted at a time


def blur(case: Case, sets: Sequence[Positions]) -> WordAfterRemoval:
    """Cells of the picture are blurred beyond recognition (Gaussian, sigma a quarter of the side) and seen anew."""
    return painted(case, case.llava.pixels([blurred(case.view)])[0], sets)


def mean(case: Case, sets: Sequence[Positions]) -> WordAfterRemoval:
    """Cells of the picture are painted in the color that is 0 once normalised, and seen anew."""
    return painted(case, torch.zeros_like(case.pixels[0]), sets)


def drop(case: Case, sets: Sequence[Positions]) -> WordAfterRemoval:
    """Tokens of patches are dropped between the projector and the language model; the others keep their positions."""
    layers = range(case.trace.decoder.depth)
    length = len(case.trace.ids)
    cuts = []
    for at in (case.patches[some] for some in sets):
        others = np.setdiff1d(np.arange(at.min(initial=length) + 1, length), at)  # every later position
        cuts.append([Cut(others, at, layers)] if at.size else [])
    return _word_after(case, replay(case.trace, cuts, case.target))


def knockout(case: Case, sets: Sequence[Positions]) -> WordAfterRemoval:
    """The text's looks at patches are cut, in every layer and head; what they gave other patches stays."""
    return _word_after(case, read_knockout(case.trace, [case.patches[some] for some in sets], case.target))


OPERATORS: Mapping[str, Operator] = {"blur": blur, "mean": mean, "drop": drop, "knockout": knockout}


def chosen(names: Sequence[str]) -> dict[str, Operator]:
    """The operators of these names. Raises UsageError as `require_operators` does."""
    require_operators(names)
    return {name: OPERATORS[name] for name in names}


def painted(case: Case, other: Tensor, sets: Sequence[Positions]) -> WordAfterRemoval:
    """Read again with the cells of each set taken from the pixel values `other`, (3, side, side)."""
    cells = torch.from_numpy(cells_of(case))
    hidden = torch.zeros(len(sets), len(case.patches) + 1)
    for mask, some in zip(hidden, sets, strict=True):
        mask[torch.from_numpy(np.asarray(some, np.intp))] = 1
    return _together([painted_pixels(case, other, some[:, cells]) for some in hidden.split(_AT_ONCE)])


def painted_pixels(case: Case, other: Tensor, masks: Tensor) -> WordAfterRemoval:
    """Read again with each mask's share, (mask, side, side), of the pixels taken from `other`, (3, side, side)."""
    batches = []
    for some in masks.split(_AT_ONCE):
        variants = torch.lerp(case.pixels, other[None], some[:, None])
        batches.append(_word_after(case, reread_pixels(case.trace, variants, case.target, case.pixels)))
    return _together(batches)


def _together(parts: Sequence[WordAfterRemoval]) -> WordAfterRemoval:
    return WordAfterRemoval(
        *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(WordAfterRemoval))
    )


def cells_of(case: Case) -> NDArray[np.intp]:
    """The number of each pixel's patch, (side, side); the number behind the last patch for pixels that none covers."""
    rows, columns = case.grid
    size, side = case.llava.pixels.cell, case.pixels.shape[-1]
    cells = np.full((side, side), rows * columns)
    numbers = np.arange(rows * columns).reshape(rows, columns)
    cells[: rows * size, : columns * size] = numbers.repeat(size, 0).repeat(size, 1)
    return cells


def _word_after(case: Case, read: Readings) -> WordAfterRemoval:
    word = case.word
    changed = (read.likeliest[:, word] != read.clean_likeliest[word]).any(1)
    log_prob, logit = (part[:, word].sum(1, dtype=np.float64) for part in (read.log_prob, read.target))
    return WordAfterRemoval(log_prob, logit, changed)
