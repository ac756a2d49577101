"""The recipes of the parts, which are trained from random weights. They are read before torch is imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from lapilli.core import spelling
from lapilli.core.fields import Range, require_ranges
from lapilli.data.scenes.questions import TYPES
from lapilli.data.scenes.scene import MOST, SIDE

SEED = Range(0, 2**32 - 1)
"""The seeds of any recipe: those that numpy's generators take."""

COUNT = Range(1, 1_000_000_000)
"""The numbers of steps of any recipe."""

RATE = Range(above=0)
"""The learning rates of any recipe."""

HEADS = 4
"""Attention heads of pebble-lm: as many as `initial.py` has PREVIOUS_TOKEN_HEADS."""

MASTERED = 20
"""The number of steps over which a lesson must be mastered before the next one begins."""

SHARES = ("paired", "placed", "counted", "stated", "retold", "carded", "related", "reasoned", "compared")
"""The fields of a lesson that are shares of every batch."""

_ALWAYS = {"color", "shape", "counting", "existence"}
"""The types of question that every scene allows."""

_SIZE = Range(1, 65_536)
_LAYERS = Range(1, 1_000)
_BATCH = Range(1, 65_536)
_SHARE = Range(0, 1)


@dataclass(frozen=True)
class Lesson:
    """A part of the curriculum: scenes in words, with questions, and lists that teach a single skill.

    A model that begins the next lesson before it has mastered this one takes long to learn either. The rest of a batch,
    beside the shares, is conversations.
    """

    steps: Annotated[int, "Of this lesson, at most.", COUNT]
    things: Annotated[int, "In a scene, at most.", Range(1, MOST)]
    questions: Annotated[int, "About a scene.", Range(1, 1_000)]
    batch_size: Annotated[int, "Texts in one step.", _BATCH]
    until: Annotated[
        float, f"Ends the lesson once so large a share of the tokens was right over its last {MASTERED} steps.", _SHARE
    ] = 1.0
    paired: Annotated[float, "Share of every batch: lists of colors and shapes.", _SHARE] = 0.0
    placed: Annotated[float, "Share of every batch: lists of things and their places.", _SHARE] = 0.0
    counted: Annotated[float, "Share of every batch: lists, and how many there are of a kind.", _SHARE] = 0.0
    stated: Annotated[float, "Share of every batch: descriptions, and sentences that follow.", _SHARE] = 0.0
    retold: Annotated[float, "Share of every batch: scenes told twice, in other words.", _SHARE] = 0.0
    carded: Annotated[float, "Share of every batch: what the card in a place says.", _SHARE] = 0.0
    related: Annotated[float, "Share of every batch: how two things lie to each other.", _SHARE] = 0.0
    reasoned: Annotated[float, "Share of every batch: questions that take two steps.", _SHARE] = 0.0
    compared: Annotated[float, "Share of every batch: whether the colors of two things agree.", _SHARE] = 0.0
    rates: Annotated[
        tuple[float, float], "Shares of the learning rates at its begin and its end, on a straight line.", Range(0)
    ] = (1.0, 1.0)
    kinds: Annotated[list[str], "Types of questions; one that is named twice is asked twice as often."] = field(
        default_factory=lambda: list(TYPES)
    )
    system: Annotated[bool, "Whether conversations begin with the template's opening, which is always the same."] = True

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares of every batch that are not conversations, in the order of `SHARES`."""
        return tuple(getattr(self, name) for name in SHARES)

    def __post_init__(self) -> None:
        require_ranges(self)
        object.__setattr__(self, "kinds", [spelling.name(kind) for kind in self.kinds])
        if unknown := sorted(set(self.kinds) - set(TYPES)):
            raise ValueError(f"kinds: no such type {unknown[0]!r}; there are {', '.join(TYPES)}")
        if not set(self.kinds) & _ALWAYS:
            raise ValueError(f"kinds: a scene may allow none of them; add one of {', '.join(sorted(_ALWAYS))}")
        if sum(self.shares) > 1:
            raise ValueError(f"{', '.join(SHARES)} are shares of a batch: together at most 1")
        if self.related and self.things < 2:
            raise ValueError("related: how two things lie is asked where there are two; things: 2 or more")


@dataclass(frozen=True)
class LanguageRecipe:
    """How pebble-lm is trained; `recipes/pebble-lm.yaml` holds the values of the shipped one."""

    stage: Annotated[Literal["language"], "Trains a language model from nothing."]
    out: Annotated[Path, "The run folder to write; new or empty."]
    lessons: Annotated[list[Lesson], "The curriculum, in its order."]
    tokenizer: Annotated[Path | None, "Folder of a tokenizer; null: one is learned from scenes."] = None
    seed: Annotated[int, "Decides the first weights and every text.", SEED] = 0
    width: Annotated[int, "Of the residual stream; a multiple of 16.", _SIZE] = 128
    layers: Annotated[int, "Of the transformer.", _LAYERS] = 5
    feed_forward: Annotated[int, "Width of the hidden layer of its MLPs.", _SIZE] = 256
    learning_rate: Annotated[float, "That of AdamW: embeddings, head, norms.", RATE] = 2e-3
    muon_learning_rate: Annotated[float, "That of Muon: the matrices of the layers.", RATE] = 1e-2
    log_every: Annotated[int, "Steps between lines of metrics.jsonl.", COUNT] = 25

    @property
    def steps(self) -> int:
        """The number of steps of all lessons, at most."""
        return sum(lesson.steps for lesson in self.lessons)

    def __post_init__(self) -> None:
        require_ranges(self)
        if not self.lessons:
            raise ValueError("lessons: at least one")
        if self.width % (4 * HEADS):
            raise ValueError(f"width: {self.width} is no multiple of {4 * HEADS}, four for each of the heads")


@dataclass(frozen=True)
class VisionRecipe:
    """How pebble-vision is trained; `recipes/pebble-vision.yaml` holds the values of the shipped one."""

    stage: Annotated[Literal["vision"], "Trains a vision encoder from nothing."]
    out: Annotated[Path, "The run folder to write; new or empty."]
    tokenizer: Annotated[Path | None, "Folder of a tokenizer; null: one is learned from scenes."] = None
    seed: Annotated[int, "Decides the first weights, the scenes and what is said of them.", SEED] = 0
    scenes: Annotated[int, "Pictures to draw, of 28 kB each in memory.", Range(1, 10_000_000)] = 30_000
    steps: Annotated[int, "Of the whole training.", COUNT] = 2_000
    batch_size: Annotated[int, "Pictures in one step; at most as many as scenes.", _BATCH] = 128
    learning_rate: Annotated[float, "The highest of AdamW: patches, positions, norms.", RATE] = 1e-3
    muon_learning_rate: Annotated[float, "The highest of Muon: the matrices of the layers.", RATE] = 2e-2
    weight_decay: Annotated[float, "Of matrices; biases and norms do not decay.", Range(0)] = 0.01
    patch: Annotated[int, "Pixels of a patch's side; a divisor of 96.", Range(1, SIDE)] = 16
    width: Annotated[int, "Of the residual stream; a multiple of heads.", _SIZE] = 128
    layers: Annotated[int, "Of the encoder.", _LAYERS] = 5
    heads: Annotated[int, "Attention heads of a layer, in both encoders.", _SIZE] = 4
    text_width: Annotated[int, "That of the text encoder that serves to train it; a multiple of heads.", _SIZE] = 64
    text_layers: Annotated[int, "Those of that text encoder.", _LAYERS] = 2
    log_every: Annotated[int, "Steps between lines of metrics.jsonl.", COUNT] = 25

    def __post_init__(self) -> None:
        require_ranges(self)
        if self.batch_size > self.scenes:
            raise ValueError(f"batch_size: {self.batch_size} pictures of {self.scenes} scenes; draw more of them")
        if SIDE % self.patch:
            raise ValueError(f"patch: {self.patch} does not divide the {SIDE} pixels of a side")
        if self.width % self.heads or self.text_width % self.heads:
            raise ValueError(f"heads: {self.heads} do not divide width and text_width")
