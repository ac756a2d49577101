"""Conversations about a scene whose later questions need the earlier ones: "What color is it?", "And the one above it?"

A later question names no thing. It is about `it`, the thing that the turn before was about, or about the only thing on
one side of it, or compares it with the first one. Its right answer is never stated by the turns before, and asked about
another thing of the scene its words would have another answer, or do not say what is asked for: whoever lacks the turns
before, or the picture, has to guess.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from lapilli.data.scenes.questions import COLOR, POSITION, SHAPE, Question, references, relation
from lapilli.data.scenes.scene import Scene, Thing
from lapilli.data.scenes.vocabulary import PHRASES

FEWEST, MOST = 2, 4
"""Turns of a conversation."""

SIDES = {"left": "left of it", "right": "right of it", "above": "above it", "below": "below it"}
"""The side of a thing on which another lies, in words."""

_ATTRIBUTES = {"color": COLOR, "shape": SHAPE, "position": POSITION}
"""What is asked of a thing, which is the type of the question, and the wordings."""

_NAMED = ("color", "shape", "size", "texture")
"""Attributes that a phrase may name a thing by, beside its place."""


@dataclass(frozen=True)
class _Talk:
    """The state of a conversation.

    first, it  the thing that it began with, and the one that it is about
    attribute  what was asked of it last, which a question without a verb takes up
    stated     what of which thing the turns so far tell, with their right answers
    """

    scene: Scene
    first: Thing
    it: Thing
    attribute: str
    stated: frozenset[tuple[Thing, str]]


_Step: TypeAlias = tuple[Question, _Talk]
"""A question, and the state of the conversation behind it."""


def dialogue(scene: Scene, name: str) -> list[Question]:
    """The questions of a conversation about a scene, two to four, as many as it allows; none where there is no second.

    The same scene and name give the same conversation.
    """
    rng = random.Random(f"{name}/dialogue")
    steps = [_drawn([(list(_first(scene, kind, rng)), 1) for kind in _ATTRIBUTES], rng)]
    while len(steps) < MOST:
        following = [(list(kind(steps[-1][1], rng)), weight) for kind, weight in _LATER.items()]
        if not any(some for some, _ in following):
            break
        steps.append(_drawn(following, rng))
    return [question for question, _ in steps] if len(steps) >= FEWEST else []


def neighbor(scene: Scene, it: Thing, side: str) -> Thing | None:
    """The only thing on this side of `it`; None where there is none, or another may be meant, as one on a slant."""
    meant = [
        thing
        for thing in scene.things
        if thing is not it and relation(thing, it) in (side, None) and _ahead(thing, it, side) > 0
    ]
    return meant[0] if len(meant) == 1 and relation(meant[0], it) == side else None


def _ahead(thing: Thing, it: Thing, side: str) -> float:
    """How far a thing lies in the direction of this side of `it`, in pixels."""
    across, down = thing.x - it.x, thing.y - it.y
    return {"left": -across, "right": across, "above": -down, "below": down}[side]


def _drawn(kinds: Sequence[tuple[Sequence[_Step], int]], rng: random.Random) -> _Step:
    """One of the steps of each kind: first the kind is drawn by its weight, then the answer, then the question."""
    possible = [(steps, weight) for steps, weight in kinds if steps]
    (steps,) = rng.choices([steps for steps, _ in possible], [weight for _, weight in possible])
    answer = rng.choice(sorted({question.answer for question, _ in steps}))
    return rng.choice([step for step in steps if step[0].answer == answer])


def _first(scene: Scene, kind: str, rng: random.Random) -> Iterator[_Step]:
    """Questions that name a thing."""
    for thing in scene.things:
        place = f"the object {PHRASES[thing.place]}"
        names = references(scene, thing, without=kind) + ([place] if kind != "position" else [])
        if names:
            name = rng.choice(names)
            stated = {kind, *(one for one in _NAMED if getattr(thing, one) in name.split())}
            stated |= {"position"} if name == place else set()
            stated |= {_alike(one) for one in ("color", "shape") if stated == {kind, one}}  # what names it alone
            yield (
                _question(kind, thing, name, rng),
                _Talk(scene, thing, thing, kind, frozenset((thing, one) for one in stated)),
            )


def _question(kind: str, thing: Thing, name: str, rng: random.Random) -> Question:
    return Question(kind, rng.choice(_ATTRIBUTES[kind]).format(name), _value(thing, kind))


def _value(thing: Thing, kind: str) -> str:
    return PHRASES[thing.place] if kind == "position" else str(getattr(thing, kind))


def _about_it(talk: _Talk, rng: random.Random) -> Iterator[_Step]:
    """Another attribute of the same thing."""
    for kind in _ATTRIBUTES:
        values = {_value(thing, kind) for thing in talk.scene.things}
        if (talk.it, kind) not in talk.stated and len(values) > 1:
            yield _question(kind, talk.it, "it", rng), replace(_stated(talk, kind, talk.it), attribute=kind)


def _about_neighbor(talk: _Talk, rng: random.Random) -> Iterator[_Step]:
    """The thing on one side, of which the same is asked as was last, its color or shape: the question leaves that out.

    From then on the conversation is about that thing.
    """
    for side, words in SIDES.items():
        thing = neighbor(talk.scene, talk.it, side)
        if thing and talk.attribute in ("color", "shape") and (thing, talk.attribute) not in talk.stated:
            question = Question(talk.attribute, f"And the one {words}?", _value(thing, talk.attribute))
            following = replace(_stated(talk, talk.attribute, thing), it=thing)
            is_placed = (talk.it, "position") in talk.stated  # and so is what lies next to it
            yield question, _stated(following, "position", thing) if is_placed else following


def _size(talk: _Talk, rng: random.Random) -> Iterator[_Step]:
    """Whether it is larger or smaller than the first thing, where neither size is stated."""
    if "card" in (talk.it.shape, talk.first.shape) or talk.it.size == talk.first.size:
        return
    if talk.stated.isdisjoint({(talk.it, "size"), (talk.first, "size")}):
        for word, size in (("larger", "large"), ("smaller", "small")):
            answer = "yes" if talk.it.size == size else "no"
            question = Question("comparison", f"Is it {word} than the first one?", answer)
            yield question, replace(_stated(talk, "size", talk.it, talk.first), attribute="")


def _same_color(talk: _Talk, rng: random.Random) -> Iterator[_Step]:
    """Whether it has the first thing's color, where some things of the scene have the same and some have not."""
    colors = {thing.color for thing in talk.scene.things}
    pair = (talk.it, talk.first)
    both = {(thing, "color") for thing in pair} <= talk.stated
    counted = any((thing, _alike("color")) in talk.stated for thing in pair)
    if talk.it is not talk.first and 1 < len(colors) < len(talk.scene.things) and not both and not counted:
        answer = "yes" if talk.it.color == talk.first.color else "no"
        question = Question("comparison", "Does it have the same color as the first one?", answer)
        yield question, replace(_stated(talk, "color", *pair), attribute="")


def _number_alike(talk: _Talk, rng: random.Random) -> Iterator[_Step]:
    """The number of other things of its color or shape."""
    for kind in ("color", "shape"):
        counts = {thing: talk.scene.alike(thing, kind) - 1 for thing in talk.scene.things}
        if (talk.it, _alike(kind)) not in talk.stated and len(set(counts.values())) > 1:
            question = Question("counting", f"How many other objects have its {kind}?", str(counts[talk.it]))
            yield question, replace(_stated(talk, _alike(kind), talk.it), attribute="")


def _alike(kind: str) -> str:
    """What is stated of a thing where the number of things that share its color or shape is."""
    return f"alike in {kind}"


def _stated(talk: _Talk, what: str, *things: Thing) -> _Talk:
    """The state behind a question that tells something of these things."""
    return replace(talk, stated=talk.stated | {(thing, what) for thing in things})


_LATER: dict[Callable[[_Talk, random.Random], Iterator[_Step]], int] = {
    _about_it: 2, _about_neighbor: 4, _size: 8, _same_color: 4, _number_alike: 1,
}  # fmt: skip
"""What can be asked next, with weights: what is seldom possible is asked more often where it is."""
