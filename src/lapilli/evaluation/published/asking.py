"""Published benchmarks as a model is asked them: the authors' files in a folder, as LLaVA lays them out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import isnan
from pathlib import Path
from typing import Any

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.files import sha256
from lapilli.core.statistics.clusters import clustered, clustered_mean
from lapilli.data.paths import PictureError, picture_path
from lapilli.evaluation.answer_file import AnswerRow, identifier, text_of
from lapilli.evaluation.benchmark import Benchmark, Response, Table, with_interval
from lapilli.evaluation.published.protocol import ASKED, Judged, Key, Layout, Published, published

_SHOWN = 40  # figures of a table
_INTERVAL = "_interval"
_LEFT_OUT = " left out"
_UNGRADED = "no score before the answers have been graded"
_ASKED = ("question_id", "id", "text", "question", "category")  # what a question has beside what its answer holds


@dataclass(frozen=True)
class PublishedQuestion:
    """A question as LLaVA's file has it, with its label; `image` is empty where there is none.

    Where answers hold their own labels, `label` is what they hold of the question. `others` are its labels by further
    files, without an entry where one leaves the question out.
    """

    id: str
    image: str
    question: str
    type: str
    label: Any
    others: Mapping[str, Any] = field(default_factory=dict)


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
    opened = layout.picture
    return Benchmark(
        name=name,
        rounds=(("", "image"),),
        read=partial(read_questions, of, layout),
        normalise=str.strip,
        score=lengths if layout.grading else partial(scores, of, tuple(layout.also)),
        constants=lambda _: (),
        table=partial(table, of, bool(layout.grading)),
        is_right=(lambda response: _judged(of, [response])[0].score == 1) if of.right_or_wrong else None,
        expected=partial(_expected, of) if of.right_or_wrong else None,
        choices=partial(_choices, of.choices) if of.choices else None,
        answer_tokens=of.answer_tokens,
        picture_folder=layout.images,
        open_picture=(lambda folder, name: opened(folder / layout.questions, name)) if opened else None,
        inputs=lambda folder: {file: sha256(folder / file) for file in _files(layout, folder)},
        grading=layout.grading,
        laid_out=_laid_out(of, layout, Path()),
        answer_file=lambda responses: (f"{name}{of.ending}", of.written([_row(of, one) for one in responses])),
    )


def read_questions(
    of: Published[Any], layout: Layout, folder: Path, _split: str, count: int
) -> list[PublishedQuestion]:
    """The first `count` questions of every category, with their labels.

    Raises LapilliError for a file that is missing, with how the files are laid out; for a question without a label; for
    two of one name where grades are joined by it; and for a picture that is not there.
    """
    _require_files(of, layout, folder)
    labels = _Labels(of, _read_labels(of, folder, layout.references), _others(of, layout, folder))
    chosen: dict[str, dict[str, int]] = {}
    questions, names = [], set()
    for place, row in layout.rows(folder / layout.questions):
        kind, name = str(row.get("category") or ""), identifier(row, ("question_id", "id"), place)
        if layout.grading and name in names:
            raise LapilliError(f"{place}: question_id {name!r}: another row has it; give each its own")
        names.add(name)
        first = chosen.setdefault(kind, {})
        if first.setdefault(layout.whole(name) if layout.whole else place, len(first)) < count:
            questions.append(labels.question(place, row))
            _require_picture(folder, layout, questions[-1], place)
    if not questions:
        raise LapilliError(f"{folder / layout.questions}: no questions; check the file")
    return questions


def _choices(choices: Callable[[Any], Sequence[str]], question: PublishedQuestion) -> Sequence[str]:
    return choices(question.label)


def _expected(of: Published[Any], question: PublishedQuestion) -> tuple[str]:
    return (_judged(of, [Response(question, "image", "")])[0].expected,)


def _read_labels(of: Published[Any], folder: Path, files: Sequence[str]) -> Mapping[Key, Any]:
    return of.references([folder / file for file in files]) if of.references else {}


def _others(of: Published[Any], layout: Layout, folder: Path) -> dict[str, Mapping[Key, Any]]:
    """The labels of each further set of files that is in the folder, by its name."""
    there = _also(layout, folder)
    return {name: _read_labels(of, folder, files) for name, files in there.items()}


def _also(layout: Layout, folder: Path) -> dict[str, tuple[str, ...]]:
    """The further sets of which the folder has a file. Raises LapilliError for one of which it lacks another."""
    sets = {name: files for name, files in layout.also.items() if any((folder / file).is_file() for file in files)}
    for name, files in sets.items():
        for file in files:
            if not (folder / file).is_file():
                raise LapilliError(f"{folder / file}: no such file; {name} has {', '.join(files)}: add it, or none")
    return sets


def _files(layout: Layout, folder: Path) -> list[str]:
    also = (file for files in _also(layout, folder).values() for file in files)
    return list(dict.fromkeys((layout.questions, *layout.references, *also)))


@dataclass(frozen=True)
class _Labels:
    """The labels of a benchmark by their keys, and those of further files."""

    of: Published[Any]
    labels: Mapping[Key, Any]
    others: Mapping[str, Mapping[Key, Any]]

    def question(self, place: str, row: Mapping[str, Any]) -> PublishedQuestion:
        """A row as a question. Raises LapilliError where it has no label, or is no question."""
        name, prompt = identifier(row, ("question_id", "id"), place), text_of(row, ("text", "question"), place)
        image = text_of(row, ("image",), place) if row.get("image") else ""
        kind = str(row.get("category") or "")
        if self.of.references is None:
            own = {key: value for key, value in row.items() if key not in _ASKED}
            return PublishedQuestion(name, image, prompt, kind, own)
        key = self.of.key(AnswerRow(place, name, prompt, "", row), row)
        if key not in self.labels:
            raise LapilliError(f"{place}: question {name!r} has no label; labels come from {self.of.source}")
        others = {label: of[key] for label, of in self.others.items() if key in of}
        return PublishedQuestion(name, image, prompt, kind, label=self.labels[key], others=others)


def _require_files(of: Published[Any], layout: Layout, folder: Path) -> None:
    for file in (layout.questions, *layout.references):
        if not (folder / file).is_file():
            raise LapilliError(f"{folder / file}: no such file; {_laid_out(of, layout, folder)}")


def _laid_out(of: Published[Any], layout: Layout, folder: Path) -> str:
    """Which files belong in a folder, and where they come from."""
    every = ", ".join(str(folder / file) for file in dict.fromkeys((layout.questions, *layout.references)))
    where = every if layout.picture else f"{every}, and the pictures in {folder / layout.images}"
    labels = f"labels come from {of.source}; " if layout.references else ""
    return f"laid out as: {where}; {labels}{layout.origin}"


def _require_picture(folder: Path, layout: Layout, question: PublishedQuestion, place: str) -> None:
    if not question.image:
        return
    if layout.check:
        layout.check(folder / layout.questions, question.image)
        return
    images = folder / layout.images
    try:
        picture_path(images, question.image)
    except PictureError as error:
        raise LapilliError(f"{place}: {error}; the pictures are in {images}") from error


def _row(of: Published[Any], response: Response[PublishedQuestion]) -> AnswerRow:
    question = response.question
    own = question.label if of.references is None else {}
    return AnswerRow("", question.id, question.question, response.answer.strip(), own)


def _judged(of: Published[Any], responses: Sequence[Response[PublishedQuestion]]) -> Sequence[Judged]:
    return of.judge([(_row(of, one), one.question.label) for one in responses])


def scores(of: Published[Any], also: Sequence[str], responses: Sequence[Response[PublishedQuestion]]) -> list[Figure]:
    """Every figure of the benchmark, by the rules with which files of answers are scored; and by further labels.

    What further labels leave out is counted.
    """
    rows = _flat(of.figures(_judged(of, responses)), "", None)
    for name in also:
        ours = [
            Response(replace(one.question, label=one.question.others[name]), one.condition, one.answer)
            for one in responses
            if name in one.question.others
        ]
        if ours:  # the folder has these labels
            counted = {"n": len(ours), "left_out": len(responses) - len(ours)}
            rows += _flat(of.figures(_judged(of, ours)) | counted, f"{name} ", None)
    return rows


def lengths(responses: Sequence[Response[PublishedQuestion]]) -> list[Figure]:
    """What can be said of answers before they are graded: how long they are, and how many are empty."""
    images = [one.question.image for one in responses]
    words = [len(one.answer.split()) for one in responses]
    empty = clustered([not count for count in words], images)
    mean = clustered_mean(words, images)
    return [
        Figure("words", mean.value, mean.low, mean.high, mean.n),
        Figure("empty", empty.estimate, empty.low, empty.high, empty.n),
    ]


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


def table(of: Published[Any], graded: bool, scores: Sequence[Figure], _: Sequence[Any]) -> Table:
    """The figures that have an interval: shares in %, and others as they are. Below it, what is to be known of them."""
    rows = [
        [one.name, "" if one.n is None else str(one.n), _cell(one, of.right_or_wrong)]
        for one in scores
        if one.low is not None and one.high is not None
    ]
    left_out = [f"{one.name}: {one.value:.0f}" for one in scores if one.name.endswith(_LEFT_OUT) and one.value]
    unit = "% or points" if of.right_or_wrong else "numbers as they are"
    notes = [f"{unit}, with 95 % intervals by picture", *left_out, *([_UNGRADED] if graded else [])]
    return Table(("figure", "n", "value"), rows[:_SHOWN], "; ".join(notes))


def _cell(one: Figure, shares: bool) -> str:
    value, low, high = one.value or 0.0, one.low or 0.0, one.high or 0.0
    if isnan(value) or (shares and value <= 1):
        return with_interval(value, low, high)
    digits, ends = (1, 0) if shares else (3, 2)
    return f"{value:.{digits}f}" + ("" if isnan(low + high) else f" [{low:.{ends}f}, {high:.{ends}f}]")
