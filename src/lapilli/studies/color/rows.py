"""What is measured of every question under one condition of one model, as arrays with a row for each question."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lapilli.core.layout import Positions
from lapilli.data.encode import Encoded
from lapilli.data.pictures import open_picture
from lapilli.data.scenes.vocabulary import COLORS, SHAPES
from lapilli.inspection.attribution.contrast import answered
from lapilli.inspection.intervention.ablation import Head
from lapilli.inspection.recording import traced
from lapilli.inspection.trace import Trace
from lapilli.model.llava import Llava
from lapilli.studies.color.attention_paths import cut_ways
from lapilli.studies.color.conditions import Asked, Form
from lapilli.studies.color.heads import read_heads, word_tokens
from lapilli.studies.color.key_positions import keys, looks, reciprocal_ranks
from lapilli.studies.color.places import Places, places

T = TypeVar("T")

Rows: TypeAlias = dict[str, NDArray[np.floating]]
"""Arrays (question, ...) by their names."""

Note: TypeAlias = Callable[[int, int], None]
"""Is told how many questions are done, and of how many."""

WORDS = (*COLORS, *SHAPES)
_COLOURS = slice(0, len(COLORS))


@dataclass(frozen=True, eq=False)
class Asking:
    """Questions asked of one model in one form; `images` is the folder of the pictures."""

    llava: Llava
    asked: Sequence[Asked]
    form: Form
    images: Path

    @property
    def words(self) -> NDArray[np.int64]:
        """The first tokens of all WORDS."""
        return word_tokens(self.llava, self.asked[0].sample("nothing"), WORDS)

    def encoded(self, one: Asked, question: str | None = None) -> tuple[Encoded, Tensor | None]:
        """A question, or another in its place, with the question's right answer; and the picture's pixel values."""
        sequence = answered(self.llava, one.sample(self.form, question), one.colour)
        if self.form != "picture":
            return sequence, None
        return sequence, self.llava.pixels([open_picture(self.images, one.question.image)])

    def traced(self, one: Asked, question: str | None = None, whole: bool = False) -> tuple[Trace, Places]:
        """The trace of the same, and where everything lies in it."""
        sequence, pixels = self.encoded(one, question)
        trace = traced(self.llava, sequence, pixels, whole)
        return trace, places(self.llava, sequence, one, self.form, question)


def head_rows(asking: Asking, note: Note, widths: NDArray[np.floating] | None = None) -> Rows:
    """Of every question, as `read_heads` has it; differences are of the right colour's logit to another's.

    `widths` (question,) are those of the logits of the model with which this one is compared.

    right, log_prob, width      (question,)
    increase, direct            (question, layer, head), of the right colour
    certain, wide               the same as increase, with the logits' sharpness matched; see confidence.py
    contrast, contrast_best     (question, layer, head), direct, less that of a random other colour, of the best other
    model, model_best           (question,) the same of the model's own logits
    """
    words = asking.words[_COLOURS]
    compared = [None] * len(asking.asked) if widths is None else widths.tolist()
    return _stacked(partial(_head_row, asking, words), list(zip(asking.asked, compared, strict=True)), note)


def _head_row(
    asking: Asking, words: NDArray[np.int64], compared: tuple[Asked, float | None]
) -> dict[str, NDArray[np.floating]]:
    one, as_wide_as = compared
    read = read_heads(asking.traced(one)[0], words, as_wide_as)
    right, random = list(COLORS).index(one.colour), list(COLORS).index(one.against)
    best = int(np.where(np.arange(len(words)) == right, -np.inf, read.logits).argmax())
    direct = read.parts[..., right]
    return {
        "right": np.float64(read.right),
        "log_prob": np.float64(read.log_prob),
        "increase": read.increases,
        "certain": read.certain,
        "wide": read.wide,
        "width": np.float64(read.width),
        "direct": direct,
        "contrast": direct - read.parts[..., random],
        "contrast_best": direct - read.parts[..., best],
        "model": read.logits[right] - read.logits[random],
        "model_best": read.logits[right] - read.logits[best],
    }


def key_rows(asking: Asking, heads: Sequence[Head], note: Note) -> Rows:
    """Of every question and every one of `heads`, (question, head), at its key position; see keys.py.

    inside, asked           as of Keys; asked_chance, of any position of the facts
    same, paraphrase        how much the head looks there, asked as it is, and in the other wording
    different               when another thing of the scene is asked about; nan where there is none of another colour
    anywhere                how much it looks at a position of the facts on average
    READOUT/WORD/NULL       1 / rank of the right "colour", and of the right "object" (its shape): "key", at the key
                            position; "random", at a position of the facts on average; "label", at the key position of
                            the words that are right of other questions, weighted by how often they are
    """
    weights = _frequencies(asking.asked)
    return _stacked(partial(_key_row, asking, heads, asking.words, weights), asking.asked, note)


def _key_row(
    asking: Asking, heads: Sequence[Head], words: NDArray[np.int64], weights: NDArray[np.float64], one: Asked
) -> dict[str, NDArray[np.floating]]:
    trace, where = asking.traced(one, whole=True)
    found = keys(trace, where, heads, int(words[WORDS.index(one.colour)]))
    each, same = np.arange(len(heads)), looks(trace, where, heads)
    row: dict[str, NDArray[np.floating]] = {
        "inside": found.inside,
        "asked": found.asked.astype(np.float64),
        "asked_chance": np.full(len(heads), where.asked.mean()),
        "same": same[each, found.at],
        "anywhere": same.mean(1),
    }
    for name, question in (("paraphrase", one.paraphrase), ("different", one.swapped)):
        row[name] = _looks_of(asking, one, question, heads)[each, found.at] if question else np.full(len(heads), np.nan)
    for readout, values in reciprocal_ranks(trace, where, heads, words).items():
        for word in (one.colour, one.shape):
            kind = "colour" if word == one.colour else "object"
            told = _ranked(values, found.at, WORDS.index(word), weights)
            row |= {f"{readout}/{kind}/{null}": part for null, part in told.items()}
    return row


def _ranked(
    values: NDArray[np.float64], at: Positions, word: int, weights: NDArray[np.float64]
) -> dict[str, NDArray[np.floating]]:
    """Of 1 / rank (head, fact, word), a word's at the key positions, and its nulls; (head,) each."""
    there = values[np.arange(len(at)), at]
    return {
        "key": there[:, word],
        "random": values[:, :, word].mean(1),
        "label": there @ _others(weights, word),
    }


def _looks_of(asking: Asking, one: Asked, question: str, heads: Sequence[Head]) -> NDArray[np.float64]:
    """How much each head looks at every fact when another question follows the same facts; (head, fact)."""
    return looks(*asking.traced(one, question), heads)


def _frequencies(asked: Sequence[Asked]) -> NDArray[np.float64]:
    """How often each of WORDS is right, as a share of the questions; (word,)."""
    counts = Counter(word for one in asked for word in (one.colour, one.shape))
    return np.array([counts[word] / len(asked) for word in WORDS])


def _others(weights: NDArray[np.float64], word: int) -> NDArray[np.float64]:
    """The weights of the words of the same kind but this one, which sum to 1; all alike if no other is ever right."""
    kind = np.arange(len(WORDS)) < len(COLORS)
    others = (kind == kind[word]) & (np.arange(len(WORDS)) != word)
    chosen = np.where(others, weights, 0.0)
    chosen = chosen if chosen.sum() else others.astype(np.float64)
    shares: NDArray[np.float64] = chosen / chosen.sum()
    return shares


def way_rows(asking: Asking, seed: int, note: Note) -> Rows:
    """Of every question, as `cut_ways` has it: change (question, way, span), random (question, way, 3)."""

    def row(one: Asked) -> dict[str, NDArray[np.floating]]:
        rng = np.random.default_rng([seed, int.from_bytes(one.question.id.encode()) % 2**32])
        change, random = cut_ways(*asking.traced(one, whole=True), rng)
        return {"change": change, "random": random}

    return _stacked(row, asking.asked, note)


def _stacked(row: Callable[[T], dict[str, NDArray[np.floating]]], asked: Sequence[T], note: Note) -> Rows:
    found = list(_noted(row, asked, note))
    return {name: np.stack([one[name] for one in found]) for name in found[0]}


def _noted(
    row: Callable[[T], dict[str, NDArray[np.floating]]], asked: Sequence[T], note: Note
) -> Iterator[dict[str, NDArray[np.floating]]]:
    for number, one in enumerate(asked):
        note(number, len(asked))
        yield row(one)
