"""The plan of a scorecard, and the names to choose from; without torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from lapilli.core.errors import UsageError

OPERATORS = ("blur", "mean", "drop", "knockout")
"""The operators that remove patches; see `operators.py`."""

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
"""The methods, and behind them the released codes with known faults; see `methods/`."""


@dataclass(frozen=True)
class Plan:
    """The settings that decide a scorecard's numbers, beside the model and the data.

    operators    names, the primary one first
    methods      names; all if empty
    plus         a Python file with the user's own methods
    as_released  whether known faults of released codes are measured too
    sanity       the number of cases for the sanity tests
    costs        the number of cases for the costs
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
    """Raise UsageError for an unknown operator, and for one named twice."""
    for number, name in enumerate(names):
        if name in names[:number]:
            raise UsageError(f"operator {name!r}: given twice; leave it out once")
        if name not in OPERATORS:
            raise UsageError(f"operator {name!r}: unknown; choose among {', '.join(OPERATORS)}")


def require_methods(names: Sequence[str], available: Sequence[str] = METHODS) -> None:
    """Raise UsageError for a method that is not available."""
    for name in names:
        if name not in available:
            raise UsageError(f"method {name!r}: unknown; choose among {'; '.join(available)}")
