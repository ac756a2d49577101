"""Maps of what the word loses, in nats of its log-probability, when parts of the picture are taken away."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from lapilli.inspection.removal import blurred
from lapilli.inspection.scorecard.case import Case
from lapilli.inspection.scorecard.methods.method import Map, Method
from lapilli.inspection.scorecard.methods.parts import by_cell
from lapilli.inspection.scorecard.operators import OPERATORS, Operator, painted_pixels

BLOCKS = 8
"""Blocks along each side in the coarse occlusion, whatever the grid of patches."""

MASKS, MASK_CELLS, KEPT = 256, 7, 0.5
"""RISE: how many masks, of how many cells along each side, and which share of them keeps the picture."""


def occlusion(case: Case) -> Map:
    """What the word loses when one patch's cell is blurred: as many passes as there are patches.

    Paper: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks".
    """
    return losses(case, OPERATORS["blur"])


def dropped(case: Case) -> Map:
    """What the word loses when one patch's token is dropped before the language model.

    Paper: Zeiler and Fergus 2014, as "leave one out", on tokens.
    """
    return losses(case, OPERATORS["drop"])


def unread(case: Case) -> Map:
    """What the word loses when no text looks at one patch: the text alone is run again.

    Paper: Geva et al. 2023, "Dissecting Recall of Factual Associations in Auto-Regressive Language Models".
    """
    return losses(case, OPERATORS["knockout"])


def losses(case: Case, operator: Operator) -> Map:
    """What the word loses without each patch alone, in nats, (patch,)."""
    alone = [np.array([patch]) for patch in range(len(case.patches))]
    return case.log_prob - operator(case, alone).log_prob


def occlusion_blocks(case: Case) -> Map:
    """What the word loses when one of 8 x 8 blocks of the picture is blurred, shared out among the block's pixels.

    Paper: Zeiler and Fergus 2014; in blocks that need not be those of the patches.
    """
    side = case.pixels.shape[-1]
    numbers = np.arange(side) * BLOCKS // side
    blocks = numbers[:, None] * BLOCKS + numbers
    masks = torch.from_numpy(blocks[None] == np.arange(BLOCKS**2)[:, None, None])
    lost = case.log_prob - painted_pixels(case, case.llava.pixels([blurred(case.view)])[0], masks.float()).log_prob
    return by_cell(case, (lost / np.bincount(blocks.ravel()))[blocks])


def rise(case: Case) -> Map:
    """The mean of random masks that let half of the picture through, weighed by the word's probability under each.

    Paper: Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models"; 256 masks here,
    where the paper draws thousands: its map is the noisier for it.
    """
    kept = _rise_masks(case)
    mean_colour = torch.zeros_like(case.pixels[0])
    probability = np.exp(painted_pixels(case, mean_colour, 1 - kept).log_prob)
    weighed = np.tensordot(probability, kept.double().numpy(), 1)
    return by_cell(case, weighed / (len(kept) * KEPT))


def _rise_masks(case: Case) -> torch.Tensor:
    """Small random grids, enlarged without hard edges and cut out at a random place, (mask, side, side)."""
    rng, side = case.random(), case.pixels.shape[-1]
    cell = -(-side // MASK_CELLS)
    coarse = (rng.random((MASKS, 1, MASK_CELLS, MASK_CELLS)) < KEPT).astype(np.float32)
    fine = interpolate(torch.from_numpy(coarse), size=(MASK_CELLS + 1) * cell, mode="bilinear")[:, 0]
    corners: NDArray[np.intp] = rng.integers(0, cell, (MASKS, 2))
    return torch.stack([one[y : y + side, x : x + side] for one, (y, x) in zip(fine, corners, strict=True)])


_TOKENS = ("drop", "knockout")  # where the picture comes first, they are all but the same

METHODS = (
    Method("occlusion, 8 x 8 blocks", "many-pass", occlusion_blocks, operators=("blur",)),
    Method("occlusion, every patch", "many-pass", occlusion, operators=("blur",), unit="logit"),
    Method("token drop, every patch", "many-pass", dropped, operators=_TOKENS, unit="logit"),
    Method("read knock-out, every patch", "many-pass", unread, ours=True, operators=_TOKENS, unit="logit"),
    Method("RISE", "many-pass", rise, operators=("mean",)),
)
