"""The charts of the page: figures over depth, with bands, floors and what shuffled samples give."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from lapilli.report.compare.story import MEASURES, PLACES, SPACES, Result, profile_of
from lapilli.report.kit.figures import is_number, number
from lapilli.report.kit.line_chart import Curve, line_chart

PAIRS = {
    "change": ("base and tuned", 0, False),
    "again": ("the base run again", 7, False),
    "floor": ("two tunings", 1, False),
    "control": ("base and control", 3, False),
    "gain": ("control and tuned", 2, False),
    "shuffled": ("samples shuffled", 7, True),
}
"""The curves by pair: what the page calls them, their color, and whether they are dashed."""

MODELS = {"base": ("base", 1), "tuned": ("tuned", 0), "floor": ("second tuning", 2), "control": ("control", 3)}
"""The curves by model; the base run again lies upon the base."""

_UP_TO_ONE = {"overlap_10", "overlap_30", "cka", "cosine", "spectrum_entropy", "mean_cosine", "largest_variance_share"}


def profile_chart(result: Result, place: tuple[str, str], measure: str) -> Markup:
    """A measure of every pair of models over depth: 0 is the stream before the first layer."""
    profile = profile_of(result, place, measure)
    curves = [_curve(result, PAIRS[pair], curve) for pair, curve in profile["curves"].items()]
    curves.append(_curve(result, PAIRS["shuffled"], {"value": profile["shuffled"]}))
    return _chart(curves, f"{MEASURES[measure][0]}, {PLACES[place]}", 1.0 if measure in _UP_TO_ONE else None)


def space_chart(result: Result, place: tuple[str, str], measure: str) -> Markup:
    """A measure of every model over depth."""
    space = next(one for one in result["spaces"] if (one["kind"], one["position"], one["measure"]) == (*place, measure))
    curves = [
        _curve(result, (*MODELS[model], False), space["curves"][model]) for model in MODELS if model in space["curves"]
    ]
    return _chart(curves, f"{SPACES[measure]}, {PLACES[place]}", 1.0 if measure in _UP_TO_ONE else None)


def local_chart(local: Mapping[str, Any]) -> Markup:
    """The change of each layer itself, of every pair of models, on the states of the first of them."""
    curves = [
        _plain_curve(PAIRS[pair], list(enumerate(states["first"]["value"])), states["first"])
        for pair, states in local["curves"].items()
    ]
    return _chart(curves, f"The layers themselves, {PLACES[local['kind'], local['position']]}", None)


def _curve(result: Result, look: tuple[str, int, bool], curve: Mapping[str, Sequence[float | None]]) -> Curve:
    """A curve over the sites of the stream; what is behind the last norm is in the tables alone."""
    stream = [number for number, name in enumerate(result["sites"]) if name != "last norm"]
    return _plain_curve(look, [(number, curve["value"][number]) for number in stream], curve)


def _plain_curve(
    look: tuple[str, int, bool], points: Sequence[tuple[int, float | None]], bands: Mapping[str, Sequence[float | None]]
) -> Curve:
    """A curve through the points that were measured; what lies below 0 is drawn there."""
    name, color, dashed = look
    known = [(number, max(0.0, value)) for number, value in points if is_number(value)]
    intervals = [_interval(bands, number) for number, _ in known]
    whole = all(intervals) and "low" in bands
    return Curve(name, color, known, [pair for pair in intervals if pair] if whole else (), dashed=dashed)


def _interval(bands: Mapping[str, Sequence[float | None]], site: int) -> tuple[float, float] | None:
    low, high = (bands[name][site] if name in bands else None for name in ("low", "high"))
    return (max(0.0, low), max(0.0, high)) if is_number(low) and is_number(high) else None


def _chart(curves: Sequence[Curve], title: str, top: float | None) -> Markup:
    highest = max((value for curve in curves for _, value in curve.points), default=0.0)
    ends = max((high for curve in curves for _, high in curve.intervals), default=0.0)
    return line_chart(curves, title, number, top or 1.05 * max(highest, min(ends, 2 * highest)) or 1.0, "layer")
