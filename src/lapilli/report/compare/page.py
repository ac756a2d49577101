"""The page `compare.html`: one comparison in one self-contained file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lapilli.core.files import write_atomically
from lapilli.core.plain import plain
from lapilli.report.compare import charts, story, suggestion
from lapilli.report.compare.story import PLACES, Result
from lapilli.report.kit import figures
from lapilli.report.kit.environment import environment, style
from lapilli.report.kit.line_chart import key

OTHERS = ("cka", "relative_l2", "lens_kl", "cosine", "imbalance", "overlap_30")
"""The measures of two models that have charts beside the first."""

SPACES = ("gride_32", "participation_ratio", "spectrum_entropy")
"""The measures of one model that have charts."""


def write_page(result: Result, out: Path) -> None:
    """Write the page of results/compare.json to `out`. Raises LapilliError when it cannot be written."""
    write_atomically(out, render(result))


def render(result: Result) -> str:
    """Return the page as text. All text of the result is escaped; only this package's drawings are markup."""
    result = plain(result)
    templates = environment("compare", (figures.percent, figures.counted, figures.number))
    return templates.get_template("compare.html.jinja").render(
        style=style(templates, "page.css", "line_chart.css", "charts.css"),
        headline=story.headline(result),
        opening=story.opening(result),
        result=result,
        legend=_legend([*result["pairs"], "shuffled"]),
        local_legend=_legend(result["weights"]),
        spaces_legend=[
            (key(color), name) for model, (name, color) in charts.MODELS.items() if model in result["models"]
        ],
        main=_row(result, story.MAIN),
        others=[_row(result, measure) for measure in OTHERS],
        local=[(PLACES[one["kind"], one["position"]], charts.local_chart(one)) for one in result["local"]],
        spaces=[(story.SPACES[measure], _spaces(result, measure)) for measure in SPACES],
        floors={floor: words for floor, words in story.FLOORS.items() if floor in result["pairs"]},
        rows=list(story.rows(result)),
        weights=_weights(result["weights"]["change"]),
        suggested=suggestion.tables(result),
    )


def _legend(pairs: Iterable[str]) -> list[tuple[Markup, str]]:
    return [(key(color, dashed), name) for name, color, dashed in (charts.PAIRS[pair] for pair in pairs)]


def _row(result: Result, measure: str) -> dict[str, Any]:
    """A measure with a chart for every place."""
    title, says = story.MEASURES[measure]
    drawn = [(words, charts.profile_chart(result, place, measure)) for place, words in PLACES.items()]
    return {"title": title, "says": says, "charts": drawn}


def _spaces(result: Result, measure: str) -> list[tuple[str, Markup]]:
    """A measure of one model with a chart for every place."""
    return [(words, charts.space_chart(result, place, measure)) for place, words in PLACES.items()]


def _weights(change: dict[str, Any]) -> dict[str, Any]:
    """The relative change of every layer and part as a table, and of what is in no layer."""
    parts = list(dict.fromkeys(one["part"] for one in change["parts"]))
    by_place = {(one["layer"], one["part"]): one["relative"] for one in change["parts"]}
    layers = [
        {"layer": number, "whole": layer["relative"], "parts": [by_place.get((number, part)) for part in parts]}
        for number, layer in enumerate(change["layers"])
    ]
    return {"parts": [part.rpartition(".")[2] for part in parts], "layers": layers, "outside": change["outside"]}
