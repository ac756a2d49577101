"""Maps of what the word loses, in nats of its log-probability, when parts of the picture are taken away."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from lapilli.core.layout import Positions
from lapilli.studies.scorecard.case import Case
from lapilli.studies.scorecard.method import Map, Method
from lapilli.studies.scorecard.methods.building_blocks import by_cell
from lapilli.studies.scorecard.operators import OPERATORS, Operator, painted_pixels

MASKS, MASK_CELLS, KEPT = 256, 7, 0.5
"""RISE: the number of masks, their cells along each side, and the share of cells that show the picture."""


def occlusion(case: Case) -> Map:
    """What the word loses when one patch's cell is blurred: as many passes as there are patches.

    Paper: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks".
    """
    return losses(case, OPERATORS["blur"])


def occlusion_2(case: Case) -> Map:
    """What the word loses when 2 x 2 patches are blurred together: of all such windows that hold a patch, the mean.

    Paper: Zeiler and Fergus 2014, with a square that slides by one patch.
    """
    return losses(case, OPERATORS["blur"], 2)


def occlusion_3(case: Case) -> Map:
    """What the word loses when 3 x 3 patches are blurred together: of all such windows that hold a patch, the mean.

    Paper: Zeiler and Fergus 2014, with a square that slides by one patch.
    """
    return losses(case, OPERATORS["blur"], 3)


def token_drop(case: Case) -> Map:
    """What the word loses when one patch's token is dropped before the language model.

    Paper: Zeiler and Fergus 2014, as "leave one out", on tokens.
    """
    return losses(case, OPERATORS["drop"])


def token_drop_2(case: Case) -> Map:
    """What the word loses when the tokens of 2 x 2 patches are dropped: of all windows that hold a patch, the mean.

    Paper: Zeiler and Fergus 2014, as "leave one out", on tokens, with a square that slides by one patch.
    """
    return losses(case, OPERATORS["drop"], 2)


def read_knockout(case: Case) -> Map:
    """What the word loses when no text looks at one patch: the text alone is run again.

    Paper: Geva et al. 2023, "Dissecting Recall of Factual Associations in Auto-Regressive Language Models".
    """
    return losses(case, OPERATORS["knockout"])


def read_knockout_2(case: Case) -> Map:
    """What the word loses when no text looks at 2 x 2 patches: of all such windows that hold a patch, the mean.

    Paper: Geva et al. 2023, with a square that slides by one patch: what two patches both say is lost with both.
    """
    return losses(case, OPERATORS["knockout"], 2)


def losses(case: Case, operator: Operator, size: int = 1) -> Map:
    """The word's loss without windows of size x size patches, in nats per patch, (patch,).

    A window's loss is divided evenly among its patches, and a patch's value is the mean over all windows that contain
    it. If the loss depends on the number of patches alone, this is each one's weight.
    """
    sets = windows(case.grid, size)
    lost = case.log_prob - operator(case, sets).log_prob
    membership = np.zeros((len(sets), len(case.patches)))
    for mask, some in zip(membership, sets, strict=True):
        mask[some] = 1
    shares: Map = (lost / membership.sum(1)) @ membership / membership.sum(0)
    return shares


def windows(grid: tuple[int, int], size: int) -> list[Positions]:
    """Squares of size x size patches at every place of a grid, row by row, cut to a smaller grid."""
    numbers = np.arange(grid[0] * grid[1]).reshape(grid)
    shape = min(size, grid[0]), min(size, grid[1])
    return list(np.lib.stride_tricks.sliding_window_view(numbers, shape).reshape(-1, shape[0] * shape[1]))


def rise(case: Case) -> Map:
    """The mean of random masks that let half of the picture through, weighed by the word's probability under each.

    Paper: Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models"; 256 masks here,
    where the paper draws thousands: its map is the noisier for it.
    """
    masks = _rise_masks(case)
    mean_color = torch.zeros_like(case.pixels[0])
    probability = np.exp(painted_pixels(case, mean_color, 1 - masks).log_prob)
    weighed = np.tensordot(probability, masks.double().numpy(), 1)
    return by_cell(case, weighed / (len(masks) * KEPT))


def _rise_masks(case: Case) -> torch.Tensor:
    """Small random grids, enlarged bilinearly and cropped at a random place, (mask, side, side)."""
    rng, side = case.random(), case.pixels.shape[-1]
    cell = -(-side // MASK_CELLS)
    coarse = (rng.random((MASKS, 1, MASK_CELLS, MASK_CELLS)) < KEPT).astype(np.float32)
    fine = interpolate(torch.from_numpy(coarse), size=(MASK_CELLS + 1) * cell, mode="bilinear")[:, 0]
    corners: NDArray[np.intp] = rng.integers(0, cell, (MASKS, 2))
    return torch.stack([grid[y : y + side, x : x + side] for grid, (y, x) in zip(fine, corners, strict=True)])


_TOKENS = ("drop", "knockout")  # nearly the same operator where the picture comes first

METHODS = (
    Method("occlusion, every patch", "many-pass", occlusion, operators=("blur",), unit="nat"),
    Method("occlusion, 2 x 2 windows", "many-pass", occlusion_2, operators=("blur",), unit="nat"),
    Method("occlusion, 3 x 3 windows", "many-pass", occlusion_3, operators=("blur",), unit="nat"),
    Method("token drop, every patch", "many-pass", token_drop, operators=_TOKENS, unit="nat"),
    Method("token drop, 2 x 2 windows", "many-pass", token_drop_2, operators=_TOKENS, unit="nat"),
    Method("read knock-out, every patch", "many-pass", read_knockout, ours=True, operators=_TOKENS, unit="nat"),
    Method("read knock-out, 2 x 2 windows", "many-pass", read_knockout_2, ours=True, operators=_TOKENS, unit="nat"),
    Method("RISE", "many-pass", rise, operators=("mean",)),
)
