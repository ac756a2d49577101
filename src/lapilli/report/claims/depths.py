"""The curves of the flow study: what the models answer with their pictures hidden from text in some layers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from lapilli.report.kit.figures import NONE, is_number, number, percent, within
from lapilli.report.kit.line_chart import Curve, key, line_chart

LOOKS = {("tuned", "image"): 0, ("base", "image"): 1, ("tuned", "text"): 7}
"""The colors of the curves, by model and by what is hidden."""

_NAMES = {
    ("tuned", "image"): "the tuned model",
    ("base", "image"): "the base",
    ("tuned", "text"): "the tuned model, random text hidden",
}
_FLOOR = "without its picture"

Flow = Mapping[str, Any]
"""What the result says of the flow study."""

Cells = Sequence[tuple[int, int]]
"""Points of a curve: where it is across, and the row of the variant."""


def described(flow: Flow) -> dict[str, Any]:
    """What the page says and draws of it."""
    answers, content = ("likeliest", lambda share: percent(share, 0), 1.0), ("content", number, None)
    return {
        "half": _half(flow),
        "legend": _legend(),
        "charts": [*_levels(flow, answers), *_costs(flow)],
        "details": _levels(flow, content),
        "rows": list(_rows(flow)),
    }


def _legend() -> list[tuple[Markup, str]]:
    curves = [(key(color), _NAMES[place]) for place, color in LOOKS.items()]
    return [*curves, (key(0, dashed=True), f"tuned, {_FLOOR}"), (key(1, dashed=True), f"base, {_FLOOR}")]


def _levels(flow: Flow, read: tuple[str, Callable[[float], str], float | None]) -> list[tuple[str, Markup]]:
    """A read-out over the number of layers that read the picture, and over the layer before which it enters."""
    readout, words, top = read
    title = "The right answer is the likeliest" if readout == "likeliest" else "log p(right answer | candidates)"
    floors = [_floor(flow, role, readout) for role in ("tuned", "base")]
    drawn = []
    for says, cells in (
        ("with the picture in so many of the first layers", _withdrawn),
        ("with the picture from this layer on", _entering),
    ):
        curves = [_curve(flow, place, (readout, "score"), cells(flow, place[1])) for place in LOOKS]
        drawn.append((f"{title}, {says}", line_chart([*curves, *floors], f"{title}, {says}", words, top, unit="layer")))
    return drawn


def _costs(flow: Flow) -> list[tuple[str, Markup]]:
    """What it costs to hide the picture in a window of layers, over the first of them."""
    drawn = []
    for width in dict.fromkeys((flow["width"], 1)):
        curves = [_curve(flow, place, ("content", "cost"), _windows(flow, place[1], width)) for place in LOOKS]
        layers = "one layer" if width == 1 else f"{width} layers from this one on"
        title = f"What it costs to hide the picture in {layers}, in nats"
        drawn.append((title, line_chart(curves, title, number, unit="layer")))
    return drawn


def _withdrawn(flow: Flow, what: str) -> Cells:
    depth = flow["depth"]
    return [*((layer, _hidden(flow, what, layer, depth)) for layer in range(depth)), (depth, 0)]


def _entering(flow: Flow, what: str) -> Cells:
    """Pictures alone enter late: of text there is no such curve."""
    if what != "image":
        return []
    depth = flow["depth"]
    late = [(one["layer"], one["at"]) for one in flow["late"]]
    return [(0, 0), *late, (depth, _hidden(flow, "image", 0, depth))]


def _windows(flow: Flow, what: str, width: int) -> Cells:
    return [(start, _hidden(flow, what, start, start + width)) for start in range(flow["depth"] - width + 1)]


def _hidden(flow: Flow, what: str, start: int, stop: int) -> int:
    """The row of the variant that hides pictures or text in the layers from `start` to before `stop`."""
    wanted = (what, start, stop)
    return next(int(one["at"]) for one in flow["hidden"] if (one["what"], one["start"], one["stop"]) == wanted)


def _scores(flow: Flow, role: str, readout: str) -> Mapping[str, Any]:
    return next(one for one in flow["scores"] if (one["role"], one["readout"]) == (role, readout))


def _curve(flow: Flow, place: tuple[str, str], read: tuple[str, str], cells: Cells) -> Curve:
    figures = _scores(flow, place[0], read[0])[read[1]]
    points = [(float(across), figures["value"][at]) for across, at in cells]
    intervals = [(figures["low"][at], figures["high"][at]) for _, at in cells]
    return Curve(_NAMES[place], LOOKS[place], points, intervals)


def _floor(flow: Flow, role: str, readout: str) -> Curve:
    """What a model makes of the questions without their pictures, as a line over all layers."""
    value = _scores(flow, role, readout)["floor"]["value"]
    points = [(0.0, value), (float(flow["depth"]), value)]
    return Curve(f"the {role} model {_FLOOR}", LOOKS[role, "image"], points, dashed=True)


def _half(flow: Flow) -> str:
    """By which layer text has read half of what a picture gives, of both models."""
    parts = []
    for role in ("tuned", "base"):
        half = flow["half"][role]
        if not is_number(half["value"]):
            parts.append(f"text reads nothing of it that makes the {role} model surer of right answers")
        else:
            value, low, high = (int(half[name]) for name in ("value", "low", "high"))
            parts.append(f"half of what it gives the {role} model is read by layer {value} [{low}, {high}]")
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in parts)


def _rows(flow: Flow) -> Iterator[tuple[str, list[str]]]:
    """Every variant in words, with what it costs: both models, their difference, the control, and answers."""
    content = {role: _scores(flow, role, "content")["cost"] for role in ("tuned", "base")}
    (between,) = (one["cost"] for one in flow["between"] if one["readout"] == "content")
    answers = _scores(flow, "tuned", "likeliest")["cost"]
    for words, at, control in _variants(flow):
        costs = [_cell(table, at) for table in (content["tuned"], content["base"], between)]
        costs.append(NONE if control is None else _cell(content["tuned"], control))
        yield words, [*costs, _cell(answers, at)]


def _variants(flow: Flow) -> Iterator[tuple[str, int, int | None]]:
    """In words every way to hide a picture, its row, and that of its control."""
    for one in flow["hidden"]:
        if one["what"] == "image":
            start, stop = one["start"], one["stop"]
            layers = f"layer {start}" if stop - start == 1 else f"layers {start} to {stop - 1}"
            yield f"hidden in {layers}", one["at"], _hidden(flow, "text", start, stop)
    for one in flow["late"]:
        yield f"enters before layer {one['layer']}", one["at"], None


def _cell(table: Mapping[str, Sequence[float]], at: int) -> str:
    return within(*(table[name][at] for name in ("value", "low", "high")))
