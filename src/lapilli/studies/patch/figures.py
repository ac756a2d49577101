"""Bring the readings of all hybrids together: shares of the gain with intervals, beside controls, and tests."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from lapilli.core.environment import versions
from lapilli.core.statistics.multiple import holm
from lapilli.core.statistics.paired import mcnemar, paired_difference
from lapilli.core.statistics.recovery import half_recovery_depth
from lapilli.data.questions import PictureQuestion
from lapilli.inspection.intervention.shapley import shapley_shares
from lapilli.studies.candidates import MOST, READOUTS
from lapilli.studies.patch.plan import Plan
from lapilli.studies.patch.seeing import seeing
from lapilli.studies.patch.settings import DRAWS, MAIN, OTHER, SWAPPED
from lapilli.studies.patch.shares import Exchange, Floats, Readings, Shares, columns
from lapilli.studies.patch.swapping import in_same_words
from lapilli.studies.tuning import BASE, KINDS, TUNED, Tuning


def brought_together(
    of: Tuning,
    plan: Plan,
    readings: Mapping[Exchange, Readings],
    *,
    candidates: Sequence[int],
    swapped: Mapping[int, PictureQuestion],
) -> tuple[dict[str, Any], dict[str, Floats]]:
    """The content of the page as plain values, and as arrays every read-out, `KIND-TARGET-SOURCE-READOUT`.

    They are (patch, sample), of random changes (draw, patch, sample), in the order of an exchange's `numbers`, which
    are places in `configurations`. `candidates` is how many each sample has, `swapped` what is asked about other
    pictures, by the sample.
    """
    shares = Shares(plan, readings, of.seed)
    families = (_gain_tests, _answer_tests, _interference_tests)
    tests = [test for family in families for test in _adjusted(list(family(shares)))]
    made = {
        "models": {role: {"label": label} for role, label in of.labels.items()},
        "settings": {"samples": len(of.questions), "seed": of.seed, "data": of.data.name, "most_candidates": MOST,
                     "random_draws": DRAWS, "versions": versions()},
        "candidates": {"fewest": min(candidates), "most": max(candidates)},
        "swapped": {"n": len(swapped), "same_words": in_same_words(of.all_questions, list(swapped.values()))},
        **_places(plan),
        "scores": [_score(shares, kind, readout) for kind in _kinds(shares) for readout in READOUTS],
        "exchanges": [_exchange(shares, exchange, readout)
                      for exchange in readings if exchange[0] != SWAPPED for readout in READOUTS],
        "seeing": [one for readout in READOUTS if swapped for one in seeing(shares, readout, list(swapped))],
        "shapley": [_shapley(shares, kind, *way, readout) for kind in KINDS for way in OTHER.items()
                    for readout in READOUTS],
        "tests": tests,
    }  # fmt: skip
    arrays = {
        "-".join((*exchange, name)): values for exchange, one in readings.items() for name, values in one.values.items()
    }
    return made, arrays


def _places(plan: Plan) -> dict[str, Any]:
    """The hybrids, and where among them are windows, parts, parts of layers, and which layers are a block."""
    return {
        "depth": plan.depth,
        "configurations": [asdict(patch) for patch in plan.patches],
        "windows": [{"start": start, "stop": stop, "at": at} for (start, stop), at in _at(plan, plan.windows)],
        "parts": dict(_at(plan, plan.parts)),
        "within": [{"part": part, "what": what, "at": at} for (part, what), at in _at(plan, plan.within)],
        "blocks": [[layer for layer in range(plan.depth) if plan.sets[2**block].layers[layer]]
                   for block in range(plan.blocks)],
    }  # fmt: skip


def _kinds(shares: Shares) -> list[str]:
    """The kinds of prompts that were read."""
    return list(dict.fromkeys(kind for kind, _, _ in shares.readings))


def _at(plan: Plan, patches: Mapping[Any, Any]) -> Iterator[tuple[Any, int]]:
    return zip(patches, plan.numbers(list(patches.values())), strict=True)


def _score(shares: Shares, kind: str, readout: str) -> dict[str, Any]:
    """A read-out of both models themselves."""
    means = {role: shares.mean(shares.own(kind, role, readout)) for role in (BASE, TUNED)}
    return {"kind": kind, "readout": readout, **means, "gain": shares.mean(shares.gains(kind, BASE, readout))}


def _exchange(shares: Shares, exchange: Exchange, readout: str) -> dict[str, Any]:
    """Of every hybrid its read-out and its share of the gain; of a control also what the true parts have beyond it."""
    kind, target, source = exchange
    one, changes = shares.readings[exchange], shares.changes(exchange, readout)
    made = {
        "kind": kind, "target": target, "source": source, "readout": readout, "n": changes.shape[-1],
        "numbers": one.numbers,
        "score": columns(shares.scores(exchange, readout)),
        "share": columns(shares.shares(exchange, readout, changes)),
    }  # fmt: skip
    if source == OTHER[target]:
        below = changes[one.rows(shares.plan.numbers(shares.plan.from_below))]
        return {**made, "half": half_recovery_depth(below, shares.gains(kind, target, readout), shares.seed)}
    way = (kind, target, OTHER[target])
    true = shares.changes(way, readout)[shares.readings[way].rows(one.numbers)]
    return {**made, "beyond": columns(shares.shares(exchange, readout, true - changes))}


def _shapley(shares: Shares, kind: str, target: str, source: str, readout: str) -> dict[str, Any]:
    """The share of every block of layers in the gain; together they are that of all layers."""
    rows = shares.readings[kind, target, source].rows(shares.plan.numbers(shares.plan.sets))
    values = shares.changes((kind, target, source), readout)[rows]
    estimates = shares.shares((kind, target, source), readout, shapley_shares(values))
    place = {"kind": kind, "target": target, "source": source, "readout": readout}
    return {**place, "n": values.shape[1], "share": columns(estimates)}


def _adjusted(family: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tests of one question, adjusted for all of them."""
    return [{**test, "holm": p} for test, p in zip(family, holm([test["p"] for test in family]), strict=True)]


def _gain_tests(shares: Shares) -> Iterator[dict[str, Any]]:
    """Whether there is a gain, by kind and read-out."""
    for kind in _kinds(shares):
        for readout in READOUTS:
            one, other = (shares.own(kind, role, readout) for role in (TUNED, BASE))
            tested = paired_difference(one, other, range(len(one)))
            yield {"test": "gain", "kind": kind, "readout": readout, **asdict(tested)}


def _answer_tests(shares: Shares) -> Iterator[dict[str, Any]]:
    """McNemar's test of every window, part and part of layers: the right answer is the likeliest candidate, or not."""
    plan = shares.plan
    patches = list(dict.fromkeys([*plan.windows.values(), *plan.parts.values(), *plan.within.values()]))
    for kind in KINDS:
        for target, source in OTHER.items():
            one = shares.readings[kind, target, source]
            own = list(shares.own(kind, target, "likeliest") > 0)
            for at in plan.numbers(plan.readable(patches, kind)):
                compared = mcnemar(list(one.of("likeliest", at) > 0), own)
                counts = {"gained": compared.first_only, "lost": compared.second_only, "p": compared.p}
                place = {"kind": kind, "target": target, "source": source, "at": at, "n": len(own)}
                yield {"test": "likeliest", **place, **counts}


def _interference_tests(shares: Shares) -> Iterator[dict[str, Any]]:
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
                apart = asdict(shares.mean(hybrid - worse))
                counts = {"above": signs.first_only, "below": signs.second_only, "p": signs.p}
                yield {"test": "interference", **place, **apart, **counts}
