"""The attributes of scenes: colors, shapes, sizes, textures, characters, places; and the withheld combinations.

A *combination* is a color, a shape and a place. About one in eight is withheld from everything that is trained (the
vision encoder, the language model and both stages) and makes up the compositional test split.
"""

from __future__ import annotations

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (246, 214, 50),
    "green": (50, 160, 70),
    "blue": (40, 90, 220),
    "purple": (125, 50, 170),
    "pink": (250, 150, 195),
    "brown": (116, 70, 36),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "card")
SIZES = ("small", "large")
TEXTURES = ("plain", "striped", "dotted")
CHARACTERS = "AEHKMRTXZ234579"

PLACES = ("top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom", "bottom-right")
"""The nine cells of a three by three grid, row by row."""

PHRASES = {
    "top-left": "in the top-left corner",
    "top": "at the top",
    "top-right": "in the top-right corner",
    "left": "on the left",
    "center": "in the center",
    "right": "on the right",
    "bottom-left": "in the bottom-left corner",
    "bottom": "at the bottom",
    "bottom-right": "in the bottom-right corner",
}
"""The phrase for a place inside a sentence."""

PLURALS = {shape: shape + "s" for shape in SHAPES} | {"cross": "crosses"}


def is_withheld(color: str, shape: str, cell: int) -> bool:
    """Whether training never shows this color and shape at this cell (0 to 8, row by row).

    Each color and shape pair is withheld at one or two of the nine cells and seen at the others, so that the test asks
    for a new combination of three parts, each of which was seen with each of the others.
    """
    return (list(COLORS).index(color) + 3 * SHAPES.index(shape) + 5 * cell) % 8 == 0
