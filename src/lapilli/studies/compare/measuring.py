"""What is measured of the states of all models at one position and site: of every pair of them, and of each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.inspection.decoder import decoder
from lapilli.inspection.measures import (
    Measured,
    Neighbors,
    cosine,
    distinct,
    gride,
    information_imbalance,
    largest_variance_share,
    linear_cka,
    logit_lens_kl,
    mean_cosine,
    neighborhood_overlap,
    neighbors,
    participation_ratio,
    relative_l2,
    spectrum_entropy,
    two_nn,
)
from lapilli.model.llava import Llava
from lapilli.studies.tuning import FEWEST

KS = (10, 30)
"""The numbers of neighbors of which the overlap is taken."""

RANKS = 32
"""The rank of the farthest neighbor that dimensions are measured with."""

Lens: TypeAlias = Callable[[Tensor], Tensor]
"""A function of states (sample, d_model): the logits that they would give, (sample, vocab)."""


@dataclass(frozen=True, eq=False)
class Space:
    """The states of a model at one position and site, (sample, d_model), their neighbors, and how they are read."""

    states: Tensor
    near: Neighbors
    lens: Lens

    def shuffled(self, order: NDArray[np.intp]) -> "Space":
        """The same states, given to other samples: row i is that of sample `order[i]`."""
        index = np.argsort(order)[self.near.index[order]]
        near = replace(self.near, index=index, distance=self.near.distance[order])
        return Space(self.states[torch.from_numpy(order).to(self.states.device)], near, self.lens)


def lenses(llava: Llava) -> tuple[Lens, Lens]:
    """The logit lens of a model, and that of states that are behind its last norm. Its layers are not held."""
    parts = decoder(llava.model)
    return partial(_logits, parts.head, parts.norm), partial(_logits, parts.head, None)


def _logits(head: Any, norm: Any, states: Tensor) -> Tensor:
    weight = next(head.parameters())
    states = states.to(weight.device, weight.dtype)
    logits: Tensor = head(states if norm is None else norm(states))
    return logits.float()


def measured(
    states: Mapping[str, Tensor], lens: Mapping[str, Lens], pairs: Mapping[str, tuple[str, str]], seed: int
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The values of all pairs and models at one site, and what each sample contributes to those that are means.

    `states` of every model are (sample, d_model), row i of the same sample. A sample whose state equals another's in
    any model is left out of all, so that all figures are of the same samples. Nothing is measured of fewer than FEWEST.
    The pair `change` is also measured with the samples of one model shuffled: what no relation at all gives.
    """
    rows = distinct(*states.values())
    if len(rows) < FEWEST:
        return {"n": len(rows), "pairs": {}, "models": {}}, {}
    spaces = {
        model: _space(part[torch.from_numpy(rows).to(part.device)], lens[model]) for model, part in states.items()
    }
    compared = {pair: _compared(spaces[one], spaces[other]) for pair, (one, other) in pairs.items()}
    one, other = (spaces[model] for model in pairs["change"])
    chance = _compared(one, other.shuffled(shifted(len(rows), seed)))
    values = {
        "n": len(rows),
        "pairs": {pair: {name: _value(of) for name, of in each.items()} for pair, each in compared.items()},
        "shuffled": {name: _value(of) for name, of in chance.items()},
        "models": {model: {name: _value(of) for name, of in _alone(space).items()} for model, space in spaces.items()},
    }
    samples = {
        f"{pair}.{name}": of.samples
        for pair, each in compared.items()
        for name, of in each.items()
        if of.samples is not None
    }
    return values, {"row": rows, **samples}


def shifted(n: int, seed: int) -> NDArray[np.intp]:
    """An order of n samples in which none is at its own place."""
    order = np.random.default_rng(seed).permutation(n)
    other = np.empty(n, np.intp)
    other[order] = np.roll(order, 1)
    return other


def _space(states: Tensor, lens: Lens) -> Space:
    return Space(states, neighbors(states, min(RANKS, len(states) - 1)), lens)


def _value(of: Measured) -> dict[str, float]:
    return {"value": of.value, "error": of.error}


def _compared(one: Space, other: Space) -> dict[str, Measured]:
    """Every measure of two spaces by its name."""
    overlaps = neighborhood_overlap(one.near, other.near, KS)
    forth, back = information_imbalance(one.states, other.states)
    return {
        **{f"overlap_{k}": overlap for k, overlap in zip(KS, overlaps, strict=True)},
        "cka": linear_cka(one.states, other.states),
        "imbalance": forth,
        "imbalance_back": back,
        "cosine": cosine(one.states, other.states),
        "relative_l2": relative_l2(one.states, other.states),
        "lens_kl": logit_lens_kl(one.states, other.states, one.lens, other.lens),
    }


def _alone(space: Space) -> dict[str, Measured]:
    """Every measure of one space by its name; that of a dimension has the rank of its farther neighbor."""
    return {
        "two_nn": two_nn(space.near),
        **{f"gride_{round(of.scale)}": of for of in gride(space.near, RANKS)},
        "participation_ratio": participation_ratio(space.states),
        "spectrum_entropy": spectrum_entropy(space.states),
        "mean_cosine": mean_cosine(space.states),
        "largest_variance_share": largest_variance_share(space.states),
    }
