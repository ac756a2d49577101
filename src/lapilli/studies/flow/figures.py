"""Bring the readings of both models together: what it costs to hide pictures in some layers, beside controls."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from lapilli.core.environment import versions
from lapilli.core.statistics.bootstrap import draws
from lapilli.core.statistics.estimate import Estimate
from lapilli.core.statistics.recovery import half_recovery_depth
from lapilli.studies.candidates import MOST, Floats
from lapilli.studies.flow.plan import Plan
from lapilli.studies.tuning import BASE, TUNED, Tuning

ROLES = (BASE, TUNED)
"""The models that are read."""

READ = ("content", "likeliest")
"""The read-outs that have figures; the arrays hold all of READOUTS."""

Readings: TypeAlias = Mapping[tuple[str, str], Mapping[str, Floats]]
"""By model and kind of prompts, every read-out, (variant, sample)."""


def brought_together(
    of: Tuning, plan: Plan, candidates: Sequence[int], readings: Readings
) -> tuple[dict[str, Any], dict[str, Floats]]:
    """The content of the study's result as plain values, and every read-out as arrays.

    The rows of arrays are the variants, in the order of the plan. `candidates` is how many each sample has.
    """
    made = {
        "models": {role: {"label": of.labels[role]} for role in ROLES},
        "settings": {"samples": len(of.questions), "seed": of.seed, "data": of.data.name, "most_candidates": MOST,
                     "versions": versions()},
        "candidates": {"fewest": min(candidates), "most": max(candidates)},
        **variants(plan),
        "scores": [_scores(readings, role, readout, of.seed) for role in ROLES for readout in READ],
        "between": [_between(readings, readout, of.seed) for readout in READ],
        "half": {role: _half(plan, readings[role, "image"]["content"], of.seed) for role in ROLES},
    }  # fmt: skip
    return made, arrays_of(readings)


def arrays_of(readings: Readings) -> dict[str, Floats]:
    """Every read-out as an array of its own, `ROLE-KIND-READOUT`, (variant, sample)."""
    return {"-".join((*place, name)): values for place, one in readings.items() for name, values in one.items()}


def variants(plan: Plan) -> dict[str, Any]:
    """The depth, the width of a quarter, and the row `at` of every variant but the first, the model itself."""
    hidden = [(what, window) for what in ("image", "text") for window in plan.windows]
    return {
        "depth": plan.depth,
        "width": plan.width,
        "hidden": [
            {"what": what, "start": window.start, "stop": window.stop, "at": at}
            for at, (what, window) in enumerate(hidden, 1)
        ],
        "late": [{"layer": layer, "at": at} for at, layer in enumerate(plan.entries, 1 + len(hidden))],
    }


def _scores(readings: Readings, role: str, readout: str, seed: int) -> dict[str, Any]:
    """A read-out of every variant, what it costs, and the floor: the model itself without the picture."""
    variants, (floor,) = (readings[role, kind][readout] for kind in ("image", "text"))
    return {
        "role": role, "readout": readout, "n": len(floor),
        "score": _means(variants, seed), "cost": _means(variants[0] - variants, seed),
        "floor": draws(len(floor), seed).mean(floor), "gain": draws(len(floor), seed).mean(variants[0] - floor),
    }  # fmt: skip


def _between(readings: Readings, readout: str, seed: int) -> dict[str, Any]:
    """How much more every variant costs the tuned model than the base, on the same samples."""
    base, tuned = (values[0] - values for values in (readings[role, "image"][readout] for role in ROLES))
    return {"readout": readout, "n": base.shape[1], "cost": _means(tuned - base, seed)}


def _means(values: Floats, seed: int) -> dict[str, Floats]:
    """The means of values (variant, sample) with their intervals, (variant,) each."""
    low, high = draws(values.shape[1], seed).bounds(values.T)
    return {"value": values.mean(1), "low": low, "high": high}


def _half(plan: Plan, content: Floats, seed: int) -> dict[str, Any]:
    """The layer by which text has read half of what makes it surer of right answers; nan where nothing does."""
    own, unread = content[0], content[1 + plan.windows.index(range(plan.depth))]
    first = [content[1 + plan.windows.index(range(layer, plan.depth))] for layer in range(1, plan.depth)]
    half = half_recovery_depth(np.array([*first, own]) - unread, own - unread, seed)
    if own.mean() <= unread.mean():
        half = Estimate(math.nan, math.nan, math.nan, len(own))
    return {"value": half.value, "low": half.low, "high": half.high, "n": half.n}
