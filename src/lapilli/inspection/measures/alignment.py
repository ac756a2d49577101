"""What one model's states are from the other's, in the basis that both share or after the best rotation."""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.inspection.measures.points import (
    BLOCK,
    Array,
    Measured,
    as_points,
    centered,
    in_one_space,
    mean_of,
    paired,
)


def procrustes(x: Array, y: Array, rank: int | None = None) -> Measured:
    """The squared distance of two spaces after the best rotation: 0 for spaces alike up to rotation, shift and scale.

    2 - 2 |X'Y|, with the sum of singular values, of centered points whose squares sum to 1; 2 at the most. `rank` keeps
    that many principal components of each space first. Above 0 by chance falls as samples outnumber dimensions: compare
    with permuted rows. Sources: Schönemann 1966, Psychometrika 31:1; Ding, Denain & Steinhardt 2021, NeurIPS 34. The
    error holds the rotation as it is. Raises LapilliError as `paired` does.
    """
    first, second = (_coordinates(part, rank) for part in paired(x, y))
    n = len(first)
    lengths = (first**2).sum(1), (second**2).sum(1)
    total, other = (float(length.sum()) for length in lengths)
    if n < 3 or not total * other > 0:
        return Measured(math.nan, math.nan, n, n)
    left, _, right = torch.linalg.svd(first.T @ second, full_matrices=False)
    shared = ((first @ left) * (second @ right.T)).sum(1)
    similarity = float(shared.sum()) / math.sqrt(total * other)
    shares = lengths[0] / total + lengths[1] / other
    influence = 2 * (similarity * shares / 2 - shared / math.sqrt(total * other))
    error = math.sqrt(n / (n - 1) * float((influence**2).sum()))
    return Measured(max(0.0, 2 - 2 * similarity), error, n, n)


def _coordinates(points: Tensor, rank: int | None) -> Tensor:
    """Centered points in the basis of their first principal components, all that there are without `rank`."""
    near = centered(points)
    if rank is None and near.shape[1] <= len(near):
        return near
    tall = near.shape[1] <= len(near)
    values, vectors = torch.linalg.eigh(near.T @ near if tall else near @ near.T)
    components: Tensor = near @ vectors if tall else vectors * values.clamp_min(0).sqrt()
    return components.flip(1)[:, :rank]


def cosine(x: Array, y: Array) -> Measured:
    """The cosine of each sample's two states; `samples` has all of them, nan for a state that is 0.

    Of states of two modalities it measures what all have in common: take each modality's mean off to see the rest.
    Raises LapilliError as `in_one_space` does.
    """
    return mean_of(_blockwise(in_one_space(x, y), lambda a, b: (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))))


def relative_l2(base: Array, tuned: Array) -> Measured:
    """|tuned - base| / |base| of each sample; `samples` has all of them, nan or inf for a base that is 0.

    Raises LapilliError as `in_one_space` does.
    """
    return mean_of(_blockwise(in_one_space(base, tuned), lambda a, b: (b - a).norm(dim=1) / a.norm(dim=1)))


def logit_lens_kl(
    base: Array, tuned: Array, lens: Callable[[Tensor], Tensor], tuned_lens: Callable[[Tensor], Tensor] | None = None
) -> Measured:
    """How far the next token that each state would predict changes: KL(base || tuned) of every sample, in nats.

    `lens` makes logits (sample, vocab) of states (sample, d_model), as the last norm and the head do; `tuned_lens` is
    the tuned model's, if it has one of its own. Source: nostalgebraist 2020, "interpreting GPT: the logit lens". Raises
    LapilliError as `paired` does.
    """

    def divergence(a: Tensor, b: Tensor) -> Tensor:
        before, after = (
            some(part.float()).double().log_softmax(1) for some, part in ((lens, a), (tuned_lens or lens, b))
        )
        return (before.exp() * (before - after)).sum(1)

    return mean_of(_blockwise(paired(base, tuned), divergence, BLOCK // 16))


def _blockwise(
    pair: tuple[Tensor, Tensor], measure: Callable[[Tensor, Tensor], Tensor], block: int = BLOCK
) -> NDArray[np.float64]:
    """A function of two states each, float64, of all samples, (sample,)."""
    parts = zip(pair[0].split(block), pair[1].split(block), strict=True)
    with torch.inference_mode():
        measured: Tensor = torch.cat([measure(a.double(), b.double()) for a, b in parts])
    return measured.cpu().numpy()


def mean_cosine(points: Array) -> Measured:
    """The mean cosine of two different samples: 0 where directions are spread evenly, near 1 in a narrow cone.

    `samples` has each sample's mean cosine with the others; all are nan where a state is 0, which has no direction, and
    for a single one. Source: Ethayarajh 2019, EMNLP, 55. Raises LapilliError as `as_points` does.
    """
    one = as_points(points)
    n = len(one)
    total = sum((_directions(part).sum(0) for part in one.split(BLOCK)), torch.zeros(one.shape[1]).to(one).double())
    samples = torch.cat([_directions(part) @ total for part in one.split(BLOCK)]).cpu().numpy()
    measured = mean_of((samples - 1) / (n - 1) if n > 1 else np.full(n, math.nan))
    return Measured(measured.value, 2 * measured.error, n, n, samples=measured.samples)


def _directions(points: Tensor) -> Tensor:
    directions: Tensor = points.double() / points.double().norm(dim=1, keepdim=True)
    return directions
