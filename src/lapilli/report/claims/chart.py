"""A claim's figure and its interval beside the figures for which the claim is true."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from lapilli.report.claims.story import bounds, figure
from lapilli.report.kit.figures import number
from lapilli.report.kit.svg import Axis, chart, element, line, text

_WIDTH, _HEIGHT, _MIDDLE = 320.0, 46.0, 16.0
_EDGE = 14.0  # pixels between an end of the axis and what is nearest to it


def strip(claim: Mapping[str, Any]) -> Markup:
    """The interval as a line with the figure as its point, over a bar where the claim is true."""
    ends = [claim[name] for name in ("value", "low", "high", "least", "most") if claim[name] is not None]
    axis = Axis(min(ends), max(ends), _EDGE * 2, _WIDTH - _EDGE * 2)
    least = _EDGE / 2 if claim["least"] is None else axis.at(claim["least"])
    most = _WIDTH - _EDGE / 2 if claim["most"] is None else axis.at(claim["most"])
    marks = [
        element("rect", x=least, y=_MIDDLE - 9, width=max(most - least, 1.0), height=18.0, class_="true"),
        line(_EDGE / 2, _MIDDLE, _WIDTH - _EDGE / 2, _MIDDLE, "rule"),
        line(axis.at(claim["low"]), _MIDDLE, axis.at(claim["high"]), _MIDDLE, "between"),
        element("circle", cx=axis.at(claim["value"]), cy=_MIDDLE, r=4.5, class_="figure"),
    ]
    limits = [end for end in (claim["least"], claim["most"]) if end is not None]
    words = [text(axis.at(end), _HEIGHT - 6, number(end), "tick", "middle") for end in limits]
    summary = f"True {bounds(claim)}; measured {figure(claim)}."
    return chart(*marks, *words, width=_WIDTH, height=_HEIGHT, title=claim["measure"], summary=summary)
