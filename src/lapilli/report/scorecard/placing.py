"""Placement of names beside the points of a chart without overlap: each in the free place nearest to its point."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Line = tuple[tuple[float, float], tuple[float, float]]
"""A straight line between two points in pixels."""

_Boxes = NDArray[np.float64]  # (box, left top right bottom)
_Ends = NDArray[np.float64]  # (line, x y)

_AROUND = 16
_REACH = (11.0, 15.0, 20.0, 28.0, 38.0, 50.0, 64.0, 80.0, 100.0, 125.0, 155.0, 190.0)
_ROUNDS = 5
_MARK = 7.0  # half a mark's side
_WIDE, _NARROW = frozenset("mwMWABCDGHKNOPQRUVXY×@%&"), frozenset("ijlftr.,:;'|!()[] I")


@dataclass(frozen=True)
class Box:
    """An upright rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """The point of the box that is nearest to a point."""
        return min(max(x, self.left), self.right), min(max(y, self.top), self.bottom)


def width_of(words: str, size: float) -> float:
    """The approximate width of words in a sans-serif of `size` pixels, rather too wide than too narrow."""
    return size * sum(0.86 if c in _WIDE else 0.34 if c in _NARROW else 0.585 for c in words)


def placed(
    points: Sequence[tuple[float, float]], names: Sequence[str], size: float, within: Box, lines: Sequence[Line] = ()
) -> list[Box]:
    """Return a box for each name, near its point and inside `within`, clear of the other names and of all points.

    A box covers one of `lines` only where no other place is nearby. Places are chosen one after the other, the most
    crowded point first, and then again with all others in place until none moves. The result is deterministic.
    """
    choices = [_candidates(point, name, size) for point, name in zip(points, names, strict=True)]
    costs = [_alone(boxes, point, points, within, lines) for boxes, point in zip(choices, points, strict=True)]
    chosen: dict[int, int] = {}
    for _ in range(_ROUNDS):
        before = dict(chosen)
        for i in sorted(range(len(points)), key=lambda i: (-_crowd(points, i), i)):
            others = [j for j in chosen if j != i]
            boxes = np.array([choices[j][chosen[j]] for j in others]).reshape(-1, 4)
            ends = np.array([points[j] for j in others]).reshape(-1, 2)
            chosen[i] = int((costs[i] + _beside(choices[i], points[i], boxes, ends)).argmin())
        if chosen == before:
            break
    return [Box(*map(float, choices[i][chosen[i]])) for i in range(len(points))]


def _crowd(points: Sequence[tuple[float, float]], index: int) -> float:
    here = points[index]
    return sum(1.0 / (20.0 + math.dist(here, point)) for point in points)


def _candidates(point: tuple[float, float], name: str, size: float) -> _Boxes:
    """Boxes around a point, nearest first, (box, left top right bottom)."""
    wide, high = width_of(name, size), size * 1.15
    angles = 2 * np.pi * np.arange(_AROUND) / _AROUND
    reach, angle = (grid.ravel() for grid in np.meshgrid(_REACH, angles, indexing="ij"))
    x = point[0] + reach * np.cos(angle) + (np.cos(angle) - 1) / 2 * wide
    y = point[1] + reach * np.sin(angle) + (np.sin(angle) - 1) / 2 * high
    return np.stack([x, y, x + wide, y + high], axis=1)


def _alone(
    boxes: _Boxes, point: tuple[float, float], points: Sequence[tuple[float, float]], within: Box, lines: Sequence[Line]
) -> NDArray[np.float64]:
    """The cost of each place by itself: its distance, its part outside the chart, the points and lines it covers."""
    edge = np.array([within.left, within.top, within.right, within.bottom])
    outside = np.maximum(0.0, (edge - boxes) * (1, 1, -1, -1)).sum(1)
    aside = np.abs(boxes.reshape(-1, 2, 2).mean(1) - point) / (boxes[:, 2:] - boxes[:, :2])
    away = np.repeat(_REACH, _AROUND) + 4.0 * np.minimum(aside, 0.5).prod(1)  # beside, above or below rather than askew
    marks = np.array(points)
    covered = _overlaps(boxes, np.concatenate([marks - _MARK, marks + _MARK], axis=1)).sum(1)
    crossed = np.zeros(len(boxes))
    if lines:
        starts, ends = np.array(lines).transpose(1, 0, 2)
        crossed = _meets(starts[None], ends[None], boxes[:, None]).sum(1)
    return np.asarray(away + 60.0 * outside + 5.0 * covered + 9.0 * crossed)


def _beside(boxes: _Boxes, point: tuple[float, float], others: _Boxes, points: _Ends) -> NDArray[np.float64]:
    """The cost of each place beside the other names: covered names, lines that cross or run through a name."""
    a, b = np.array(point), _nearest(boxes, point)[:, None]
    c = points[None]
    d = np.clip(points, others[:, :2], others[:, 2:])[None]
    crossed = (_side(a, b, c) * _side(a, b, d) < 0) & (_side(c, d, a) * _side(c, d, b) < 0)
    under = _meets(c, d, boxes[:, None]).astype(float) + _meets(a, b, others[None])
    return np.asarray((9.0 * _overlaps(boxes, others) + 40.0 * crossed + 60.0 * under).sum(1))


def _nearest(boxes: _Boxes, point: tuple[float, float]) -> _Ends:
    return np.asarray(np.clip(np.array(point), boxes[:, :2], boxes[:, 2:]))


def _overlaps(boxes: _Boxes, others: _Boxes) -> NDArray[np.float64]:
    """The area that both cover, (box, other)."""
    first, second = boxes[:, None], others[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    return np.asarray(np.maximum(sides, 0.0).prod(-1))


def _meets(starts: _Ends, ends: _Ends, boxes: _Boxes) -> NDArray[np.bool_]:
    """Whether a line runs through a box: whether it is within both its bounds at once (the slab method)."""
    along = ends - starts
    along = np.where(np.abs(along) < 1e-9, 1e-9, along)
    to_low, to_high = (boxes[..., :2] - starts) / along, (boxes[..., 2:] - starts) / along
    into, out = np.minimum(to_low, to_high).max(-1), np.maximum(to_low, to_high).min(-1)
    return np.asarray(np.maximum(into, 0.0) < np.minimum(out, 1.0))


def _side(a: _Ends, b: _Ends, c: _Ends) -> NDArray[np.float64]:
    """The side of the line from a to b on which a point c lies, as a sign."""
    along, aside = b - a, c - a
    return np.asarray(along[..., 0] * aside[..., 1] - along[..., 1] * aside[..., 0])
