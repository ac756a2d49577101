"""The charts of trainings: which figures of their logs there are, and how each is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lapilli.report.kit import figures
from lapilli.report.kit.line_chart import Curve, line_chart
from lapilli.report.training.read import TrainingRun

_ACCURACY, _LOW, _HIGH, _N = "_accuracy", "_accuracy_low", "_accuracy_high", "_n"
_NO_FIGURES = {"step", "epoch", "seconds", "lesson"}
_MOST_OTHERS = 24  # charts of figures that have no place of their own
_TRAINING, _VALIDATION = "loss", "validation_loss"


def _per_second(value: float) -> str:
    return figures.short(value) if value >= 1000 else f"{value:.3g}"


def _plain(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def _percent(value: float) -> str:
    return figures.percent(value, 0)


def _gigabytes(value: float) -> str:
    return f"{value:.3g}{figures.THIN}GB"


@dataclass(frozen=True)
class Figure:
    """A figure of the log: its title, how its values are written, and whether it leaps from line to line.

    The axis of a `linear` one is never logarithmic.
    """

    title: str
    words: Callable[[float], str] = _plain
    noisy: bool = False
    linear: bool = False


LEARNING = {
    "learning_rate": Figure("Learning rate", figures.learning_rate, linear=True),
    "grad_norm": Figure("Gradient norm, before it is clipped", _plain, noisy=True),
}
SPEED = {
    "samples_per_second": Figure("Samples a second", _per_second, noisy=True),
    "tokens_per_second": Figure("Tokens a second", _per_second, noisy=True),
    "images_per_second": Figure("Images a second", _per_second, noisy=True),
    "padding_share": Figure("Padding, of the tokens of the batches", _percent, noisy=True),
    "peak_memory_gb": Figure("Most memory held so far", _gigabytes),
}


@dataclass(frozen=True)
class Chart:
    """A drawing with the words above it."""

    title: str
    drawing: Markup


def training_loss(run: TrainingRun, color: int = 0) -> Curve:
    """The training loss of a run, which is drawn smoothed."""
    return _curve(run, color, _TRAINING, noisy=True)


def losses(runs: Sequence[TrainingRun]) -> list[Chart]:
    """The losses: of one run in the same axes, of several in a chart for each kind."""
    training = [training_loss(run, index) for index, run in enumerate(runs)]
    validation = [_curve(run, index, _VALIDATION) for index, run in enumerate(runs)]
    if len(runs) == 1:
        pair = [_named(training[0], "training", 0), _named(validation[0], "validation", 1, dashed=True)]
        return _charts([("Loss, in nats a learned token", pair)], figures.loss)
    return _charts([("Training loss, smoothed", training), ("Validation loss", validation)], figures.loss)


def accuracies(runs: Sequence[TrainingRun]) -> list[Chart]:
    """A chart for each benchmark, with 95 % intervals."""
    titled = [
        (name.replace("_", " "), [_accuracy(run, index, name) for index, run in enumerate(runs)])
        for name in benchmarks(runs)
    ]
    return _charts(titled, _percent, top=1.0)


def benchmarks(runs: Sequence[TrainingRun]) -> list[str]:
    """The names of the benchmarks that the runs were evaluated on, in the order of their logs."""
    keys = dict.fromkeys(key for run in runs for line in run.lines for key in line)
    return [
        key.removesuffix(_ACCURACY) for key in keys if key.endswith(_ACCURACY) and _intervals_of(key) <= keys.keys()
    ]


def of_figures(runs: Sequence[TrainingRun], chosen: dict[str, Figure]) -> list[Chart]:
    """A chart for each of these figures that a run has."""
    drawn = []
    for name, figure in chosen.items():
        curves = [_curve(run, index, name, figure.noisy) for index, run in enumerate(runs)]
        highest = max((value for curve in curves for _, value in curve.points), default=0.0)
        drawn += _charts([(figure.title, curves)], figure.words, 1.05 * highest if figure.linear else None)
    return drawn


def others(runs: Sequence[TrainingRun]) -> dict[str, Figure]:
    """The figures of the logs that have no place of their own, such as those of somebody's own `on_eval`."""
    placed = {*_NO_FIGURES, _TRAINING, _VALIDATION, *LEARNING, *SPEED}
    for name in benchmarks(runs):
        placed |= {f"{name}{_ACCURACY}", *_intervals_of(f"{name}{_ACCURACY}")}
    keys = dict.fromkeys(key for run in runs for line in run.lines for key in line if key not in placed)
    return {key: Figure(key.replace("_", " "), noisy=True) for key in list(keys)[:_MOST_OTHERS]}


def accuracy_rows(run: TrainingRun, name: str) -> list[dict[str, float]]:
    """The accuracies of a run on a benchmark, by steps, each with its interval and n."""
    key = f"{name}{_ACCURACY}"
    keys = {"step": "step", "accuracy": key, "low": f"{name}{_LOW}", "high": f"{name}{_HIGH}", "n": f"{name}{_N}"}
    lines = [line for line in run.lines if set(keys.values()) <= line.keys()]
    return [
        {short: line[long] for short, long in keys.items()} for line in sorted(lines, key=lambda line: line["step"])
    ]


def _intervals_of(key: str) -> set[str]:
    name = key.removesuffix(_ACCURACY)
    return {f"{name}{_LOW}", f"{name}{_HIGH}", f"{name}{_N}"}


def _curve(run: TrainingRun, color: int, name: str, noisy: bool = False) -> Curve:
    return Curve(run.name, color, run.points(name), noisy=noisy)


def _named(curve: Curve, name: str, color: int, dashed: bool = False) -> Curve:
    return Curve(name, color, curve.points, noisy=curve.noisy, dashed=dashed)


def _accuracy(run: TrainingRun, color: int, name: str) -> Curve:
    rows = accuracy_rows(run, name)
    points = [(row["step"], row["accuracy"]) for row in rows]
    return Curve(run.name, color, points, [(row["low"], row["high"]) for row in rows])


def _charts(
    titled: Sequence[tuple[str, Sequence[Curve]]], words: Callable[[float], str], top: float | None = None
) -> list[Chart]:
    """The charts that have anything to show."""
    return [
        Chart(title, line_chart(curves, title, words, top))
        for title, curves in titled
        if any(curve.points for curve in curves)
    ]
