"""What a scorecard is to measure, and the names that one can choose; all of it without torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from lapilli.core.errors import UsageError

OPERATORS = ("blur", "mean", "drop", "knockout")
"""Ways to take patches away; `operators.py` has them."""

METHODS = (
    "random",
    "centre",
    "raster order",
    "edges",
    "another picture's map",
    "mean attention",
    "attention, best layer",
    "attention rollout",
    "value-weighted attention",
    "relative attention",
    "direct",
    "log-prob increase, top head",
    "log-prob increase, top 10 heads",
    "logit lens",
    "TAM",
    "attention x gradient",
    "T-MM relevancy",
    "LLaVA-CAM",
    "input x gradient",
    "all paths, to tokens",
    "all paths, to pixels",
    "LLaVA-CAM, smoothed",
    "integrated gradients",
    "occlusion, every patch",
    "occlusion, 2 x 2 windows",
    "occlusion, 3 x 3 windows",
    "token drop, every patch",
    "token drop, 2 x 2 windows",
    "read knock-out, every patch",
    "read knock-out, 2 x 2 windows",
    "RISE",
    "LLaVA-CAM, wrong grid",
    "TAM, wrong grid",
)
"""Methods, and after them the released codes with known faults; the files of `methods/` have them."""


@dataclass(frozen=True)
class Plan:
    """What decides a scorecard's numbers, beside the model and the data.

    operators    by their names, the primary one first
    methods      by their names; all, where none are given
    plus         a Python file with methods of the user's own
    as_released  whether known faults of released codes are measured too
    sanity       how many cases the sanity tests are made with
    costs        how many cases the costs are measured on
    """

    questions: int = 300
    operators: tuple[str, ...] = ("blur", "mean", "drop")
    methods: tuple[str, ...] = ()
    plus: str | None = None
    as_released: bool = False
    sanity: int = 12
    costs: int = 5
    seed: int = 0


def require_known(plan: Plan) -> None:
    """Raise UsageError for operators and methods that are not there; a user's own are known when their file has run."""
    require_operators(plan.operators)
    if plan.plus is None:
        require_methods(plan.methods)


def require_operators(names: Sequence[str]) -> None:
    """Raise UsageError for an operator that is not there, and for one given twice."""
    for number, name in enumerate(names):
        if name in names[:number]:
            raise UsageError(f"operator {name!r}: given twice; leave it out once")
        if name not in OPERATORS:
            raise UsageError(f"operator {name!r}: unknown; choose among {', '.join(OPERATORS)}")


def require_methods(names: Sequence[str], known: Sequence[str] = METHODS) -> None:
    """Raise UsageError for a method that is not among those known."""
    for name in names:
        if name not in known:
            raise UsageError(f"method {name!r}: unknown; choose among {'; '.join(known)}")
