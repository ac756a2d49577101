"""Published benchmarks as a model is asked them: the authors' files in a folder, as LLaVA lays them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.files import sha256
from lapilli.data.paths import PictureError, picture_path
from lapilli.evaluation.answer_file import AnswerRow, identifier, text_of
from lapilli.evaluation.benchmark import Benchmark, Response, Table, with_interval
from lapilli.evaluation.published.protocol import ASKED, Judged, Layout, Published, published

_SHOWN = 40  # figures of a table
_INTERVAL = "_interval"


@dataclass(frozen=True)
class PublishedQuestion:
    """A question as LLaVA's file has it, with its label; `image` is empty where there is none."""

    id: str
    image: str
    question: str
    type: str
    label: Any


@dataclass(frozen=True)
class Figure:
    """A figure of a benchmark with its 95 % interval, if it has one, and n."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int | None


def published_benchmark(name: str) -> Benchmark[PublishedQuestion]:
    """The published benchmark of this name, to be asked of a model. Raises UsageError for a name that is none."""
    if name not in ASKED:
        raise UsageError(f"no published benchmark {name!r} to be asked; there are: {', '.join(ASKED)}")
    of = published(ASKED[name])
    layout = of.layouts[name]
    return Benchmark(
        name=name,
        rounds=(("", "image"),),
        read=partial(read_questions, of, layout),
        normalise=str.strip,
        score=partial(scores, of),
        constants=lambda _: (),
        table=table,
        is_right=lambda response: _judged(of, [response])[0].score == 1,
        expected=lambda question: (_judged(of, [Response(question, "image", "")])[0].expected,),
        choices=partial(_choices, of.choices) if of.choices else None,
        answer_tokens=of.answer_tokens,
        picture_folder=layout.images,
        inputs=lambda folder: {file: sha256(folder / file) for file in (layout.questions, *layout.references)},
    )


def read_questions(
    of: Published[Any], layout: Layout, folder: Path, _split: str, count: int
) -> list[PublishedQuestion]:
    """The first `count` questions of every category, with their labels.

    Raises LapilliError for a file that is missing, with how the files are laid out; for a question without a label, and
    for a picture that is not there.
    """
    _require_files(of, layout, folder)
    labels = of.references([folder / file for file in layout.references]) if of.references else {}
    counts: Counter[str] = Counter()
    questions = []
    for place, row in layout.rows(folder / layout.questions):
        kind = str(row.get("category") or "")
        counts[kind] += 1
        if counts[kind] <= count:
            questions.append(_question(of, place, row, labels))
            _require_picture(folder / layout.images, questions[-1], place)
    if not questions:
        raise LapilliError(f"{folder / layout.questions}: no questions; check the file")
    return questions


def _choices(choices: Callable[[Any], Sequence[str]], question: PublishedQuestion) -> Sequence[str]:
    return choices(question.label)


def _question(of: Published[Any], place: str, row: Mapping[str, Any], labels: Mapping[Any, Any]) -> PublishedQuestion:
    name = identifier(row, ("question_id", "id"), place)
    prompt = text_of(row, ("text", "question"), place)
    key = of.key(AnswerRow(place, name, prompt, "", row), row)
    if key not in labels:
        raise LapilliError(f"{place}: question {name!r} has no label; labels come from {of.source}")
    image = text_of(row, ("image",), place) if row.get("image") else ""
    return PublishedQuestion(name, image, prompt, str(row.get("category") or ""), labels[key])


def _require_files(of: Published[Any], layout: Layout, folder: Path) -> None:
    files = (layout.questions, *layout.references)
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        every = ", ".join(str(folder / file) for file in files)
        where = f"{every}, and the pictures in {folder / layout.images}"
        raise LapilliError(
            f"{folder / missing[0]}: no such file; laid out as: {where}. Labels come from {of.source}; LLaVA's "
            "questions from its eval.zip (docs/Evaluation.md of haotian-liu/LLaVA)"
        )


def _require_picture(images: Path, question: PublishedQuestion, place: str) -> None:
    if not question.image:
        return
    try:
        picture_path(images, question.image)
    except PictureError as error:
        raise LapilliError(f"{place}: {error}; the pictures are in {images}") from error


def _judged(of: Published[Any], responses: Sequence[Response[PublishedQuestion]]) -> Sequence[Judged]:
    return of.judge([
        (AnswerRow("", one.question.id, one.question.question, one.answer.strip(), {}), one.question.label)
        for one in responses
    ])  # fmt: skip


def scores(of: Published[Any], responses: Sequence[Response[PublishedQuestion]]) -> list[Figure]:
    """Every figure of the benchmark, by the rules with which files of answers are scored."""
    return _flat(of.figures(_judged(of, responses)), "", None)


def _flat(figures: Mapping[str, Any], path: str, n: int | None) -> list[Figure]:
    n = figures.get("n", n)
    rows: list[Figure] = []
    for name, value in figures.items():
        low, high = figures.get(name + _INTERVAL) or (None, None)
        if isinstance(value, Mapping):
            rows += _flat(value, f"{path}{name} ", n)
        elif isinstance(value, int | float) and name != "n":
            rows.append(Figure(f"{path}{name}".replace("_", " "), value, low, high, n))
    return rows


def table(scores: Sequence[Figure], _: Sequence[Any]) -> Table:
    """The figures that have an interval: shares in %, and sums of tasks as they are."""
    rows = [[one.name, str(one.n), _cell(one)] for one in scores if one.low is not None and one.high is not None]
    return Table(("figure", "n", "value"), rows[:_SHOWN], "% or points, with 95 % intervals by picture")


def _cell(one: Figure) -> str:
    value, low, high = one.value or 0.0, one.low or 0.0, one.high or 0.0
    return with_interval(value, low, high) if value <= 1 else f"{value:.1f} [{low:.0f}, {high:.0f}]"
