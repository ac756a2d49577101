"""The measures of every question under one condition of one model, as arrays whose first axis is the question."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lapilli.core.layout import Positions
from lapilli.data.encode import Encoded
from lapilli.data.pictures import open_picture
from lapilli.data.scenes.vocabulary import COLORS, SHAPES
from lapilli.inspection.intervention.ablation import Head
from lapilli.inspection.recording import answered, traced
from lapilli.inspection.trace import Trace
from lapilli.model.llava import Llava
from lapilli.studies.color.conditions import ColorQuestion, Form, seed_name
from lapilli.studies.color.fact_routes import cut_routes
from lapilli.studies.color.heads import read_heads, word_tokens
from lapilli.studies.color.key_positions import attention_to_facts, key_positions, reciprocal_ranks
from lapilli.studies.color.places import Places, places

T = TypeVar("T")

Measures: TypeAlias = dict[str, NDArray[np.floating]]
"""Arrays (question, ...) by their names."""

Note: TypeAlias = Callable[[int, int], None]
"""A callback with the number of questions that are done, and of all."""

WORDS = (*COLORS, *SHAPES)
_COLORS = slice(0, len(COLORS))


@dataclass(frozen=True, eq=False)
class QuestionSet:
    """Questions for one model in one form; `images` is the folder of the pictures."""

    llava: Llava
    questions: Sequence[ColorQuestion]
    form: Form
    images: Path

    @property
    def words(self) -> NDArray[np.int64]:
        """The first tokens of all WORDS."""
        return word_tokens(self.llava, self.questions[0].sample("nothing"), WORDS)

    def encoded(self, question: ColorQuestion, other_question: str | None = None) -> tuple[Encoded, Tensor | None]:
        """A question, or another in its place, encoded with the right answer, and the picture's pixel values."""
        sequence = answered(self.llava, question.sample(self.form, other_question), question.color)
        if self.form != "picture":
            return sequence, None
        return sequence, self.llava.pixels([open_picture(self.images, question.question.image)])

    def traced(
        self, question: ColorQuestion, other_question: str | None = None, whole: bool = False
    ) -> tuple[Trace, Places]:
        """The trace of what `encoded` returns, and the positions in it."""
        sequence, pixels = self.encoded(question, other_question)
        trace = traced(self.llava, sequence, pixels, whole)
        return trace, places(self.llava, sequence, question, self.form, other_question)


def head_measures(question_set: QuestionSet, note: Note, widths: NDArray[np.floating] | None = None) -> Measures:
    """Measure the heads on every question, with `read_heads`.

    `widths` (question,) are those of the logits of the model to compare with.

    right, log_prob, width      (question,)
    increase, direct            (question, layer, head), for the right color
    certain, wide               increase with the logits' sharpness matched; see confidence.py
    contrast, contrast_best     (question, layer, head), direct less that of a random other color, or of the best other
    model, model_best           (question,) the same differences of the model's own logits
    """
    words = question_set.words[_COLORS]
    compared = [None] * len(question_set.questions) if widths is None else widths.tolist()
    return _stacked(
        partial(_head_measures, question_set, words), list(zip(question_set.questions, compared, strict=True)), note
    )


def _head_measures(
    question_set: QuestionSet, words: NDArray[np.int64], compared: tuple[ColorQuestion, float | None]
) -> dict[str, NDArray[np.floating]]:
    question, as_wide_as = compared
    read = read_heads(question_set.traced(question)[0], words, as_wide_as)
    right, random = list(COLORS).index(question.color), list(COLORS).index(question.against)
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


def key_measures(question_set: QuestionSet, heads: Sequence[Head], note: Note) -> Measures:
    """Measure each of `heads` at its key position on every question, (question, head); see key_positions.py.

    inside, asked           `inside` and `on_target` of KeyPositions; asked_chance, `on_target` of any fact on average
    same, paraphrase        the head's attention there, to the question as it is, and in the other wording
    different               its attention when another thing is asked about; nan where there is none of another color
    anywhere                its attention to a position of the facts on average
    READOUT/WORD/NULL       1 / rank of the right "color", and of the right "object" (its shape): "key", at the key
                            position; "random", at a position of the facts on average; "label", at the key position, of
                            the words that are right for other questions, weighted by how often they are
    """
    weights = _frequencies(question_set.questions)
    return _stacked(
        partial(_key_measures, question_set, heads, question_set.words, weights), question_set.questions, note
    )


def _key_measures(
    question_set: QuestionSet,
    heads: Sequence[Head],
    words: NDArray[np.int64],
    weights: NDArray[np.float64],
    question: ColorQuestion,
) -> dict[str, NDArray[np.floating]]:
    trace, places = question_set.traced(question, whole=True)
    keys = key_positions(trace, places, heads, int(words[WORDS.index(question.color)]))
    each, same = np.arange(len(heads)), attention_to_facts(trace, places, heads)
    measures: dict[str, NDArray[np.floating]] = {
        "inside": keys.inside,
        "asked": keys.on_target.astype(np.float64),
        "asked_chance": np.full(len(heads), places.on_target.mean()),
        "same": same[each, keys.at],
        "anywhere": same.mean(1),
    }
    for name, wording in (("paraphrase", question.paraphrase), ("different", question.swapped)):
        measures[name] = (
            _attention_for(question_set, question, wording, heads)[each, keys.at]
            if wording
            else np.full(len(heads), np.nan)
        )
    for readout, values in reciprocal_ranks(trace, places, heads, words).items():
        for word in (question.color, question.shape):
            kind = "color" if word == question.color else "object"
            ranks = _ranked(values, keys.at, WORDS.index(word), weights)
            measures |= {f"{readout}/{kind}/{null}": part for null, part in ranks.items()}
    return measures


def _ranked(
    values: NDArray[np.float64], at: Positions, word: int, weights: NDArray[np.float64]
) -> dict[str, NDArray[np.floating]]:
    """The reciprocal ranks of a word at the key positions, and its nulls, of (head, fact, word); (head,) each."""
    there = values[np.arange(len(at)), at]
    return {
        "key": there[:, word],
        "random": values[:, :, word].mean(1),
        "label": there @ _others(weights, word),
    }


def _attention_for(
    question_set: QuestionSet, question: ColorQuestion, wording: str, heads: Sequence[Head]
) -> NDArray[np.float64]:
    """The attention of each head to every fact when another question follows the same facts; (head, fact)."""
    return attention_to_facts(*question_set.traced(question, wording), heads)


def _frequencies(questions: Sequence[ColorQuestion]) -> NDArray[np.float64]:
    """The share of the questions whose right color or shape is each of WORDS; (word,)."""
    counts = Counter(word for question in questions for word in (question.color, question.shape))
    return np.array([counts[word] / len(questions) for word in WORDS])


def _others(weights: NDArray[np.float64], word: int) -> NDArray[np.float64]:
    """The weights of the other words of the same kind, with sum 1; equal if no other is ever right."""
    kind = np.arange(len(WORDS)) < len(COLORS)
    others = (kind == kind[word]) & (np.arange(len(WORDS)) != word)
    chosen = np.where(others, weights, 0.0)
    chosen = chosen if chosen.sum() else others.astype(np.float64)
    shares: NDArray[np.float64] = chosen / chosen.sum()
    return shares


def generator_of(name: str, seed: int) -> np.random.Generator:
    """The generator of a question's random edges, by all of its name: most names end alike."""
    return np.random.default_rng([seed, crc32(name.encode())])


def route_measures(question_set: QuestionSet, seed: int, note: Note) -> Measures:
    """Cut every question's routes with `cut_routes`: change (question, route, span), random (question, route, 3)."""

    def measure(question: ColorQuestion) -> dict[str, NDArray[np.floating]]:
        rng = generator_of(seed_name(question.question), seed)
        change, random = cut_routes(*question_set.traced(question, whole=True), rng)
        return {"change": change, "random": random}

    return _stacked(measure, question_set.questions, note)


def _stacked(measure: Callable[[T], dict[str, NDArray[np.floating]]], items: Sequence[T], note: Note) -> Measures:
    measures = list(_noted(measure, items, note))
    return {name: np.stack([measure_of[name] for measure_of in measures]) for name in measures[0]}


def _noted(
    measure: Callable[[T], dict[str, NDArray[np.floating]]], items: Sequence[T], note: Note
) -> Iterator[dict[str, NDArray[np.floating]]]:
    for number, item in enumerate(items):
        note(number, len(items))
        yield measure(item)
