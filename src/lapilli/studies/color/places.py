"""Where in a sequence the facts lie, the question, and what is said or seen of the thing that is asked about."""

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
from lapilli.studies.color.conditions import Asked, Form


@dataclass(frozen=True, eq=False)
class Places:
    """The positions of one question's sequence, ascending.

    facts      the patches of the picture, or the tokens of the text that tells the same; none where there is neither
    question   all between the facts and `last`: the question, and what ends the user's turn
    last       the position that predicts the answer's first token
    asked      (fact,) whether a position of `facts` shows or tells the thing that is asked about
    """

    facts: Positions
    question: Positions
    last: int
    asked: NDArray[np.bool_]


def places(llava: Llava, encoded: Encoded, asked: Asked, form: Form, question: str | None = None) -> Places:
    """Where everything lies in `asked.sample(form, question)` with an answer, as it was encoded."""
    layout = encoded.layout
    last = int(np.nonzero(np.isin(layout.role, (Role.ANSWER, Role.STOP)))[0][0]) - 1
    if form == "picture":
        facts = layout.positions(Role.IMAGE)
        return Places(facts, np.arange(facts[-1] + 1, last), last, _patches_on(llava, asked))
    user = layout.positions(Role.QUESTION)
    text, ends = _spelled(llava, encoded.ids[user])
    told = text[: text.rindex(question or asked.question.question)].rstrip()
    facts = user[ends <= len(told)]
    if form == "nothing":
        return Places(facts[:0], np.arange(user[0], last), last, np.zeros(0, np.bool_))
    return Places(facts, np.arange(facts[-1] + 1, last), last, _tokens_on(asked, text, ends[: len(facts)]))


def _spelled(llava: Llava, ids: NDArray[np.int64]) -> tuple[str, Positions]:
    """The text of tokens, and where in it each of them ends."""
    tokenizer: Any = llava.processor.tokenizer
    pieces = pieces_of(tokenizer, ids.tolist())
    return "".join(pieces), np.cumsum([len(piece) for piece in pieces])


def _tokens_on(asked: Asked, text: str, ends: Positions) -> NDArray[np.bool_]:
    """Which tokens of the facts tell of the thing asked about: those of its size, texture, colour, shape and sign."""
    begin = 0
    for number in asked.order:
        words = noun(asked.scene.things[number])
        begin = text.lower().index(words.lower(), begin)
        if number == asked.thing:
            break
        begin += len(words)
    starts = np.concatenate([[0], ends[:-1]])
    found: NDArray[np.bool_] = (ends > begin) & (starts < begin + len(words))
    return found


def _patches_on(llava: Llava, asked: Asked) -> NDArray[np.bool_]:
    """Which patches see some of the disc that the thing asked about lies in, row by row."""
    frame = llava.pixels.framing((SIDE, SIDE))
    rows, columns = frame.grid
    thing = asked.scene.things[asked.thing]
    seen = [_reaches(thing, frame.box(row, column)) for row in range(rows) for column in range(columns)]
    return np.array(seen, np.bool_)


def _reaches(thing: Thing, box: tuple[float, float, float, float]) -> bool:
    left, top, right, bottom = box
    across = max(left - thing.x, 0.0, thing.x - right)
    down = max(top - thing.y, 0.0, thing.y - bottom)
    return math.hypot(across, down) < thing.radius
