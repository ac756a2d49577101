"""What hybrids answer in their own words, as the page has it: shares of right answers, and what form they have."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lapilli.report.kit.figures import NONE, number
from lapilli.report.patch.story import PARTS, WAYS, Result, layers, p_value, shared


def rows(result: Result) -> Iterator[dict[str, Any]]:
    """Every hybrid, both ways: right answers, its share of the gain, that of random changes, test, length, form."""
    if "generated" not in result:
        return
    hybrids = result["generated"]["hybrids"]
    random = {(one["target"], one["at"]): one for one in hybrids if one["source"] not in WAYS}
    for one in hybrids:
        if one["source"] in WAYS:
            control = random.get((one["target"], one["at"]))
            yield {
                "way": WAYS[one["target"]][1], "part": _words(result, one["at"]), "n": result["generated"]["n"],
                "right": _proportion(one["right"]), "share": _share(one), "control": _share(control),
                "answers": f"+{one['gained']}, −{one['lost']}" if one["at"] else NONE,
                "p": p_value(one["holm"]) if one["at"] else NONE,
                "words": number(one["words"], 1), "no_answer": _proportion(one["no_answer"]),
            }  # fmt: skip


def examples(result: Result) -> Sequence[Mapping[str, Any]]:
    """Questions with the right answer, both models', and those of the base with parts of the tuned model."""
    made: Sequence[Mapping[str, Any]] = result.get("generated", {}).get("examples", ())
    return made


def _words(result: Result, at: int) -> str:
    """What is exchanged."""
    if at == 0:
        return "nothing"
    parts = {number_of: words for part, words in PARTS.items() for number_of in [result["parts"][part]]}
    windows = {window["at"]: layers(window["start"], window["stop"]) for window in result["windows"]}
    return parts.get(at) or windows[at]


def _share(one: Mapping[str, Any] | None) -> str:
    return NONE if one is None else shared(*(one["share"][name] for name in ("value", "low", "high")))


def _proportion(one: Mapping[str, Any]) -> str:
    return shared(one["estimate"], one["low"], one["high"])
