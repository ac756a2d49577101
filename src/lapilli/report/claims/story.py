"""What a test of claims says in words: first what is refuted."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from lapilli.report.kit.figures import counted, within

Result: TypeAlias = Mapping[str, Any]
"""The content of results/claims.json."""

VERDICTS = {
    "refuted": "Refuted",
    "supported": "Supported",
    "inconclusive": "Not decided",
    "untested": "Not tested",
}
"""The verdicts in the order of the page, and their titles."""

_COUNTED = {
    "refuted": "refuted",
    "supported": "supported",
    "inconclusive": "not decided",
    "untested": "not tested",
}


def with_verdict(result: Result, verdict: str) -> list[Mapping[str, Any]]:
    """The claims with a verdict, in the order of the list."""
    return [claim for claim in result["claims"] if claim["verdict"] == verdict]


def headline(result: Result) -> str:
    """How many claims have each verdict."""
    counts = {verdict: len(with_verdict(result, verdict)) for verdict in VERDICTS}
    words = [f"{count} {_COUNTED[verdict]}" for verdict, count in counts.items() if count]
    return f"{counted(len(result['claims']), 'claim')}: {', '.join(words)}"


def bounds(claim: Mapping[str, Any]) -> str:
    """The figures for which a claim is true, in words."""
    least, most = (None if end is None else f"{end:g}".replace("-", "−") for end in (claim["least"], claim["most"]))
    if most is None:
        return f"at least {least}"
    return f"at most {most}" if least is None else f"{least} to {most}"


def figure(claim: Mapping[str, Any]) -> str:
    """A claim's figure with its interval and number of samples; why there is none."""
    if claim["verdict"] == "untested":
        return str(claim["why"])
    return f"{within(claim['value'], claim['low'], claim['high'])}, {counted(claim['n'], 'sample')}"


def lines(result: Result) -> Iterator[str]:
    """A line for every claim, those that are refuted first."""
    for verdict, title in VERDICTS.items():
        for claim in with_verdict(result, verdict):
            measure = "" if verdict == "untested" else f"{claim['measure']}, {bounds(claim)} if true: "
            yield f"{title.lower()}: {claim['id']} {claim['says']} ({measure}{figure(claim)})"
