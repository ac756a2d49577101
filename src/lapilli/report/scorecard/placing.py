"""Names beside the points of a chart, none upon another: each takes the free place that is nearest to its point."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_AROUND = 24
_REACH = (9.0, 14.0, 20.0, 28.0, 38.0, 50.0, 64.0, 80.0, 100.0, 125.0, 155.0, 190.0)
_ROUNDS = 4
_WIDE, _NARROW = frozenset("mwMWABCDGHKNOPQRUVXY×@%&"), frozenset("ijlftr.,:;'|!()[] I")


@dataclass(frozen=True)
class Box:
    """An upright rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: "Box") -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return width * height if width > 0 and height > 0 else 0.0

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """The point of the box that is nearest to a point."""
        return min(max(x, self.left), self.right), min(max(y, self.top), self.bottom)


def width_of(words: str, size: float) -> float:
    """About the width of words in a sans-serif of `size` pixels, rather too wide than too narrow."""
    return size * sum(0.86 if c in _WIDE else 0.34 if c in _NARROW else 0.585 for c in words)


def placed(points: Sequence[tuple[float, float]], names: Sequence[str], size: float, within: Box) -> list[Box]:
    """A box for each name, near its point and inside `within`, clear of the other names and of all points.

    Places are chosen one after the other, the most crowded point first, and then again with all others in their
    places. Always the same for the same points.
    """
    marks = [Box(x - 6.5, y - 6.5, x + 6.5, y + 6.5) for x, y in points]
    order = sorted(range(len(points)), key=lambda i: (-_crowd(points, i), i))
    choices = [_candidates(point, name, size) for point, name in zip(points, names, strict=True)]
    found: dict[int, Box] = {}
    for _ in range(_ROUNDS):
        for i in order:
            others = {j: box for j, box in found.items() if j != i}
            cost = _near(choices[i], points[i], within)
            cost += sum((9.0 * _overlaps(choices[i], box) for box in others.values()), np.zeros(len(cost)))
            cost += sum((5.0 * _overlaps(choices[i], mark) for mark in marks), np.zeros(len(cost)))
            for j, box in others.items():
                cost += _tangled(choices[i], points[i], points[j], box)
            found[i] = Box(*map(float, choices[i][int(cost.argmin())]))
    return [found[i] for i in range(len(points))]


def _crowd(points: Sequence[tuple[float, float]], index: int) -> float:
    here = points[index]
    return sum(1.0 / (20.0 + math.dist(here, point)) for point in points)


def _candidates(point: tuple[float, float], name: str, size: float) -> NDArray[np.float64]:
    """Places around a point, nearest first: (place, left top right bottom)."""
    wide, high = width_of(name, size), size * 1.15
    turns = 2 * np.pi * np.arange(_AROUND) / _AROUND
    reach, turn = (grid.ravel() for grid in np.meshgrid(_REACH, turns, indexing="ij"))
    x = point[0] + reach * np.cos(turn) + (np.cos(turn) - 1) / 2 * wide
    y = point[1] + reach * np.sin(turn) + (np.sin(turn) - 1) / 2 * high
    return np.stack([x, y, x + wide, y + high], axis=1)


def _nearest(boxes: NDArray[np.float64], point: tuple[float, float]) -> NDArray[np.float64]:
    return np.stack([np.clip(point[0], boxes[:, 0], boxes[:, 2]), np.clip(point[1], boxes[:, 1], boxes[:, 3])], axis=1)


def _near(boxes: NDArray[np.float64], point: tuple[float, float], within: Box) -> NDArray[np.float64]:
    """How far each box is from its point, and much more for each pixel that it reaches out of the chart."""
    edge = np.array([within.left, within.top, within.right, within.bottom])
    outside = np.maximum(0.0, (edge - boxes) * (1, 1, -1, -1)).sum(1)
    away = np.hypot(*(_nearest(boxes, point) - point).T)
    return np.asarray(away + 60.0 * outside)


def _overlaps(boxes: NDArray[np.float64], other: Box) -> NDArray[np.float64]:
    width = np.minimum(boxes[:, 2], other.right) - np.maximum(boxes[:, 0], other.left)
    height = np.minimum(boxes[:, 3], other.bottom) - np.maximum(boxes[:, 1], other.top)
    return np.maximum(width, 0.0) * np.maximum(height, 0.0)


def _tangled(
    boxes: NDArray[np.float64], point: tuple[float, float], other_point: tuple[float, float], other: Box
) -> NDArray[np.float64]:
    """What it costs that a line to a name crosses another's line, or that either runs through the other's name."""
    a, b = np.array([point]), _nearest(boxes, point)
    c, d = np.array([other_point]), np.array([other.nearest(*other_point)])
    crossed = (_side(a, b, c) * _side(a, b, d) < 0) & (_side(c, d, a) * _side(c, d, b) < 0)
    steps = np.linspace(0.0, 1.0, 12)[:, None, None]
    theirs, own = c + steps * (d - c), a + steps * (b - a)
    inside = ((theirs > boxes[:, :2]) & (theirs < boxes[:, 2:])).all(2).any(0)
    low, high = (other.left, other.top), (other.right, other.bottom)
    through = ((own > low) & (own < high)).all(2).any(0)
    return 40.0 * crossed + 60.0 * inside + 60.0 * through


def _side(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> NDArray[np.float64]:
    """On which side of the line from a to b a point c lies, by the sign."""
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
