"""The recipes of a LLaVA's parts: how pebble-lm and pebble-vision are trained. They are read without torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lapilli.data.scenes.questions import TYPES
from lapilli.data.scenes.scene import SIDE
from lapilli.data.scenes.textual import (
    Pieces,
    cards,
    comparisons,
    counts,
    pairs,
    relations,
    retelling,
    statements,
    two_steps,
)

HEADS = 4
"""Of the language model: one for each of the LOOKS in `initial.py`."""

MASTERED = 20
"""Over so many steps a lesson must be mastered before the next one begins."""


@dataclass(frozen=True)
class Lesson:
    """A part of the curriculum: for `steps` steps, scenes of at most `things` things with `questions` questions.

    It ends before, once the share of learned tokens that the model says itself has been `until` over the last
    `MASTERED` steps. Given the next lesson before this one is mastered, a model is long in learning either. `rates` are
    the shares of the recipe's learning rates with which it begins and ends, on a straight line.

    Shares of every batch are something else than conversations. Lists and what follows from them, with nothing to learn
    but one thing: `paired`, colours and shapes; `placed`, places; `counted`, how many; `carded`, what the card in a
    place says; `related`, how two things lie; `reasoned`, two steps; `compared`, whether colours agree. And `stated`,
    descriptions with sentences that follow; `retold`, scenes told twice in other words.

    Questions are of these `kinds`, of one named twice twice as often. Without `system` the template's opening is left
    out, a fifth of a short conversation and always the same.
    """

    steps: int
    things: int
    questions: int
    batch_size: int
    until: float = 1.0
    paired: float = 0.0
    placed: float = 0.0
    counted: float = 0.0
    stated: float = 0.0
    retold: float = 0.0
    carded: float = 0.0
    related: float = 0.0
    reasoned: float = 0.0
    compared: float = 0.0
    rates: tuple[float, float] = (1.0, 1.0)
    kinds: list[str] = field(default_factory=lambda: list(TYPES))
    system: bool = True

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares of every batch that are no conversations, in the order of `TEXTS`."""
        return tuple(getattr(self, name) for name in TEXTS)

    def __post_init__(self) -> None:
        for name in ("steps", "things", "questions", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: at least 1, not {getattr(self, name)}")
        if unknown := sorted(set(self.kinds) - set(TYPES)):
            raise ValueError(f"kinds: no such type {unknown[0]!r}; there are {', '.join(TYPES)}")
        if not set(self.kinds) & _ALWAYS:
            raise ValueError(f"kinds: a scene may allow none of them; add one of {', '.join(sorted(_ALWAYS))}")
        if sum(self.shares) > 1:
            raise ValueError(f"{', '.join(TEXTS)} are shares of a batch: together at most 1")
        if self.related and self.things < 2:
            raise ValueError("related: how two things lie is asked where there are two; things: 2 or more")
        if min(self.rates) < 0:
            raise ValueError(f"rates: {list(self.rates)}; they are shares of the recipe's, 0 or more")


TEXTS: dict[str, Callable[[str, Lesson], Pieces]] = {
    "paired": lambda seed, lesson: pairs(seed),
    "placed": lambda seed, lesson: pairs(seed, placed=True),
    "counted": lambda seed, lesson: counts(seed, lesson.things, lesson.questions),
    "stated": lambda seed, lesson: statements(seed, lesson.things, lesson.questions),
    "retold": lambda seed, lesson: retelling(seed, lesson.things),
    "carded": lambda seed, lesson: cards(seed),
    "related": lambda seed, lesson: relations(seed, lesson.things, lesson.questions),
    "reasoned": lambda seed, lesson: two_steps(seed, lesson.things, lesson.questions),
    "compared": lambda seed, lesson: comparisons(seed, lesson.questions),
}
"""What the shares of a batch are made of: from a seed, as large as the lesson says."""

_ALWAYS = {"colour", "shape", "counting", "existence"}
"""Types that every scene allows a question of."""


@dataclass(frozen=True)
class LanguageRecipe:
    """How pebble-lm is trained; `recipes/pebble-lm.yaml` holds the values of the shipped one."""

    stage: Literal["language"]
    out: Path
    lessons: list[Lesson]
    tokenizer: Path | None = None
    seed: int = 0
    width: int = 128
    layers: int = 5
    feed_forward: int = 256
    learning_rate: float = 2e-3
    muon_learning_rate: float = 1e-2
    log_every: int = 25

    @property
    def steps(self) -> int:
        """Of all lessons, at most."""
        return sum(lesson.steps for lesson in self.lessons)

    def __post_init__(self) -> None:
        if not self.lessons:
            raise ValueError("lessons: at least one")
        if self.width % (4 * HEADS):
            raise ValueError(f"width: {self.width} is no multiple of {4 * HEADS}, four for each of the heads")


@dataclass(frozen=True)
class VisionRecipe:
    """How pebble-vision is trained; `recipes/pebble-vision.yaml` holds the values of the shipped one."""

    stage: Literal["vision"]
    out: Path
    tokenizer: Path | None = None
    seed: int = 0
    scenes: int = 30_000
    steps: int = 2_000
    batch_size: int = 128
    learning_rate: float = 1e-3
    muon_learning_rate: float = 2e-2
    weight_decay: float = 0.01
    patch: int = 16
    width: int = 128
    layers: int = 5
    heads: int = 4
    text_width: int = 64
    text_layers: int = 2
    log_every: int = 25

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps: at least 1, not {self.steps}")
        if self.batch_size > self.scenes:
            raise ValueError(f"batch_size: {self.batch_size} pictures of {self.scenes} scenes; draw more of them")
        if SIDE % self.patch:
            raise ValueError(f"patch: {self.patch} does not divide the {SIDE} pixels of a side")
        if self.width % self.heads or self.text_width % self.heads:
            raise ValueError(f"heads: {self.heads} do not divide width and text_width")


RECIPES: dict[str, type[VisionRecipe] | type[LanguageRecipe]] = {"vision": VisionRecipe, "language": LanguageRecipe}
"""The recipe of every part, by the `stage` that its file names."""
