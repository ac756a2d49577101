"""The positions of the facts, the question and the target thing, which the question is about, in a sequence."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapilli.core.layout import Positions, Role
from lapilli.data.encode import Encoded
from lapilli.data.scenes.describe import noun
from lapilli.data.scenes.scene import SIDE, Thing
from lapilli.model.llava import Llava
from lapilli.model.words import pieces_of
from lapilli.studies.color.conditions import ColorQuestion, Form


@dataclass(frozen=True, eq=False)
class Places:
    """The positions of one question's sequence, ascending.

    facts      the patches of the picture, or the tokens of the text with the same facts; empty without either
    question   all between the facts and `last`: the question, and the end of the user's turn
    last       the position that predicts the answer's first token
    on_target  (fact,) whether a position of `facts` shows or describes the target thing
    """

    facts: Positions
    question: Positions
    last: int
    on_target: NDArray[np.bool_]


def places(
    llava: Llava, encoded: Encoded, color_question: ColorQuestion, form: Form, question: str | None = None
) -> Places:
    """The positions in `color_question.sample(form, question)` with an answer, encoded."""
    layout = encoded.layout
    last = int(np.nonzero(np.isin(layout.role, (Role.ANSWER, Role.STOP)))[0][0]) - 1
    if form == "picture":
        facts = layout.positions(Role.IMAGE)
        return Places(facts, np.arange(facts[-1] + 1, last), last, _patches_on(llava, color_question))
    user = layout.positions(Role.QUESTION)
    text, ends = _spelled(llava, encoded.ids[user])
    facts_text = text[: text.rindex(question or color_question.question.question)].rstrip()
    facts = user[ends <= len(facts_text)]
    if form == "nothing":
        return Places(facts[:0], np.arange(user[0], last), last, np.zeros(0, np.bool_))
    return Places(facts, np.arange(facts[-1] + 1, last), last, _tokens_on(color_question, text, ends[: len(facts)]))


def _spelled(llava: Llava, ids: NDArray[np.int64]) -> tuple[str, Positions]:
    """The text of tokens, and the offset in it at which each of them ends."""
    tokenizer: Any = llava.processor.tokenizer
    pieces = pieces_of(tokenizer, ids.tolist())
    return "".join(pieces), np.cumsum([len(piece) for piece in pieces])


def _tokens_on(color_question: ColorQuestion, text: str, ends: Positions) -> NDArray[np.bool_]:
    """Which tokens of the facts describe the target thing: those of its size, texture, color, shape and sign."""
    begin = 0
    for number in color_question.order:
        words = noun(color_question.scene.things[number])
        begin = text.lower().index(words.lower(), begin)
        if number == color_question.thing:
            break
        begin += len(words)
    starts = np.concatenate([[0], ends[:-1]])
    overlapping: NDArray[np.bool_] = (ends > begin) & (starts < begin + len(words))
    return overlapping


def _patches_on(llava: Llava, color_question: ColorQuestion) -> NDArray[np.bool_]:
    """Which patches overlap the disc around the target thing, row by row."""
    frame = llava.pixels.framing((SIDE, SIDE))
    rows, columns = frame.grid
    thing = color_question.scene.things[color_question.thing]
    overlapping = [_reaches(thing, frame.box(row, column)) for row in range(rows) for column in range(columns)]
    return np.array(overlapping, np.bool_)


def _reaches(thing: Thing, box: tuple[float, float, float, float]) -> bool:
    x_min, y_min, x_max, y_max = box
    across = max(x_min - thing.x, 0.0, thing.x - x_max)
    down = max(y_min - thing.y, 0.0, thing.y - y_max)
    return math.hypot(across, down) < thing.radius
