"""The examples: each method's map over its picture, cell by cell, in the two colors of an explanation."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from lapilli.report.kit.pictures import data_uri
from lapilli.report.scorecard import words
from lapilli.report.scorecard.card import Card, Method, number

_FOR, _AGAINST = (213, 94, 0), (0, 114, 178)
_STRONGEST = 0.82
_FAINTEST = 0.04  # of the largest magnitude: below it a cell shows the picture alone
_STRIP = 6


@dataclass(frozen=True)
class Tile:
    """One method's map; `overlay` is a picture with a pixel a cell, stretched by the page."""

    method: Method
    gap: str
    overlay: str
    words: str


@dataclass(frozen=True)
class Example:
    """A picture with its question, the maps beside it and the others.

    case  the scorecard's entry: question, answer, word, why, id
    """

    name: str
    case: Mapping[str, Any]
    strip: tuple[Tile, ...]
    rest: tuple[Tile, ...]
    rows: int
    columns: int
    style: Markup


def examples(card: Card, folder: Path) -> list[Example]:
    """Return the examples in order. Pictures are `data:` URIs or files below `folder`; a missing one stays grey."""
    return [_example(card, row, index, folder) for index, row in enumerate(card.rows("examples"))]


def _example(card: Card, row: Mapping[str, Any], index: int, folder: Path) -> Example:
    name = f"seen-{card.index}-{index}"
    maps, gaps = row.get("maps") or {}, row.get("gaps") or {}
    count = max((len(values) for values in maps.values()), default=0)
    rows, columns = card.grid if card.grid and card.grid[0] * card.grid[1] == count else _square(count)
    methods = [m for m in _order(card, gaps) if len(maps.get(m.name) or ()) == rows * columns]
    tiles = [_tile(method, maps[method.name], number(gaps.get(method.name)), columns) for method in methods]
    uri = data_uri(str(row["picture"]), folder) if row.get("picture") else None
    style = Markup(f'.{name}{{background-image:url("{uri}")}}') if uri else Markup("")
    case = {"question": "", "answer": "", "word": "", "why": "", "id": "", **row}
    strip, rest = tuple(tiles[:_STRIP]), tuple(tiles[_STRIP:])
    return Example(name, case, strip=strip, rest=rest, rows=rows, columns=columns, style=style)


def _square(count: int) -> tuple[int, int]:
    side = max(1, round(count**0.5))
    return (side, side) if side * side == count else (1, max(1, count))


def _order(card: Card, gaps: Mapping[str, Any]) -> list[Method]:
    """Ours, then the others, either by the gap on this picture or, without one, by the primary gap."""
    places = {method.name: place for place, method in enumerate(card.ranked())}

    def rank(method: Method) -> tuple[int, float, int]:
        gap = number(gaps.get(method.name))
        return (0 if method.ours else 1, -gap if gap is not None else 0.0, places[method.name])

    return sorted(card.methods, key=rank)


def _tile(method: Method, values: Sequence[Any], gap: float | None, columns: int) -> Tile:
    weights = np.array([number(value) or 0.0 for value in values]).reshape(-1, columns)
    row, column = np.unravel_index(int(np.abs(weights).argmax()), weights.shape)
    sign = "for" if weights[row, column] > 0 else "against"
    largest = f"its largest weight, {sign} the word, in row {row + 1}, column {column + 1}"
    label = f"Map of {method.name}: {largest if weights.any() else 'it is 0 everywhere'}"
    return Tile(method, words.plain(gap), overlay(weights), label)


def overlay(weights: np.ndarray) -> str:
    """Return a map as a PNG in a `data:` URI, one pixel for each cell.

    The color shows the sign, the opacity the share of the largest magnitude.
    """
    most = np.abs(weights).max(initial=0.0)
    share = np.abs(weights) / most if most > 0 else np.zeros_like(weights)
    pixels = np.zeros((*weights.shape, 4), np.uint8)
    pixels[..., :3] = np.where(weights[..., None] > 0, _FOR, _AGAINST)
    pixels[..., 3] = np.where(share < _FAINTEST, 0, np.round(255 * _STRONGEST * share))
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
