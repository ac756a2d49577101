"""Bring the readings of all hybrids together: shares of the gain with intervals, beside controls, and tests."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lapilli.core.environment import versions
from lapilli.core.statistics.bootstrap import draws
from lapilli.core.statistics.estimate import Estimate
from lapilli.core.statistics.multiple import holm
from lapilli.core.statistics.paired import mcnemar, paired_difference
from lapilli.core.statistics.recovery import half_recovery_depth, shares_of_gain
from lapilli.inspection.intervention.shapley import shapley_shares
from lapilli.studies.candidates import MOST, READOUTS
from lapilli.studies.patch.plan import Plan
from lapilli.studies.patch.settings import MAIN, OTHER
from lapilli.studies.tuning import BASE, KINDS, TUNED, Tuning

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Readings:
    """Read-outs by name, (patch, sample) each, and the number in the plan of every patch."""

    numbers: Sequence[int]
    values: Mapping[str, Floats]

    def of(self, readout: str, number: int) -> Floats:
        """A read-out of one patch of the plan, (sample,)."""
        values: Floats = self.values[readout][list(self.numbers).index(number)]
        return values


Exchange: TypeAlias = tuple[str, str, str]
"""A kind of prompts, a target and a source."""


@dataclass(frozen=True, eq=False)
class _Shares:
    """What shares of the gain are made of: the plan, all readings, and the seed of the draws."""

    plan: Plan
    readings: Mapping[Exchange, Readings]
    seed: int

    def own(self, kind: str, role: str, readout: str) -> Floats:
        """A read-out of the base or of the tuned model itself, (sample,)."""
        return self.readings[kind, role, OTHER[role]].of(readout, 0)

    def gains(self, kind: str, target: str, readout: str) -> Floats:
        """The way from the target to the model whose parts are put into it, (sample,)."""
        return self.own(kind, OTHER[target], readout) - self.own(kind, target, readout)

    def changes(self, exchange: Exchange, readout: str) -> Floats:
        """What the hybrids of an exchange differ from their target by, (patch, sample)."""
        kind, target, _ = exchange
        return self.readings[exchange].values[readout] - self.own(kind, target, readout)

    def shares(self, exchange: Exchange, readout: str, changes: Floats) -> list[Estimate]:
        """The share of the way that changes (hybrid, sample) have gone."""
        return shares_of_gain(changes, self.gains(*exchange[:2], readout), self.seed)


def brought_together(
    of: Tuning, plan: Plan, candidates: Sequence[int], readings: Mapping[Exchange, Readings]
) -> tuple[dict[str, Any], dict[str, Floats]]:
    """The content of the page as plain values, and as arrays every read-out, `KIND-TARGET-SOURCE-READOUT`.

    They are (patch, sample), in the order of `configurations`, or of an exchange's `numbers`. `candidates` is how many
    each sample has.
    """
    shares = _Shares(plan, readings, of.seed)
    families = (_gain_tests, _answer_tests, _interference_tests)
    tests = [test for family in families for test in _adjusted(list(family(shares)))]
    made = {
        "models": {role: {"label": label} for role, label in of.labels.items()},
        "settings": {"samples": len(of.questions), "seed": of.seed, "data": of.data.name, "most_candidates": MOST,
                     "versions": versions()},
        "candidates": {"fewest": min(candidates), "most": max(candidates)},
        "depth": plan.depth,
        "configurations": [asdict(patch) for patch in plan.patches],
        "windows": [{"start": start, "stop": stop, "at": at} for (start, stop), at in _at(plan, plan.windows)],
        "parts": dict(_at(plan, plan.parts)),
        "blocks": [[layer for layer in range(plan.depth) if plan.sets[2**block].layers[layer]]
                   for block in range(plan.blocks)],
        "scores": [_score(shares, kind, readout) for kind in KINDS for readout in READOUTS],
        "exchanges": [_exchange(shares, exchange, readout) for exchange in readings for readout in READOUTS],
        "shapley": [_shapley(shares, kind, *way, readout) for kind in KINDS for way in OTHER.items()
                    for readout in READOUTS],
        "tests": tests,
    }  # fmt: skip
    arrays = {
        "-".join((*exchange, name)): values for exchange, one in readings.items() for name, values in one.values.items()
    }
    return made, arrays


def _at(plan: Plan, patches: Mapping[Any, Any]) -> Iterator[tuple[Any, int]]:
    return zip(patches, plan.numbers(list(patches.values())), strict=True)


def _score(shares: _Shares, kind: str, readout: str) -> dict[str, Any]:
    """A read-out of both models themselves."""
    means = {role: _mean(shares.own(kind, role, readout), shares.seed) for role in (BASE, TUNED)}
    return {"kind": kind, "readout": readout, **means, "gain": _mean(shares.gains(kind, BASE, readout), shares.seed)}


def _mean(values: Floats, seed: int) -> Estimate:
    return draws(len(values), seed).mean(values)


def _exchange(shares: _Shares, exchange: Exchange, readout: str) -> dict[str, Any]:
    """Of every hybrid its read-out and its share of the gain; of a control also what the true parts have beyond it."""
    kind, target, source = exchange
    one, changes = shares.readings[exchange], shares.changes(exchange, readout)
    made = {
        "kind": kind, "target": target, "source": source, "readout": readout, "n": changes.shape[1],
        "numbers": one.numbers,
        "score": _columns([_mean(values, shares.seed) for values in one.values[readout]]),
        "share": _columns(shares.shares(exchange, readout, changes)),
        "half": half_recovery_depth(_from_below(shares.plan, one, changes), shares.gains(kind, target, readout),
                                    shares.seed),
    }  # fmt: skip
    if source != OTHER[target]:
        true = shares.changes((kind, target, OTHER[target]), readout)[list(one.numbers)]
        made["beyond"] = _columns(shares.shares(exchange, readout, true - changes))
    return made


def _from_below(plan: Plan, one: Readings, changes: Floats) -> Floats:
    """The rows of the hybrids with the first layers up to each, (layer, sample)."""
    numbers = list(one.numbers)
    return changes[[numbers.index(number) for number in plan.numbers(plan.cumulative[: plan.depth])]]


def _columns(estimates: Sequence[Estimate]) -> dict[str, list[float]]:
    """Estimates as a list of each of their fields but n."""
    return {name: [getattr(one, name) for one in estimates] for name in ("value", "low", "high")}


def _shapley(shares: _Shares, kind: str, target: str, source: str, readout: str) -> dict[str, Any]:
    """The share of every block of layers in the gain; together they are that of all layers."""
    values = shares.changes((kind, target, source), readout)[shares.plan.numbers(shares.plan.sets)]
    estimates = shares.shares((kind, target, source), readout, shapley_shares(values))
    place = {"kind": kind, "target": target, "source": source, "readout": readout}
    return {**place, "n": values.shape[1], "share": _columns(estimates)}


def _adjusted(family: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tests of one question, adjusted for all of them."""
    return [{**test, "holm": p} for test, p in zip(family, holm([test["p"] for test in family]), strict=True)]


def _gain_tests(shares: _Shares) -> Iterator[dict[str, Any]]:
    """Whether there is a gain, by kind and read-out."""
    for kind in KINDS:
        for readout in READOUTS:
            one, other = (shares.own(kind, role, readout) for role in (TUNED, BASE))
            tested = paired_difference(one, other, range(len(one)))
            yield {"test": "gain", "kind": kind, "readout": readout, **asdict(tested)}


def _answer_tests(shares: _Shares) -> Iterator[dict[str, Any]]:
    """McNemar's test of every window and part: the right answer is the likeliest candidate, hybrid and target."""
    plan = shares.plan
    numbers = dict.fromkeys(plan.numbers([*plan.windows.values(), *plan.parts.values()]))
    for kind in KINDS:
        for target, source in OTHER.items():
            one = shares.readings[kind, target, source]
            own = list(shares.own(kind, target, "likeliest") > 0)
            for at in numbers:
                compared = mcnemar(list(one.of("likeliest", at) > 0), own)
                counts = {"gained": compared.first_only, "lost": compared.second_only, "p": compared.p}
                place = {"kind": kind, "target": target, "source": source, "at": at, "n": len(own)}
                yield {"test": "likeliest", **place, **counts}


def _interference_tests(shares: _Shares) -> Iterator[dict[str, Any]]:
    """How far every window is above the worse of both models: whole intervals below 0 are layers that do not fit.

    p is that of the sign test, whether as many samples are above as below: a p of draws would not survive the number.
    """
    for kind in KINDS:
        worse = min((shares.own(kind, role, MAIN) for role in (BASE, TUNED)), key=np.mean)
        for target, source in OTHER.items():
            one = shares.readings[kind, target, source]
            for (start, stop), at in _at(shares.plan, shares.plan.windows):
                hybrid = one.of(MAIN, at)
                signs = mcnemar(list(hybrid > worse), list(hybrid < worse))
                place = {"kind": kind, "target": target, "source": source, "at": at, "start": start, "stop": stop}
                apart = asdict(_mean(hybrid - worse, shares.seed))
                counts = {"above": signs.first_only, "below": signs.second_only, "p": signs.p}
                yield {"test": "interference", **place, **apart, **counts}
