"""An explanation on a few lines of text, for a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapilli.inspection.attribution.sources import ALL_PATHS, DIRECT, DOUBTFUL_FROM, READ


def summary(description: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """The answer, what the word in focus is made of, its routes, its receipts and the checks; lines, unwrapped."""
    answer = description["answer"]
    word = answer["words"][answer["focus"]]
    rows = slice(*word["tokens"])
    lines = [answer["text"], "", f"{word['text']!r}: {_target(description)}", *_sources(arrays, rows)]
    lines += ["", *_conditions(word), *_lengths(arrays, rows)]
    lines += [*_routes(description, arrays, rows), *_dependence(description["dependence"])]
    for receipt in description["receipts"]:
        lines += [_receipt(receipt), *([_shuffled(receipt["shuffled"])] if "shuffled" in receipt else [])]
    lines += [_check(check) for check in description["checks"]]
    return "\n".join(lines)


def _target(description: Mapping[str, Any]) -> str:
    target = description["method"]["target"]
    names = {"token": "the logit", "centred": "the logit less the mean of all"}
    name = names.get(target["kind"]) or f"the logit less that of {target['against_text']!r}"
    return f"{name}, by what it came from; direct is the last step alone, all paths is every way there"


def _sources(arrays: Mapping[str, NDArray[Any]], rows: slice) -> Iterator[str]:
    direct = dict(zip(DIRECT, arrays["sources"][rows].sum(0), strict=True))
    paths = dict(zip(ALL_PATHS, arrays["all_paths_sources"][rows].sum(0), strict=True))
    yield f"  {'':14}{'direct':>9}{'all paths':>11}"
    for name in (*READ, "embedding", "MLPs", "biases"):
        cells = [f"{found[name]:+.2f}" if name in found else "" for found in (direct, paths)]
        yield f"  {name:14}{cells[0]:>9}{cells[1]:>11}"
    yield f"  {'together':14}{sum(direct.values()):>+9.2f}{sum(paths.values()):>+11.2f}"


def _conditions(word: Mapping[str, Any]) -> Iterator[str]:
    if found := word.get("condition_numbers"):
        numbers = ", ".join(_condition(name, value) for name, value in found.items())
        yield f"condition number of the map, 1 where no patches cancel: {numbers}"


def _condition(name: str, value: float | None) -> str:
    limit = DOUBTFUL_FROM.get(name)
    doubtful = limit is not None and (value is None or value >= limit)
    return f"{name} {'∞' if value is None else f'{value:.1f}'}{' (no better than chance)' if doubtful else ''}"


def _lengths(arrays: Mapping[str, NDArray[Any]], rows: slice) -> Iterator[str]:
    if "stream_lengths" in arrays:
        numbers = " ".join(f"{length:.2f}" for length in arrays["stream_lengths"][rows].mean(0))
        yield f"length of the stream before each layer and behind the last, of the final one: {numbers}"


def _routes(description: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], rows: slice) -> Iterator[str]:
    changes = arrays["routes_whole"][rows].sum(0)
    names = [*description["routes"]["names"], "image → all text"]
    said = ", ".join(f"{name} {change:+.2f}" for name, change in zip(names, changes, strict=True))
    yield f"change of the log-probability when a way is cut in all layers: {said}"


def _dependence(found: Mapping[str, Any]) -> Iterator[str]:
    probs = {name: f"{np.exp(value):.2g}" for name, value in found["log_prob"].items()}
    swapped = f", others {probs['swapped']} at their median" if "swapped" in probs else ""
    yield f"probability {probs['full']}; picture blurred {probs['blurred']}, blank {probs['blank']}{swapped}"
    said = f"the blurred picture gives {found['answer_blurred']!r} too"
    if found["verdict"] == "no visual dependence":
        yield f"NO VISUAL DEPENDENCE: {said}, and so do a blank and all other pictures; no map is a reason"
    elif found["verdict"] == "overall colour":
        yield (
            f"THE OVERALL COLOUR IS ENOUGH: {said}{_others(found)}; a map shows where that colour lies, not that a "
            "thing was recognised there"
        )


def _others(found: Mapping[str, Any]) -> str:
    if not {"answer_blank", "swapped"} <= found.keys():
        return ""
    others = f"{found['swapped']['same']} of {len(found['swapped']['log_prob'])} other pictures"
    return f", a blank {found['answer_blank']!r}, and the same word comes of {others}"


def _receipt(receipt: Mapping[str, Any]) -> str:
    measured, drawn = receipt["measured"], receipt["controls"]
    controls = drawn["changes"] + drawn.get("contiguous", [])
    after = "" if measured["answer_after"] == measured["answer_before"] else f", says {measured['answer_after']!r}"
    count = len(receipt["done"]["patches"])
    return (
        f"{receipt['verdict']}: {receipt['map']}, {count} {'patch' if count == 1 else 'patches'} by "
        f"{receipt['done']['kind']}: predicted {receipt['predicted']:+.2f}, measured {measured['change']:+.2f}{after}; "
        f"{_controls(controls, drawn.get('drawn', len(controls)))}"
    )


def _controls(changes: Sequence[float], drawn: int) -> str:
    """What random removals did; no mean of those that were stopped since one had done as much: they are no sample."""
    if not changes:
        return "no random ones"
    if len(changes) < drawn:
        return f"as much by random ones, {len(changes)} of {drawn} run"
    return f"random ones {np.mean(changes):+.2f} ± {np.std(changes):.2f}, all {drawn} run"


def _shuffled(shuffled: Mapping[str, Any]) -> str:
    chance = f" (by chance confirmed at most 1 in {1 / shuffled['chance']:.0f}, opposite as often)"
    said = f"  {shuffled['kind'].lower()}: measured {shuffled['change']:+.2f}, {shuffled['verdict']}"
    return said if shuffled["verdict"] == "not-tested" else said + chance


def _check(check: Mapping[str, Any]) -> str:
    return f"{'ok' if check['passed'] else 'FAILED'}: {check['name']}, off by {check['value']:.1e} of it"
