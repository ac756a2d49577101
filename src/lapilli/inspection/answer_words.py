"""The words of a traced answer: the rows of each, its text, and which of them depends on the picture most."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapilli.core.layout import Role
from lapilli.inspection.trace import Trace
from lapilli.model.words import pieces_of, words_of


def answer_words(trace: Trace) -> tuple[list[str], list[tuple[int, int]]]:
    """The text of every token that a trace's rows predict, and the words they make up, from which row to before which;
    what ends the answer is in none.
    """
    tokenizer: Any = trace.llava.processor.tokenizer
    pieces = pieces_of(tokenizer, trace.next_ids.tolist())
    stops = np.append(trace.layout.role, Role.STOP)[trace.rows + 1] == Role.STOP
    return pieces, words_of(pieces[: len(pieces) - int(stops.sum())])


def alone(words: list[tuple[int, int]], at: int) -> list[tuple[int, int]]:
    """The words, of which the one that holds row `at` is cut before and behind it."""
    found = []
    for first, end in words:
        cuts = [first, at, at + 1, end] if first <= at < end else [first, end]
        found += [(begin, stop) for begin, stop in pairwise(cuts) if begin < stop]
    return found


def answer_text(trace: Trace) -> str:
    """The answer of a trace, without the spaces around it."""
    pieces, words = answer_words(trace)
    return "".join(pieces[: words[-1][1]]).strip()


def key_word(words: Sequence[tuple[int, int]], change: NDArray[np.float32]) -> int:
    """The number of the word whose log-probability, of all its pieces, falls most at the median over pictures.

    `change` (picture, row) is that of each row's.
    """
    return int(np.argmin([np.median(change[:, first:end].sum(1)) for first, end in words]))
