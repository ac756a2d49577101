"""A study of one's own, whole, in one file: how alike two models' states are at every layer, with its command.

One that ships has a folder in `studies/` (what decides its figures apart from what needs torch), a folder in `report/`
with its template as a file, and its command in `cli/study.py`, which imports the rooms inside.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from lapilli.cli.console import go_on, print_json, results, say
from lapilli.cli.options import Device, Model, require_models
from lapilli.core.errors import UsageError
from lapilli.core.files import sha256, write_atomically
from lapilli.core.placement import Placement
from lapilli.core.progress import Progress
from lapilli.core.run import RunDir
from lapilli.data.pictures import open_picture
from lapilli.data.questions import picture_sizes
from lapilli.data.sample import Sample, read_samples
from lapilli.inspection.measures import linear_cka
from lapilli.inspection.streams import Streams, collect, shared_rows, stored
from lapilli.model.hub import recorded
from lapilli.model.llava import load
from lapilli.model.parts import origin
from lapilli.model.placement import settings as device_settings
from lapilli.report.kit.environment import environment, style
from lapilli.report.kit.line_chart import Curve, line_chart
from lapilli.studies.steps import Step, Task, carry_out, result

RESULT = "similarity"
"""The name of the result in the run's folder: results/similarity.json."""

FEWEST = 5
"""The least number of samples that `linear_cka` takes."""

STREAMS = Streams(positions=("image_mean", "question_end"))
"""What is kept of every prompt: by default the input of the first layer, the output of each, and the last norm's."""

_PAGE = """{% extends "frame.html.jinja" %}
{% block title %}{{ title }}{% endblock %}
{% block main %}<h1>{{ title }}</h1>{{ chart }}{% endblock %}"""


@dataclass(frozen=True)
class Settings:
    """What decides the figures: the models by name, a file of samples, and the folder of their pictures."""

    models: dict[str, Path]
    data: Path
    images: Path

    @cached_property
    def samples(self) -> list[Sample]:
        """Every sample once. Raises LapilliError, with the row, for a file that has faults."""
        return read_samples(self.data)


def settings(models: dict[str, Path], data: Path, images: Path) -> Settings:
    """The settings. Raises UsageError for too few samples: without torch, and before anything is written."""
    of = Settings(models, data, images)
    if len(of.samples) < FEWEST:
        raise UsageError(f"{data}: {len(of.samples)} samples, at least {FEWEST} are needed; add some")
    return of


def opened(out: Path, of: Settings, placement: Placement) -> RunDir:
    """The run folder: new, interrupted, or finished. Raises LapilliError where it is of another recipe."""
    device_settings(placement)  # refused before anything is written
    pictures = {name for sample in of.samples for name in sample.images}
    recipe = {"study": RESULT, "models": {name: recorded(path) for name, path in of.models.items()}}
    recipe |= {"weights": [origin(path).sha256 for path in of.models.values()], "streams": asdict(STREAMS)}
    recipe |= {"data": str(of.data), "sha256": sha256(of.data), "pictures": picture_sizes(of.images, pictures)}
    return RunDir.begin(out, recipe, STREAMS.seed)


def study(of: Settings, run: RunDir, placement: Placement, progress: Progress) -> None:
    """Do what the run lacks; what it has is not done again."""
    carry_out(_steps(of, run, placement), progress)


def _steps(of: Settings, run: RunDir, placement: Placement) -> Iterator[Step]:
    for name in of.models:
        last = STREAMS.files(run, name, len(of.samples))[-1]  # files are made in their order
        yield Step(f"{name}: states", [Task(last, partial(_collect, of, run, placement, name))])
    yield Step("similarity", [result(run, RESULT, partial(_similarity, run, list(of.models)))])


def _collect(of: Settings, run: RunDir, placement: Placement, name: str) -> None:
    llava = load(of.models[name], placement)
    collect(run, name, llava, of.samples, partial(open_picture, of.images), streams=STREAMS)


def _similarity(run: RunDir, models: list[str]) -> list[dict[str, Any]]:
    """The similarity at every position and site, over depth; what cannot be measured is None, as JSON has no nan."""
    base, tuned = (stored(run, name) for name in models)
    rows = []
    for position, site in base.names:
        first, second = shared_rows(base, tuned, position)
        cka = linear_cka(base.at(position, site)[first], tuned.at(position, site)[second])
        value, error = (None if number != number else float(number) for number in (cka.value, cka.error))
        rows.append({"position": position, "site": site, "value": value, "error": error, "n": cka.n})
    return rows


def write_page(run: RunDir, out: Path) -> None:
    """Write the page of a finished run: from its results alone, so that it can be drawn again."""
    rows = run.load(RESULT)
    curves = []
    for color, position in enumerate(STREAMS.positions):
        values = [row["value"] for row in rows if row["position"] == position]
        points = [(float(depth), value) for depth, value in enumerate(values) if value is not None]
        curves.append(Curve(position, color, points))
    templates = environment("kit")
    styles = style(templates, "page.css", "line_chart.css")
    chart = line_chart(curves, "Linear CKA over depth", "{:.2f}".format, unit="layer")
    write_atomically(out, templates.from_string(_PAGE).render(style=styles, title=RESULT, chart=chart))


def toy(
    context: typer.Context,
    base: Model,
    tuned: Model,
    data: Annotated[Path, typer.Argument(help="A file of samples.", show_default=False)],
    images: Annotated[
        Path, typer.Option(help="The folder that the samples' image paths start from.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(help="A run folder, with the page; an interrupted run continues.", show_default=False)
    ],
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """How alike two models are at every layer. `register` of cli/study.py adds it: `study.command("toy")(toy)`."""
    context.with_resource(RunDir.alone(out))  # one process at a time
    placement = Placement(device)
    of = settings(dict(zip(("base", "tuned"), require_models([base, tuned]), strict=True)), data, images)
    run = opened(out, of, placement)
    go_on(run, lambda progress: study(of, run, placement, progress))
    write_page(run, out / "toy.html")  # after the run has finished
    if as_json:
        print_json({"folder": out, "similarity": run.load(RESULT)})
        return
    table = Table("position", "site", "CKA", "error")
    for row in run.load(RESULT):
        figures = ("-" if number is None else f"{number:.3f}" for number in (row["value"], row["error"]))
        table.add_row(row["position"], row["site"], *figures)
    results.print(table)
    say(f"{out / 'toy.html'}")
