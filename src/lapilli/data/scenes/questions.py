"""Questions about a scene whose answers follow from its facts, by type.

Every function below yields questions of one type, each with exactly one right answer. `ask` draws among them so that
answers are as evenly distributed as the scene allows, so that guessing rarely helps.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from lapilli.data.scenes.describe import with_article
from lapilli.data.scenes.scene import CELL, Scene, Thing
from lapilli.data.scenes.vocabulary import COLORS, PHRASES, PLURALS, SHAPES

BESIDE = 14.0
"""The distance in pixels from which a thing counts as beside, above or below another."""

EDGE = 8.0
"""The pixels by which the thing nearest to an edge must be nearer than the next one."""


@dataclass(frozen=True)
class Question:
    """A question of one of `TYPES`, or of type "detail", whose answer is a description, and its one right answer."""

    type: str
    text: str
    answer: str


def ask(scene: Scene, kind: str, rng: random.Random) -> Question | None:
    """Draw a question of this type, or None where the scene allows none: first the answer, then its question."""
    candidates = list(TYPES[kind](scene, rng))
    if not candidates:
        return None
    answer = rng.choice(sorted({question.answer for question in candidates}))
    return rng.choice([question for question in candidates if question.answer == answer])


def snapped(scene: Scene) -> Scene:
    """Return the scene as its description gives it: centres in the middle of their cells, two exact sizes.

    Questions about it are those that a reader of the description can answer.
    """

    def snap(thing: Thing) -> Thing:
        row, column = divmod(thing.cell, 3)
        radius = 14.0 if thing.size == "large" else 8.5
        return replace(thing, x=(column + 0.5) * CELL, y=(row + 0.5) * CELL, radius=radius)

    return replace(scene, things=tuple(snap(thing) for thing in scene.things))


def references(scene: Scene, thing: Thing, without: str = "") -> list[str]:
    """Return the shortest phrases that mean this thing and no other, without the attribute `without`."""
    for attributes in (("shape",), ("color",)), (("color", "shape"), ("size", "shape"), ("texture", "shape")):
        phrases = [
            _phrase(thing, chosen)
            for chosen in attributes
            if without not in chosen
            and not (thing.shape == "card" and {"size", "texture"} & set(chosen))
            and not (thing.texture == "plain" and "texture" in chosen)
            and scene.alike(thing, *chosen) == 1
        ]
        if phrases:
            return phrases
    return []


def _phrase(thing: Thing, attributes: tuple[str, ...]) -> str:
    words = [getattr(thing, name) for name in ("size", "texture", "color") if name in attributes]
    return " ".join(["the", *words, thing.shape if "shape" in attributes else "object"])


COLOR = ("What color is {}?", "Which color does {} have?")


def _color(scene: Scene, rng: random.Random) -> Iterator[Question]:
    for thing in scene.things:
        name = rng.choice([*references(scene, thing, without="color"), f"the object {PHRASES[thing.place]}"])
        yield Question("color", rng.choice(COLOR).format(name), thing.color)


SHAPE = ("What shape is {}?", "Which shape does {} have?")


def _shape(scene: Scene, rng: random.Random) -> Iterator[Question]:
    for thing in scene.things:
        name = rng.choice([*references(scene, thing, without="shape"), f"the object {PHRASES[thing.place]}"])
        yield Question("shape", rng.choice(SHAPE).format(name), thing.shape)


def _counting(scene: Scene, rng: random.Random) -> Iterator[Question]:
    wording = rng.choice(("How many {} are there?", "How many {} do you see?"))
    yield Question("counting", wording.format("objects"), str(len(scene.things)))
    for color in COLORS:
        count = sum(thing.color == color for thing in scene.things)
        if count or rng.random() < 0.2:
            yield Question("counting", wording.format(f"{color} objects"), str(count))
    for shape in SHAPES:
        count = sum(thing.shape == shape for thing in scene.things)
        if count or rng.random() < 0.2:
            yield Question("counting", wording.format(PLURALS[shape]), str(count))


EXISTENCE = ("Is there {}?", "Do you see {}?")


def _existence(scene: Scene, rng: random.Random) -> Iterator[Question]:
    """Half of the absent combinations consist of a color and a shape that both occur in the scene."""
    present = {(thing.color, thing.shape) for thing in scene.things}
    colors, shapes = sorted({color for color, _ in present}), sorted({shape for _, shape in present})
    mixed = sorted({(color, shape) for color in colors for shape in shapes} - present)
    foreign = sorted({(color, shape) for color in COLORS for shape in SHAPES} - present)
    absent = rng.choice(mixed if mixed and rng.random() < 0.5 else foreign)
    wording = rng.choice(EXISTENCE)
    for pair, answer in ((rng.choice(sorted(present)), "yes"), (absent, "no")):
        yield Question("existence", wording.format(with_article(" ".join(pair))), answer)
    for shape, answer in ((rng.choice(shapes), "yes"), (rng.choice(sorted(set(SHAPES) - set(shapes))), "no")):
        yield Question("existence", wording.format(with_article(shape)), answer)


POSITION = ("Where is {}?", "In which place is {}?")


def _position(scene: Scene, rng: random.Random) -> Iterator[Question]:
    for thing in scene.things:
        for name in references(scene, thing):
            yield Question("position", rng.choice(POSITION).format(name), PHRASES[thing.place])


def _spatial(scene: Scene, rng: random.Random) -> Iterator[Question]:
    wordings = ("Where is {} relative to {}?", "On which side of {1} is {0}?", "Seen from {1}, where is {0}?")
    for first in scene.things:
        for second in scene.things:
            answer, names = relation(first, second), references(scene, first)
            others = references(scene, second)
            if first is not second and answer and names and others:
                wording = rng.choice(wordings)
                yield Question("spatial", wording.format(rng.choice(names), rng.choice(others)), answer)


def relation(first: Thing, second: Thing) -> str | None:
    """Return the side of `second` on which `first` lies, where a direction clearly prevails."""
    across, down = first.x - second.x, first.y - second.y
    if abs(across) >= BESIDE and abs(down) <= 0.6 * abs(across):
        return "left" if across < 0 else "right"
    if abs(down) >= BESIDE and abs(across) <= 0.6 * abs(down):
        return "above" if down < 0 else "below"
    return None


READING = ("What is printed on {}?", "What does {} say?", "Which character is on {}?")


def _reading(scene: Scene, rng: random.Random) -> Iterator[Question]:
    cards = [thing for thing in scene.things if thing.shape == "card"]
    for card in cards:
        names = ["the card"] if len(cards) == 1 else [f"the card {PHRASES[card.place]}"]
        if sum(other.color == card.color for other in cards) == 1:
            names.append(f"the {card.color} card")
        wording = rng.choice(READING)
        yield Question("reading", wording.format(rng.choice(names)), card.character)


def _comparison(scene: Scene, rng: random.Random) -> Iterator[Question]:
    """Compare sizes, numbers and colors; each kind only where some questions have the answer yes and some no."""
    for compare in (_compare_sizes, _compare_numbers, _compare_colors):
        questions = list(compare(scene, rng))
        for answer in ("yes", "no"):
            fitting = [question for question in questions if question.answer == answer]
            if fitting and len(fitting) < len(questions):
                yield rng.choice(fitting)


def _pairs(scene: Scene, without: str) -> Iterator[tuple[Thing, str, Thing, str]]:
    """Yield every ordered pair of things that a phrase can single out, with a phrase for each."""
    things = [(thing, names) for thing in scene.things if (names := references(scene, thing, without))]
    for first, names in things:
        for second, others in things:
            if first is not second:
                yield first, names[0], second, others[0]


def _compare_sizes(scene: Scene, rng: random.Random) -> Iterator[Question]:
    """Compare the radii: a star is as large as the circle that its points lie on."""
    word, larger = rng.choice((("larger", True), ("smaller", False)))
    for first, name, second, other in _pairs(scene, without="size"):
        if first.size != second.size and "card" not in (first.shape, second.shape):
            answer = "yes" if (first.radius > second.radius) == larger else "no"
            yield Question("comparison", f"Is {name} {word} than {other}?", answer)


SAME_COLOR = "Do {} and {} have the same color?"


def _compare_colors(scene: Scene, rng: random.Random) -> Iterator[Question]:
    for first, name, second, other in _pairs(scene, without="color"):
        answer = "yes" if first.color == second.color else "no"
        yield Question("comparison", SAME_COLOR.format(name, other), answer)


def _compare_numbers(scene: Scene, rng: random.Random) -> Iterator[Question]:
    counts = Counter(thing.color for thing in scene.things)
    colors = sorted({*counts, rng.choice(list(COLORS))})
    for first in colors:
        for second in colors:
            if counts[first] != counts[second]:
                answer = "yes" if counts[first] > counts[second] else "no"
                yield Question("comparison", f"Are there more {first} objects than {second} objects?", answer)


def _reasoning(scene: Scene, rng: random.Random) -> Iterator[Question]:
    """Two steps: take some things away and count the rest, or find the outermost thing and name an attribute of it.

    Two of three questions are of the first kind: the best guess without the picture is then no better than the best
    constant answer.
    """
    if rng.random() < 0.67:
        yield from _remaining(scene, rng)
    else:
        yield from _at_the_edge(scene, rng)


def _remaining(scene: Scene, rng: random.Random) -> Iterator[Question]:
    wordings = ("How many objects would be left without the {}?", "How many objects remain if you take away the {}?")
    for color in sorted({thing.color for thing in scene.things}):
        remaining = sum(thing.color != color for thing in scene.things)
        yield Question("reasoning", rng.choice(wordings).format(f"{color} ones"), str(remaining))
    for shape in sorted({thing.shape for thing in scene.things}):
        remaining = sum(thing.shape != shape for thing in scene.things)
        yield Question("reasoning", rng.choice(wordings).format(PLURALS[shape]), str(remaining))


def _at_the_edge(scene: Scene, rng: random.Random) -> Iterator[Question]:
    for edge, axis, sign in (("left", "x", 1), ("right", "x", -1), ("top", "y", 1), ("bottom", "y", -1)):
        ranked = sorted(scene.things, key=lambda thing: sign * getattr(thing, axis))
        if len(ranked) > 1 and sign * (getattr(ranked[1], axis) - getattr(ranked[0], axis)) >= EDGE:
            wording = rng.choice((f"nearest the {edge} edge", f"closest to the {edge} edge"))
            if rng.random() < 0.5:
                yield Question("reasoning", f"What color is the object {wording}?", ranked[0].color)
            else:
                yield Question("reasoning", f"What shape is the object {wording}?", ranked[0].shape)


TYPES: dict[str, Callable[[Scene, random.Random], Iterator[Question]]] = {
    "color": _color,
    "shape": _shape,
    "counting": _counting,
    "existence": _existence,
    "position": _position,
    "spatial": _spatial,
    "reading": _reading,
    "comparison": _comparison,
    "reasoning": _reasoning,
}
"""Every type of question, in the order in which tables show them."""
