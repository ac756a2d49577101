"""The page `report.html`: trainings, finished or not, in one self-contained file; several lie over each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lapilli.core.files import write_atomically
from lapilli.report.kit import figures, line_chart
from lapilli.report.kit.environment import environment, style
from lapilli.report.training import charts, tables
from lapilli.report.training.read import TrainingRun

_LONGEST = 600  # characters of a text


def write_page(runs: Sequence[TrainingRun], out: Path) -> None:
    """Write the page of the runs to `out`. Raises LapilliError when it cannot be written."""
    write_atomically(out, render(runs))


def render(runs: Sequence[TrainingRun]) -> str:
    """Return the page as text. All text of the runs is escaped; the page has no script and fetches nothing."""
    templates = environment("training", (figures.counted, figures.whole, cut))
    questions, more = tables.questions(runs)
    recipe = tables.recipe(runs)
    return templates.get_template("training.html.jinja").render(
        style=style(templates, "page.css", "line_chart.css", "training.css"),
        runs=runs,
        course=tables.course(runs),
        best=tables.best(runs),
        losses=charts.losses(runs),
        accuracies=charts.accuracies(runs),
        learning=charts.of_figures(runs, charts.LEARNING),
        speed=charts.of_figures(runs, charts.SPEED),
        others=charts.of_figures(runs, charts.others(runs)),
        tuned=[tables.tuned(run) for run in runs],
        data=tables.data(runs),
        questions=questions,
        more_questions=more,
        recipe=recipe,
        differing=[row for row in recipe if row.differs],
        environment=tables.environment(runs),
        key=line_chart.key,
    )


def drawn(runs: Sequence[TrainingRun]) -> list[dict[str, Any]]:
    """The figures that the page draws, for programs: for each run its state, parts, data, and curves by name."""
    names = [*charts.LEARNING, *charts.SPEED, *charts.others(runs), "loss", "validation_loss"]
    return [
        {
            "run": run.path,
            "name": run.name,
            "state": run.state,
            "steps": run.steps,
            "start": run.start,
            "extended": run.extended,
            "results": run.results,
            "curves": {name: points for name in names if (points := run.points(name))},
            "accuracy": {name: rows for name in charts.benchmarks(runs) if (rows := charts.accuracy_rows(run, name))},
            "samples": run.samples,
        }
        for run in runs
    ]


def cut(text: str) -> str:
    """A text as the page shows it; the run folder has the whole."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
