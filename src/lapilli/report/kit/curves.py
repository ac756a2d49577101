"""Curves before they are drawn: smoothed, thinned out, and with the axis that suits them."""

from collections.abc import Sequence

from lapilli.report.kit.svg import Axis


def half_life(steps: Sequence[float]) -> int:
    """The half-life of a smoothed curve in steps: a fiftieth of the run, at least one line of its log."""
    between = (steps[-1] - steps[0]) / max(1, len(steps) - 1)
    return max(1, round(max((steps[-1] - steps[0]) / 50, between)))


def smoothed(points: Sequence[tuple[float, float]], half_life: float) -> list[tuple[float, float]]:
    """The weighted mean around each point (step, value): a point at distance d has the weight 0.5 ** (d / half_life).

    Both sides count, so that a falling line is not drawn late. A constant stays constant from the first step on.
    """
    before = _faded_sums(points, half_life)
    after = _faded_sums([(-step, value) for step, value in reversed(points)], half_life)[::-1]
    pairs = zip(points, before, after, strict=True)
    return [(p[0], (b[0] + a[0] - p[1]) / (b[1] + a[1] - 1.0)) for p, b, a in pairs]


def _faded_sums(points: Sequence[tuple[float, float]], half_life: float) -> list[tuple[float, float]]:
    """The sums of weighted values and of weights from the first point up to each point."""
    total, weight, sums = 0.0, 0.0, []
    for index, (step, value) in enumerate(points):
        fade = 0.5 ** ((step - points[index - 1][0]) / half_life) if index else 0.0
        total, weight = fade * total + value, fade * weight + 1.0
        sums.append((total, weight))
    return sums


def thinned(points: Sequence[tuple[float, float]], buckets: int = 300) -> list[tuple[float, float]]:
    """The lowest and the highest point of each bucket, so that spikes survive; few points are all returned."""
    if len(points) <= 2 * buckets:
        return list(points)
    extremes = []
    for index in range(buckets):
        part = points[index * len(points) // buckets : (index + 1) * len(points) // buckets]
        extremes += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return extremes


def upright_axis(values: Sequence[float], floor: float, top: float) -> Axis:
    """The upright axis for these values: from 0, or logarithmic where they span more than a factor of 15."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if low > 0 and high / low > 15:
        return Axis(low / 1.2, high * 1.1, floor, top, log=True)
    return Axis(min(0.0, 1.05 * low), max(0.0, 1.05 * high) or (0.0 if low < 0 else 1.0), floor, top)
