"""Ablation of the top heads together, beside random sets of as many heads."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lapilli.inspection.intervention.ablation import Head, HeadWay
from lapilli.model.llava import Llava
from lapilli.studies.color.answers_under_ablation import AnswerOutcomes, Batch, outcomes_under_ablation
from lapilli.studies.color.overlap import sizes, verdict_size
from lapilli.studies.color.random_head_sets import HeadSet, random_sets

CONTROLS = 20
"""Random sets for every set that is tested, at most."""

NULLS = {"any": "any heads", "layers": "as many heads in each of the same layers"}
"""The heads that random sets are drawn from."""


@dataclass(frozen=True, eq=False)
class HeadAblation:
    """The ablation of one set of top heads, and of random sets of as many.

    of             the source of the top heads: "increase" or "contrast" of this case, or increase of the "base"
    how, null      the way of ablation, and which of NULLS the random sets are
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
class HeadAblations:
    """A model and its questions, with every set of heads ablated once.

    `means` are the heads' mean outputs on other questions; `note` gets the number of sets that are done, and `total`.
    """

    llava: Llava
    batches: Sequence[Batch]
    means: dict[Head, Tensor]
    note: Callable[[int, int], None]
    total: int = 0
    _clean: NDArray[np.float64] | None = None
    _measured: dict[tuple[HeadSet, HeadWay], NDArray[np.float64]] = field(default_factory=dict)

    def changes(self, heads: HeadSet, how: HeadWay) -> NDArray[np.float64]:
        """The changes of the right answer by ablating these heads: log-probability, said or not; (question, 2)."""
        if self._clean is None:
            self._clean = _numbers(outcomes_under_ablation(self.llava, self.batches))
        if (heads, how) not in self._measured:
            values = self.means if how == "mean" else None
            self._measured[heads, how] = (
                _numbers(outcomes_under_ablation(self.llava, self.batches, heads, how, values)) - self._clean
            )
            self.note(len(self._measured), self.total)
        return self._measured[heads, how]


def _numbers(outcomes: AnswerOutcomes) -> NDArray[np.float64]:
    return np.stack([outcomes.log_prob, outcomes.right.astype(np.float64)], axis=1)


def ablate_top_heads(
    ablations: HeadAblations, tops: Mapping[str, Sequence[Head]], shape: tuple[int, int], seed: int
) -> list[HeadAblation]:
    """Ablate the first k heads of each of `tops`, the most important head first, for all `sizes` k.

    They are replaced by their means beside random sets of any heads, at all sizes. At the size of the verdicts they are
    also replaced by their means beside sets of the same layers, and zeroed beside sets of any heads. `shape` is (layer,
    head) of the model. Sets without a random counterpart, such as whole layers, are left out.
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
    ablations.total = len({(some, how) for _, heads, how, _, others in planned for some in (heads, *others)})
    return [
        _ablation(ablations, of, heads, how=how, null=null, random=others) for of, heads, how, null, others in planned
    ]


def _ablation(
    ablations: HeadAblations, of: str, heads: HeadSet, *, how: HeadWay, null: str, random: Sequence[HeadSet]
) -> HeadAblation:
    change = ablations.changes(heads, how)
    by_set = np.stack([ablations.changes(some, how) for some in random])
    return HeadAblation(
        of=of,
        k=len(heads),
        how=how,
        null=null,
        heads=heads,
        log_prob=change[:, 0],
        right=change[:, 1],
        sets=by_set.mean(1),
        random=by_set.mean(0),
    )
