"""The page `patch.html`: one patching study in one self-contained file."""

from collections import Counter
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lapilli.core.files import write_atomically
from lapilli.core.plain import plain
from lapilli.report.kit import figures
from lapilli.report.kit.environment import environment, style
from lapilli.report.kit.line_chart import key
from lapilli.report.patch import answers, charts, story
from lapilli.report.patch.story import KINDS, MAIN, READOUTS, WAYS, Result

STYLES = ("page.css", "line_chart.css", "heat_map.css", "charts.css", "patch.css")

DETAILS = (("image", "log_p"), ("image", "format"), ("image", "likeliest"), ("text", "content"))
"""What has charts beside the main read-out, where there is a gain."""


def write_page(result: Result, out: Path) -> None:
    """Write the page of results/patch.json to `out`. Raises LapilliError when it cannot be written."""
    write_atomically(out, render(result))


def render(result: Result) -> str:
    """Return the page as text. All text of the result is escaped; only this package's drawings are markup."""
    result = plain(result)
    templates = environment("patch", (figures.percent, figures.counted, figures.number))
    details = [place for place in DETAILS if story.has_gain(result, place)]
    return templates.get_template("patch.html.jinja").render(
        style=style(templates, *STYLES),
        headline=story.headline(result),
        opening=story.opening(result),
        result=result,
        has_gain=story.has_gain(result),
        main=_charts(result, MAIN),
        details=[_charts(result, place) for place in details],
        without=[_title(place) for place in DETAILS if place not in details],
        legend=_legend(result),
        controls=[story.CONTROLS[control] for control in story.controls_of(result)],
        parts=list(story.part_rows(result, MAIN)),
        within=list(story.within_rows(result, MAIN)),
        seeing=list(story.seeing_rows(result)),
        windows=list(story.window_rows(result, MAIN)),
        gains=list(story.gain_rows(result)),
        answers=list(answers.rows(result)),
        examples=answers.examples(result),
        families=Counter(test["test"] for test in result["tests"]),
    )


def _title(place: tuple[str, str]) -> str:
    kind, readout = place
    return f"{READOUTS[readout][0]}, {KINDS[kind]}"


def _charts(result: Result, place: tuple[str, str]) -> dict[str, Any]:
    """The charts of a read-out: windows, layers from both ends, and blocks, both ways each."""
    return {
        "title": _title(place),
        "says": READOUTS[place[1]][1],
        "windows": [(way, charts.windows_map(result, target, place)) for target, (_, way) in WAYS.items()],
        "cumulative": [
            (f"{way}, from the {'first layer up' if below else 'last layer down'}", drawn)
            for target, (_, way) in WAYS.items()
            for below in (True, False)
            for drawn in (charts.cumulative_chart(result, target, place, below),)
        ],
        "blocks": [(way, charts.blocks_chart(result, target, place)) for target, (_, way) in WAYS.items()],
    }


def _legend(result: Result) -> list[tuple[Markup, str]]:
    """The curves of the charts over layers."""
    names = {"true": "the true parts", **{name: story.CONTROLS[name] for name in story.controls_of(result)}}
    return [(key(charts.LOOKS[name]), words) for name, words in names.items()]
