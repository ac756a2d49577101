"""Top heads knocked out together, beside random sets of as many heads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lapilli.inspection.intervention.ablation import Head, HeadWay
from lapilli.model.llava import Llava
from lapilli.studies.color.ablated_answers import Batch, Said, said
from lapilli.studies.color.overlap import sizes, verdict_size
from lapilli.studies.color.sets import HeadSet, random_sets

CONTROLS = 20
"""Random sets for every set that is tested; fewer where there are no more."""

NULLS = {"any": "any heads", "layers": "as many heads in each of the same layers"}
"""What random sets are drawn from."""


@dataclass(frozen=True, eq=False)
class Knockout:
    """One set of top heads knocked out, and random sets of as many.

    of             whose top heads they are, by "increase" or "contrast" of this case, or by increase of the "base"
    how, null      how they are ablated, and which of NULLS the random sets are
    log_prob       (question,) the change of the right answer's log-probability, in nats
    right          (question,) the change of whether it is said: 0 or -1, or 1 where it was not
    sets           (set, 2) the mean changes of both by every random set
    random         (question, 2) the changes of both by the random sets, on average
    """

    of: str
    k: int
    how: HeadWay
    null: str
    heads: HeadSet
    log_prob: NDArray[np.float64]
    right: NDArray[np.float64]
    sets: NDArray[np.float64]
    random: NDArray[np.float64]


@final
@dataclass(eq=False)
class Knocking:
    """One model, and questions to be asked of it with sets of heads out, each set once.

    `means` are what heads put out on average, of other questions; `note` is told how many sets of `total` are done.
    """

    llava: Llava
    read: Sequence[Batch]
    means: dict[Head, Tensor]
    note: Callable[[int, int], None]
    total: int = 0
    _clean: NDArray[np.float64] | None = None
    _known: dict[tuple[HeadSet, HeadWay], NDArray[np.float64]] = field(default_factory=dict)

    def changes(self, heads: HeadSet, how: HeadWay) -> NDArray[np.float64]:
        """What knocking these heads out changes of the right answer: log-probability, said or not; (question, 2)."""
        if self._clean is None:
            self._clean = _numbers(said(self.llava, self.read))
        if (heads, how) not in self._known:
            values = self.means if how == "mean" else None
            self._known[heads, how] = _numbers(said(self.llava, self.read, heads, how, values)) - self._clean
            self.note(len(self._known), self.total)
        return self._known[heads, how]


def _numbers(found: Said) -> NDArray[np.float64]:
    return np.stack([found.log_prob, found.right.astype(np.float64)], axis=1)


def knockouts(
    knocking: Knocking, tops: Mapping[str, Sequence[Head]], shape: tuple[int, int], seed: int
) -> list[Knockout]:
    """All `sizes` of the first of each of `tops`, by whose they are, the most important head first.

    Averaged beside any heads at all sizes; averaged beside heads of the same layers, and zeroed beside any, at the size
    that verdicts speak of. `shape` is (layer, head) of the model. Where there is no other set, as of whole layers, none
    is given.
    """
    count = shape[0] * shape[1]
    trials: list[tuple[str, HeadWay, int]] = [("any", "mean", k) for k in sizes(count)]
    trials += [("layers", "mean", verdict_size(count)), ("any", "zero", verdict_size(count))]
    planned = []
    for null, how, k in trials:
        for of, heads in tops.items():
            rng = np.random.default_rng([seed, k])  # the same random sets for all that have the same null
            if others := random_sets(rng, shape, heads[:k], CONTROLS, null == "layers"):
                planned.append((of, tuple(sorted(heads[:k])), how, null, others))
    knocking.total = len({(one, how) for _, heads, how, _, others in planned for one in (heads, *others)})
    return [_knockout(knocking, of, heads, how, null=null, others=others) for of, heads, how, null, others in planned]


def _knockout(
    knocking: Knocking, of: str, heads: HeadSet, how: HeadWay, *, null: str, others: Sequence[HeadSet]
) -> Knockout:
    named = knocking.changes(heads, how)
    changes = np.stack([knocking.changes(one, how) for one in others])
    log_prob, right = named.T
    return Knockout(
        of, len(heads), how, null, heads,
        log_prob=log_prob, right=right, sets=changes.mean(1), random=changes.mean(0),
    )  # fmt: skip
