"""A study of one's own, whole, in one file: how alike two models' states are at every layer.

One that ships has a folder in `studies/` (settings, what needs no torch, apart from the rest), a folder in `report/`
with its template as a file, and a function in `cli/study.py`.
"""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from lapilli.core.files import write_atomically
from lapilli.core.progress import Progress
from lapilli.core.run import RunDir
from lapilli.data.pictures import open_picture
from lapilli.data.questions import fingerprint, read_picture_questions
from lapilli.inspection.measures import linear_cka
from lapilli.inspection.streams import Streams, collect, shared_rows, stored
from lapilli.model.hub import recorded
from lapilli.model.llava import load
from lapilli.model.parts import origin
from lapilli.report.kit.environment import environment, style
from lapilli.report.kit.line_chart import Curve, line_chart
from lapilli.studies.steps import Step, Task, carry_out, result

RESULT = "similarity"
"""The name of the result in the run's folder."""

STREAMS = Streams(positions=("image_mean", "question_end"))
"""What is kept of every prompt: by default the input of the first layer, the output of each, and the last norm's."""

_PAGE = """{% extends "frame.html.jinja" %}
{% block title %}{{ title }}{% endblock %}
{% block main %}<h1>{{ title }}</h1>{{ chart }}{% endblock %}"""


def study(out: Path, models: dict[str, Path], data: Path, progress: Progress) -> RunDir:
    """Do what is left of the study, and return its finished run; `data` has questions.jsonl beside images/."""
    recipe = {"study": RESULT, "models": {name: recorded(path) for name, path in models.items()}}
    recipe |= {"weights": [origin(path).sha256 for path in models.values()]}
    recipe |= {"data": str(data), "sha256": fingerprint(data), "streams": asdict(STREAMS)}
    with RunDir.alone(out):
        run = RunDir.begin(out, recipe, STREAMS.seed)
        if not run.is_complete:
            carry_out(_steps(run, models, data), progress)
            run.finish()
    return run


def _steps(run: RunDir, models: dict[str, Path], data: Path) -> Iterator[Step]:
    questions = read_picture_questions(data)
    samples = [question.sample for question in {one.image: one for one in questions}.values()]  # one a picture
    pictures = partial(open_picture, data / "images")
    for name, path in models.items():
        last = STREAMS.files(run, name, len(samples))[-1]  # files are made in their order

        def states(name: str = name, path: Path = path) -> None:
            collect(run, name, load(path), samples, pictures, streams=STREAMS)

        yield Step(f"{name}: states", [Task(last, states)])
    yield Step("similarity", [result(run, RESULT, partial(_similarity, run, list(models)))])


def _similarity(run: RunDir, models: list[str]) -> list[dict[str, Any]]:
    """The similarity at every site and position; what cannot be measured is None."""
    base, tuned = (stored(run, name) for name in models)
    rows = []
    for position, site in base.names:
        first, second = shared_rows(base, tuned, position)
        cka = linear_cka(base.at(position, site)[first], tuned.at(position, site)[second])
        value = None if cka.value != cka.value else float(cka.value)
        rows.append({"position": position, "site": site, "value": value, "error": float(cka.error), "n": cka.n})
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
