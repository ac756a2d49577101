"""Answers questions about things, and reads descriptions back, by looking at nothing but the words.

Written without the generator's code: the words and the nine places are spelled out here again.
"""

import math
import re
from dataclasses import dataclass

COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
SHAPES = {name: name + "s" for name in ("circle", "square", "triangle", "star", "ring", "card")} | {"cross": "crosses"}
PLACES = {
    "top-left": (16, 16), "top": (48, 16), "top-right": (80, 16),
    "left": (16, 48), "center": (48, 48), "right": (80, 48),
    "bottom-left": (16, 80), "bottom": (48, 80), "bottom-right": (80, 80),
}  # fmt: skip
"""The middle of every cell of a picture of 96 x 96 pixels."""
SAID = {
    "top-left": "in the top-left corner", "top": "at the top", "top-right": "in the top-right corner",
    "left": "on the left", "center": "in the center", "right": "on the right",
    "bottom-left": "in the bottom-left corner", "bottom": "at the bottom", "bottom-right": "in the bottom-right corner",
}  # fmt: skip
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")

_COLOR = "|".join(COLORS)
_NOUN = re.compile(
    rf"(?:(?P<size>small|large) )?(?:(?P<texture>striped|dotted) )?(?P<color>{_COLOR}) "
    rf"(?P<shape>{'|'.join(SHAPES)})(?: with the (?P<kind>letter|digit) (?P<character>[A-Z0-9]))?\b"
)
_PLACE = re.compile("|".join(sorted(SAID.values(), key=len, reverse=True)), re.IGNORECASE)


@dataclass(frozen=True)
class Fact:
    """A thing as the oracle sees it; `x`, `y` and `radius` in pixels."""

    color: str
    shape: str
    size: str
    texture: str
    character: str
    x: float
    y: float
    radius: float

    @property
    def place(self):
        """The cell whose middle is nearest."""
        return min(PLACES, key=lambda name: math.dist(PLACES[name], (self.x, self.y)))


def facts(things):
    """The facts of the generator's things, or of rows of scenes.jsonl."""
    names = ("color", "shape", "size", "texture", "character", "x", "y", "radius")
    read = dict.__getitem__ if things and isinstance(things[0], dict) else getattr
    return [Fact(**{name: read(thing, name) for name in names}) for thing in things]


def read_description(text):
    """The facts that a full description tells, in its order, each in the middle of its place."""
    nouns, places = list(_NOUN.finditer(text)), [found.group().lower() for found in _PLACE.finditer(text)]
    assert len(nouns) == len(places)
    told = {said: place for place, said in SAID.items()}
    return [_told(noun, told[place]) for noun, place in zip(nouns, places, strict=True)]


def read_nouns(text):
    """The nouns of a text as dicts of their parts; what is not said is None."""
    return [found.groupdict() for found in _NOUN.finditer(text)]


def _told(noun, place):
    if noun["shape"] == "card":
        assert (noun["kind"] == "digit") == noun["character"].isdigit()
    size = noun["size"] or "large"
    x, y = PLACES[place]
    return Fact(
        noun["color"], noun["shape"], size, noun["texture"] or "plain", noun["character"] or "",
        float(x), float(y), {"small": 8.5, "large": 14.0}[size],
    )  # fmt: skip


def the_one(scene, name):
    """The only thing that a name such as "the striped ring" or "the object at the top" fits."""
    if found := re.fullmatch(r"the (object|card) ((?:in|at|on) .+)", name):
        fitting = [f for f in scene if SAID[f.place] == found[2] and found[1] in ("object", f.shape)]
    else:
        words = name.removeprefix("the ").split()
        fitting = [f for f in scene if set(words) - {"object"} <= {f.color, f.shape, f.size, f.texture}]
    assert len(fitting) == 1, name
    return fitting[0]


def answer(scene, kind, question):
    """The right answer to a question of this type."""
    for pattern, solve in _RULES[kind]:
        if found := re.fullmatch(pattern, question):
            return solve(scene, *found.groups())
    raise AssertionError(f"not a question of type {kind}: {question}")


def _kind_of_things(scene, words):
    """The things that a plural means: "objects", "red objects", "stars", "red ones"."""
    if words == "objects":
        return list(scene)
    if found := re.fullmatch(rf"({_COLOR}) (?:objects|ones)", words):
        return [f for f in scene if f.color == found[1]]
    shape = next(shape for shape, plural in SHAPES.items() if plural == words)
    return [f for f in scene if f.shape == shape]


def _exists(scene, words):
    wanted = words.split()
    assert 1 <= len(wanted) <= 2
    assert wanted[-1] in SHAPES
    return _yes(any(f.shape == wanted[-1] and wanted[0] in (f.color, f.shape) for f in scene))


def _side(scene, name, other):
    """The direction from `other` to the thing, which must be clear: less than 31 degrees off the axis."""
    one, two = the_one(scene, name), the_one(scene, other)
    across, up = one.x - two.x, two.y - one.y
    assert math.hypot(across, up) >= 14
    degrees = math.degrees(math.atan2(up, across)) % 360
    side = round(degrees / 90)
    assert abs(degrees - 90 * side) < 31
    return ("right", "above", "left", "below", "right")[side]


def _size(scene, name, word, other):
    one, two = the_one(scene, name), the_one(scene, other)
    assert one.size != two.size
    assert (one.size == "large") == (one.radius > two.radius)
    return _yes((one.size == "large") == (word == "larger"))


def _more(scene, one, other):
    counts = [len(_kind_of_things(scene, words)) for words in (one, other)]
    assert counts[0] != counts[1]
    return _yes(counts[0] > counts[1])


def _outermost(scene, attribute, edge):
    """The thing nearest an edge, whether its middle or its nearest point is asked about."""
    distance = {"left": lambda f: f.x, "right": lambda f: 96 - f.x, "top": lambda f: f.y, "bottom": lambda f: 96 - f.y}
    by_middle = min(scene, key=distance[edge])
    by_outline = min(scene, key=lambda f: distance[edge](f) - f.radius)
    assert by_middle is by_outline
    return getattr(by_middle, "color" if attribute == "color" else attribute)


def _yes(truth):
    return "yes" if truth else "no"


_RULES = {
    "color": [
        (r"What color is (.+)\?", lambda scene, name: the_one(scene, name).color),
        (r"Which color does (.+) have\?", lambda scene, name: the_one(scene, name).color),
    ],
    "shape": [
        (r"What shape is (.+)\?", lambda scene, name: the_one(scene, name).shape),
        (r"Which shape does (.+) have\?", lambda scene, name: the_one(scene, name).shape),
    ],
    "counting": [
        (r"How many (.+) (?:are there|do you see)\?", lambda scene, words: str(len(_kind_of_things(scene, words)))),
    ],
    "existence": [(r"(?:Is there|Do you see) an? (.+)\?", _exists)],
    "position": [(r"(?:Where|In which place) is (.+)\?", lambda scene, name: SAID[the_one(scene, name).place])],
    "spatial": [
        (r"Where is (.+) relative to (.+)\?", _side),
        (r"On which side of (.+) is (.+)\?", lambda scene, other, name: _side(scene, name, other)),
        (r"Seen from (.+), where is (.+)\?", lambda scene, other, name: _side(scene, name, other)),
    ],
    "reading": [
        (r"What is printed on (.+)\?", lambda scene, name: the_one(scene, name).character),
        (r"What does (.+) say\?", lambda scene, name: the_one(scene, name).character),
        (r"Which character is on (.+)\?", lambda scene, name: the_one(scene, name).character),
    ],
    "comparison": [
        (r"Is (.+) (larger|smaller) than (.+)\?", _size),
        (r"Are there more (.+) than (.+)\?", _more),
        (
            r"Do (.+) and (.+) have the same color\?",
            lambda scene, one, other: _yes(the_one(scene, one).color == the_one(scene, other).color),
        ),
    ],
    "reasoning": [
        (
            r"How many objects (?:would be left without|remain if you take away) the (.+)\?",
            lambda scene, words: str(len(scene) - len(_kind_of_things(scene, words))),
        ),
        (r"What (color|shape) is the object (?:nearest|closest to) the (\w+) edge\?", _outermost),
    ],
}
