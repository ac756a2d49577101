"""The page `report.html`: the results of a quickstart in one self-contained file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lapilli.core.files import write_atomically
from lapilli.report.kit import figures
from lapilli.report.kit.environment import environment, policy, style
from lapilli.report.quickstart import charts, sections, story
from lapilli.report.quickstart.schema import Machine, Part, Results, Stage

_FILTERS: tuple[Callable[..., str], ...] = (
    figures.counted,
    figures.duration,
    figures.interval,
    figures.learning_rate,
    figures.loss,
    figures.minutes,
    figures.percent,
    figures.points,
    figures.rate,
    figures.short,
    figures.size,
    figures.whole,
)


def write_report(results: Results, out: Path) -> None:
    """Write the page to `out`. Pictures named in the results are read relative to the folder of `out`.

    Raises LapilliError when a picture lies outside that folder or the page cannot be written.
    """
    write_atomically(out, render(results, out.parent))


def render(results: Results, folder: Path) -> str:
    """Return the page as text. All text of the results is escaped; only this package's drawings are markup."""
    templates = environment("quickstart/templates", _FILTERS)
    page, script = templates.get_template("page.html.jinja"), templates.get_template("page.js").render()
    shared = {"style": style(templates, "page.css"), "script": Markup(script), "policy": policy(script)}
    return page.render(**shared, **_context(results, folder))


def _context(results: Results, folder: Path) -> dict[str, Any]:
    board = story.scoreboard(results)
    return {
        **sections.opening(results, board, folder),
        "patches": sections.patches(results, folder),
        "results": _without_gaps(results, Results)
        | {
            "parts": [_without_gaps(part, Part) for part in results.get("parts", [])],
            "stages": [_without_gaps(stage, Stage) for stage in results.get("stages", [])],
        },
        "machine": _without_gaps(results.get("machine", {}), Machine),
        "chain": sections.chain(results),
        "learned": sections.learned(results),
        "rows": sections.rows(results, folder),
        "timeline": sections.timeline(results),
        "losses": sections.losses(results),
        "accuracy": sections.accuracy(board),
        "board": board,
        "captions": sections.captions(results, folder),
        "examples": sections.examples(results, folder),
        "findings": story.findings(board),
        "key": charts.key,
        "names": {"condition": story.CONDITIONS, "stage": story.STAGES, "split": story.SPLIT_NAMES},
    }


def _without_gaps(values: Mapping[str, Any], form: Any) -> dict[str, Any]:
    """The values of a TypedDict `form`, with None for missing keys: templates may ask for any of its keys."""
    return dict.fromkeys(form.__optional_keys__) | dict(values)
