"""Describe a scene in various words: full descriptions and shorter captions."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from lapilli.data.scenes.scene import Scene, Thing
from lapilli.data.scenes.vocabulary import PHRASES, PLURALS

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")


def describe(scene: Scene, rng: random.Random, shuffled: bool = False) -> str:
    """Return a full description of the scene, in one of several forms.

    Names every thing with size, texture, color, shape, character and place, in reading order or `shuffled`.
    """
    things = list(scene.things)
    if shuffled:
        rng.shuffle(things)
    else:
        things.sort(key=lambda thing: thing.cell)
    return rng.choice(DESCRIPTIONS)(things, rng)


def caption(scene: Scene, rng: random.Random) -> str:
    """Return a caption: a full description, or a shorter one."""
    return describe(scene, rng) if rng.random() < 0.5 else short_caption(scene, rng)


def short_caption(scene: Scene, rng: random.Random) -> str:
    """Return a sentence that gives only kinds, numbers, or the relation of two things."""
    things = sorted(scene.things, key=lambda thing: thing.cell)
    return rng.choice(CAPTIONS)(things, scene, rng)


def noun(thing: Thing) -> str:
    """Return the thing with all its attributes but its place: "small striped red circle"."""
    if thing.shape == "card":
        kind = "digit" if thing.character.isdigit() else "letter"
        return f"{thing.color} card with the {kind} {thing.character}"
    texture = "" if thing.texture == "plain" else thing.texture + " "
    return f"{thing.size} {texture}{thing.color} {thing.shape}"


def with_article(words: str) -> str:
    """Return the words with "a" or "an" before them."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def listed(parts: Sequence[str]) -> str:
    """Join the parts as in a sentence: one; one and another; one, another and a third."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _one_sentence(things: Sequence[Thing], rng: random.Random) -> str:
    start = rng.choice(("there is ", "the picture shows ", "I see ", ""))
    return _sentence(start + listed([f"{with_article(noun(thing))} {PHRASES[thing.place]}" for thing in things]))


def _place_first(things: Sequence[Thing], rng: random.Random) -> str:
    verb = rng.choice(("there is", "is", "you can see"))
    return " ".join(_sentence(f"{PHRASES[thing.place]} {verb} {with_article(noun(thing))}") for thing in things)


def _thing_first(things: Sequence[Thing], rng: random.Random) -> str:
    verb = rng.choice(("is", "sits", "lies"))
    return " ".join(_sentence(f"{with_article(noun(thing))} {verb} {PHRASES[thing.place]}") for thing in things)


def _counted(things: Sequence[Thing], rng: random.Random) -> str:
    count = f"{NUMBERS[len(things)]} object{'s' if len(things) > 1 else ''}"
    parts = listed([f"{with_article(noun(thing))} {PHRASES[thing.place]}" for thing in things])
    return _sentence(f"{rng.choice(('', 'there are ' if len(things) > 1 else 'there is '))}{count}: {parts}")


DESCRIPTIONS: tuple[Callable[[Sequence[Thing], random.Random], str], ...] = (
    _one_sentence, _place_first, _thing_first, _counted,
)  # fmt: skip


def _brief(things: Sequence[Thing], scene: Scene, rng: random.Random) -> str:
    parts = [with_article(f"{thing.color} {thing.shape}") for thing in things]
    return _sentence(rng.choice(("", "a picture of ", "this is ")) + listed(parts))


def _grouped(things: Sequence[Thing], scene: Scene, rng: random.Random) -> str:
    pairs = Counter((thing.color, thing.shape) for thing in things)
    parts = [
        f"{NUMBERS[count]} {color} {shape if count == 1 else PLURALS[shape]}" for (color, shape), count in pairs.items()
    ]
    return _sentence(listed(parts) + rng.choice(("", f" on a {scene.background} background")))


def _beside(things: Sequence[Thing], scene: Scene, rng: random.Random) -> str:
    if len(things) < 2:
        return _brief(things, scene, rng)
    first, second = rng.sample(list(things), 2)
    word = "to the left of" if first.x < second.x else "to the right of"
    if abs(first.y - second.y) > abs(first.x - second.x):
        word = "above" if first.y < second.y else "below"
    return _sentence(f"{with_article(noun(first))} {word} {with_article(noun(second))}")


def _totals(things: Sequence[Thing], scene: Scene, rng: random.Random) -> str:
    colors = Counter(thing.color for thing in things)
    parts = [f"{NUMBERS[count]} {color}" for color, count in colors.items()]
    return _sentence(f"{NUMBERS[len(things)]} object{'s' if len(things) > 1 else ''}, {listed(parts)}")


CAPTIONS: tuple[Callable[[Sequence[Thing], Scene, random.Random], str], ...] = (_brief, _grouped, _beside, _totals)
