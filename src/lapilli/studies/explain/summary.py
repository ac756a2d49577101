"""The summary of an explanation in a few lines of text, for a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapilli.inspection.attribution.sources import ALL_PATHS, DIRECT, DOUBTFUL_FROM, READ


def summary(description: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """The answer, the sources of the word in focus, its routes, its receipts and the checks; lines, unwrapped."""
    answer = description["answer"]
    word = answer["words"][answer["focus"]]
    queries = slice(*word["tokens"])
    lines = [answer["text"], "", f"{word['text']!r}: {_target(description)}", *_sources(arrays, queries)]
    lines += ["", *_conditions(word), *_lengths(arrays, queries)]
    lines += [*_routes(description, arrays, queries), *_dependence(description["dependence"])]
    for receipt in description["receipts"]:
        lines += [_receipt(receipt), *([_shuffled(receipt["shuffled"])] if "shuffled" in receipt else [])]
    lines += [_check(check) for check in description["checks"]]
    return "\n".join(lines)


def _target(description: Mapping[str, Any]) -> str:
    target = description["method"]["target"]
    names = {"token": "the logit", "centred": "the logit less the mean of all"}
    name = names.get(target["kind"]) or f"the logit less that of {target['against_text']!r}"
    return f"{name}, by what it came from; direct is the last step alone, all paths is every way there"


def _sources(arrays: Mapping[str, NDArray[Any]], queries: slice) -> Iterator[str]:
    direct = dict(zip(DIRECT, arrays["sources"][queries].sum(0), strict=True))
    paths = dict(zip(ALL_PATHS, arrays["all_paths_sources"][queries].sum(0), strict=True))
    yield f"  {'':14}{'direct':>9}{'all paths':>11}"
    for name in (*READ, "embedding", "MLPs", "biases"):
        cells = [f"{parts[name]:+.2f}" if name in parts else "" for parts in (direct, paths)]
        yield f"  {name:14}{cells[0]:>9}{cells[1]:>11}"
    yield f"  {'together':14}{sum(direct.values()):>+9.2f}{sum(paths.values()):>+11.2f}"


def _conditions(word: Mapping[str, Any]) -> Iterator[str]:
    if numbers := word.get("condition_numbers"):
        text = ", ".join(_condition(name, value) for name, value in numbers.items())
        yield f"condition number of the map, 1 where no patches cancel: {text}"


def _condition(name: str, value: float | None) -> str:
    limit = DOUBTFUL_FROM.get(name)
    doubtful = limit is not None and (value is None or value >= limit)
    return f"{name} {'∞' if value is None else f'{value:.1f}'}{' (no better than chance)' if doubtful else ''}"


def _lengths(arrays: Mapping[str, NDArray[Any]], queries: slice) -> Iterator[str]:
    if "stream_lengths" in arrays:
        numbers = " ".join(f"{length:.2f}" for length in arrays["stream_lengths"][queries].mean(0))
        yield f"length of the stream before each layer and behind the last, of the final one: {numbers}"


def _routes(description: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], queries: slice) -> Iterator[str]:
    changes = arrays["routes_whole"][queries].sum(0)
    names = [*description["routes"]["names"], "image → all text"]
    changes_text = ", ".join(f"{name} {change:+.2f}" for name, change in zip(names, changes, strict=True))
    yield f"change of the log-probability when a way is cut in all layers: {changes_text}"


def _dependence(dependent: Mapping[str, Any]) -> Iterator[str]:
    probs = {name: f"{np.exp(value):.2g}" for name, value in dependent["log_prob"].items()}
    swapped = f", others {probs['swapped']} at their median" if "swapped" in probs else ""
    yield f"probability {probs['full']}; picture blurred {probs['blurred']}, blank {probs['blank']}{swapped}"
    same_text = f"the blurred picture gives {dependent['answer_blurred']!r} too"
    if dependent["verdict"] == "no visual dependence":
        yield f"NO VISUAL DEPENDENCE: {same_text}, and so do a blank and all other pictures; no map is a reason"
    elif dependent["verdict"] == "overall color":
        yield (
            f"THE OVERALL COLOR IS ENOUGH: {same_text}{_others(dependent)}; a map shows where that color lies, "
            "not that a thing was recognised there"
        )


def _others(dependent: Mapping[str, Any]) -> str:
    if not {"answer_blank", "swapped"} <= dependent.keys():
        return ""
    others = f"{dependent['swapped']['same']} of {len(dependent['swapped']['log_prob'])} other pictures"
    return f", a blank {dependent['answer_blank']!r}, and the same word comes of {others}"


def _receipt(receipt: Mapping[str, Any]) -> str:
    measured, controls = receipt["measured"], receipt["controls"]
    changes = controls["changes"] + controls.get("contiguous", [])
    after = "" if measured["answer_after"] == measured["answer_before"] else f", says {measured['answer_after']!r}"
    count = len(receipt["done"]["patches"])
    return (
        f"{receipt['verdict']}: {receipt['map']}, {count} {'patch' if count == 1 else 'patches'} by "
        f"{receipt['done']['kind']}: predicted {receipt['predicted']:+.2f}, measured {measured['change']:+.2f}{after}; "
        f"{_controls(changes, controls.get('drawn', len(changes)), receipt['verdict'])}"
    )


def _controls(changes: Sequence[float], planned: int, verdict: str) -> str:
    """The random removals' changes; without a mean where the test stopped early, which leaves no random sample."""
    if not changes:
        return "no random ones"
    if len(changes) < planned:
        alike = "random ones" if verdict == "not-tested" else "as much by random ones"
        return f"{alike}, {len(changes)} of {planned} run"
    return f"random ones {np.mean(changes):+.2f} ± {np.std(changes):.2f}, all {planned} run"


def _shuffled(shuffled: Mapping[str, Any]) -> str:
    chance = f" (by chance confirmed at most 1 in {1 / shuffled['chance']:.0f}, opposite as often)"
    outcome = f"  {shuffled['kind'].lower()}: measured {shuffled['change']:+.2f}, {shuffled['verdict']}"
    return outcome if shuffled["verdict"] == "not-tested" else outcome + chance


def _check(check: Mapping[str, Any]) -> str:
    return f"{'ok' if check['passed'] else 'FAILED'}: {check['name']}, off by {check['value']:.1e} of it"
