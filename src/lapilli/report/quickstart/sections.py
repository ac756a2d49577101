"""The sections of the page: the values of each one's template. A section without results is empty or None."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lapilli.core.statistics.proportion import Proportion
from lapilli.report.kit.pictures import data_uri, mosaic
from lapilli.report.quickstart import charts, story
from lapilli.report.quickstart.charts import Mark, Row
from lapilli.report.quickstart.schema import DataRow, Example, Metric, Part, Results, Role, Stage
from lapilli.report.quickstart.story import CONDITIONS, SPLIT_NAMES, STAGES, Scoreboard

_ALL = "all types"
_LOG_ROWS = 100
_SHORTEST = 0.05  # seconds; what is shorter reads as 0.0 s
_KINDS = {"image": "instruct", "swapped": "swapped", "blank": "blank", "language_only": "language_only"}


BestAnswer = tuple[float | None, str]
"""The share of the best constant answer, and that answer."""


def opening(results: Results, board: Scoreboard, folder: Path) -> dict[str, Any]:
    """The headline, its chart and one example as the model sees it."""
    return {
        "headline": story.headline(board),
        "verdict_chart": verdict_chart(board),
        "sample": _sample(results, folder),
    }


def verdict_chart(board: Scoreboard) -> Markup | None:
    """The overall accuracy with the picture and under each control, on one axis."""
    if not board.splits:
        return None
    split = board.splits[0]
    rates = [(condition, board.overall(split, condition)) for condition in CONDITIONS]
    rows = [
        Row(CONDITIONS[condition], (_mark(_KINDS[condition], rate, CONDITIONS[condition]),))
        for condition, rate in rates
        if rate is not None
    ]
    summary = ". ".join(f"{row.label}: {charts.mark_words(row.marks[0])}" for row in rows)
    constant = board.best_constant(split)
    rows += [Row("Best fixed answer to each type", (), constant)] if constant is not None else []
    return charts.dot_chart(rows, "Share of right answers", summary, left=206.0, lanes=()) if rows else None


def _mark(kind: str, rate: Proportion, words: str) -> Mark:
    return Mark(kind, rate.estimate, rate.low, rate.high, words)


def _sample(results: Results, folder: Path) -> dict[str, Any] | None:
    """The first right example, or the first of all where none is right; None without its picture."""
    first = next(iter(sorted(results.get("examples", []), key=lambda example: not example["correct"])), None)
    uri = data_uri(first["image"], folder) if first else None
    if first is None or uri is None:
        return None
    return {"example": {"truth": "", **first}, "uri": uri, "mosaic": _mosaic(results, uri, "stones")}


def patches(results: Results, folder: Path) -> Markup | None:
    """The picture of the sample cut into patches once more, small, for the chain of parts."""
    sample = _sample(results, folder)
    return _mosaic(results, sample["uri"], "pebbles") if sample else None


def _mosaic(results: Results, uri: str, name: str) -> Markup | None:
    grid = results.get("patches")
    return mosaic(uri, grid["rows"], grid["columns"], "The picture, cut into its patches", name) if grid else None


@dataclass(frozen=True)
class PartView:
    """A part, its place in the chain and, for each stage, whether it learns."""

    part: Part
    work: str
    learns: tuple[tuple[str, bool], ...]

    @property
    def head(self) -> int | None:
        """The parameters of a language model's output head; 0 where it is the embedding, None where it is unknown."""
        return self.part.get("head")


_WORK: dict[Role, str] = {
    "vision": "turns every patch into a vector",
    "projector": "carries the vectors into the language model’s space",
    "language": "reads patches and question as one text and writes on",
}


def chain(results: Results) -> list[PartView]:
    """The parts in the order in which a picture passes through them."""
    stages = results.get("stages", [])
    return [
        PartView(part, _WORK[role], tuple((f"Stage {i}", role in stage["trains"]) for i, stage in enumerate(stages, 1)))
        for role in _WORK
        for part in results.get("parts", [])
        if part["role"] == role
    ]


def learned(results: Results) -> list[list[tuple[str, int]]]:
    """The parts that learn in each stage, with their parameters, the head by itself; none where the sum differs."""
    return [_learned(stage, results.get("parts", [])) for stage in results.get("stages", [])]


def _learned(stage: Stage, parts: list[Part]) -> list[tuple[str, int]]:
    counts = []
    for part in parts:
        if part["role"] in stage["trains"]:
            counts.append((part["name"], part["parameters"]))
            counts += [(f"output head of {part['name']}", part["head"])] if part.get("head") else []
    return counts if sum(count for _, count in counts) == stage["trainable_parameters"] else []


@dataclass(frozen=True)
class RowView:
    """A row of a stage's data: its picture, and a description of the stage's template."""

    stage: str
    row: DataRow
    uri: str | None
    words: str
    roles: list[str]


def rows(results: Results, folder: Path) -> list[RowView]:
    """A row of each stage's data, for stages whose results hold one."""
    return [_row_view(stage, stage["row"], folder) for stage in results.get("stages", []) if "row" in stage]


def _row_view(stage: Stage, row: DataRow, folder: Path) -> RowView:
    roles = list(dict.fromkeys(token["role"] for token in row["tokens"]))
    words = story.TEMPLATES.get(row["template"], "")
    return RowView(stage_name(stage), row, data_uri(row["image"], folder), words, roles)


@dataclass(frozen=True)
class Bar:
    """A step of the journey; `start` and `share` are parts of the whole time."""

    name: str
    seconds: float
    start: float
    share: float
    learns: bool


def timeline(results: Results) -> list[Bar]:
    """The steps as bars on the time of the whole run; steps of less than 0.05 s that train nothing are left out."""
    steps, before, bars = results.get("steps", []), 0.0, []
    total = sum(step["seconds"] for step in steps) or 1.0
    for step in steps:
        share = step["seconds"] / total
        if step["seconds"] >= _SHORTEST or "stage" in step:
            bars.append(Bar(step["name"], step["seconds"], before, share, "stage" in step))
        before += share
    return bars


@dataclass(frozen=True)
class LossView:
    """The loss curve of a stage, and the rows of its table."""

    name: str
    chart: Markup
    half_life: int
    rows: list[Metric]
    logged: int


def losses(results: Results) -> list[LossView]:
    """The loss curves of the stages that logged any."""
    return [_loss(stage) for stage in results.get("stages", []) if stage["metrics"]]


def _loss(stage: Stage) -> LossView:
    metrics, name = stage["metrics"], stage_name(stage)
    every = -(-len(metrics) // _LOG_ROWS)
    rows = metrics[::every]
    rows += [] if rows[-1] is metrics[-1] else [metrics[-1]]
    chart = charts.loss_chart(metrics, f"Loss, {name}")
    return LossView(name, chart, charts.half_life(metrics), rows, len(metrics))


def stage_name(stage: Stage) -> str:
    """The stage's name on the page."""
    return STAGES.get(stage["name"], stage["name"])


@dataclass(frozen=True)
class Column:
    """A column of the accuracy table."""

    stage: str
    condition: str


@dataclass(frozen=True)
class AccuracyView:
    """The chart and the table of one split. `rows` hold the type, n, one score a column, and the best fixed answer."""

    name: str
    chart: Markup
    columns: list[Column]
    rows: list[tuple[str, int, list[Proportion | None], BestAnswer]]


def accuracy(board: Scoreboard) -> list[AccuracyView]:
    """Accuracy by type, one view for each split; all have the order of types of the first split's accuracy."""
    if not board.splits:
        return []
    order = board.types(board.splits[0])
    return [_accuracy(board, split, order) for split in board.splits]


def _accuracy(board: Scoreboard, split: str, order: list[str]) -> AccuracyView:
    scored = board.types(split)
    types = [type_ for type_ in order if type_ in scored] + [type_ for type_ in scored if type_ not in order]
    columns = [
        Column(stage, condition)
        for stage in board.stages
        for condition in CONDITIONS
        if board.types(split, condition, stage)
    ]
    chart_rows = [_chart_row(board, split, type_) for type_ in (_ALL, *types)]
    kinds = {mark.kind for row in chart_rows for mark in row.marks}
    chart = charts.dot_chart(
        chart_rows, f"Accuracy by type: {SPLIT_NAMES[split]}", "The table below holds the same figures.",
        lanes=[kind for kind in charts.MARKS if kind in kinds],
    )  # fmt: skip
    rows = [_table_row(board, split, type_, columns) for type_ in (_ALL, *types)]
    return AccuracyView(SPLIT_NAMES[split], chart, columns, rows)


def _score(board: Scoreboard, split: str, type_: str, condition: str, stage: str | None = None) -> Proportion | None:
    if type_ == _ALL:
        return board.overall(split, condition, stage)
    return board.get(split, type_, condition, stage)


def _chart_row(board: Scoreboard, split: str, type_: str) -> Row:
    last = board.stages[-1]
    rates = [("instruct", STAGES[last], _score(board, split, type_, "image"))]
    rates += [("align", STAGES[stage], _score(board, split, type_, "image", stage)) for stage in board.stages[:-1]]
    rates += [(name, CONDITIONS[name], _score(board, split, type_, name)) for name in CONDITIONS if name != "image"]
    marks = tuple(_mark(kind, rate, words) for kind, words, rate in rates if rate is not None)
    return Row(type_, marks, _constant(board, split, type_)[0])


def _constant(board: Scoreboard, split: str, type_: str) -> BestAnswer:
    if type_ == _ALL:
        return board.best_constant(split), ""
    constant = board.constants.get((split, type_))
    return (constant["estimate"], constant["answer"]) if constant else (None, "")


def _table_row(
    board: Scoreboard, split: str, type_: str, columns: list[Column]
) -> tuple[str, int, list[Proportion | None], BestAnswer]:
    rates = [_score(board, split, type_, column.condition, column.stage) for column in columns]
    main = _score(board, split, type_, "image")
    return type_, main.n if main else 0, rates, _constant(board, split, type_)


def captions(results: Results, folder: Path) -> dict[str, Any] | None:
    """Stage 1's captions: the rates, their chart and the examples with pictures."""
    saved = results.get("captions")
    if saved is None:
        return None
    rates = {"mentioned": story.proportion(saved["mentioned"]), "shuffled": story.proportion(saved["shuffled"])}
    beside = (("Its own picture", "align", rates["mentioned"]), ("Another picture", "swapped", rates["shuffled"]))
    rows = [Row(label, (_mark(kind, rate, label),)) for label, kind, rate in beside if rate.n]
    summary = ". ".join(f"{row.label}: {charts.mark_words(row.marks[0])}" for row in rows)
    chart = charts.dot_chart(rows, "Color words that are right", summary, left=118.0, lanes=())
    examples = [{**example, "uri": data_uri(example["image"], folder)} for example in saved.get("examples", [])]
    return {"n": saved["n"], "chart": chart, "gain": saved.get("gain"), "examples": examples, **rates}


def examples(results: Results, folder: Path) -> list[Mapping[str, Any]]:
    """All examples in the order of the results, right and wrong ones."""

    def view(example: Example) -> Mapping[str, Any]:
        return {"truth": "", **example, "uri": data_uri(example["image"], folder)}

    return [view(example) for example in results.get("examples", [])]
