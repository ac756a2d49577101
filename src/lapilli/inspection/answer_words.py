"""The words of a traced answer: the queries of each, its text, and which word depends on the picture most."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapilli.inspection.trace import Trace
from lapilli.model.words import pieces_of, words_of


def answer_words(trace: Trace) -> tuple[list[str], list[tuple[int, int]]]:
    """The text of every token that a trace's queries predict, and the words, as (first query, query behind the last).

    The end of the answer is in no word.
    """
    tokenizer: Any = trace.llava.processor.tokenizer
    pieces = pieces_of(tokenizer, trace.next_ids.tolist())
    return pieces, words_of(pieces[: len(pieces) - int(trace.stops.sum())])


def isolate_query(words: list[tuple[int, int]], query: int) -> list[tuple[int, int]]:
    """Return the words with query number `query` as a word of its own: the word around it is split."""
    isolated = []
    for first, end in words:
        cuts = [first, query, query + 1, end] if first <= query < end else [first, end]
        isolated += [(begin, stop) for begin, stop in pairwise(cuts) if begin < stop]
    return isolated


def answer_text(trace: Trace) -> str:
    """The answer of a trace, without the spaces around it."""
    pieces, words = answer_words(trace)
    return "".join(pieces[: words[-1][1]]).strip()


def key_word(words: Sequence[tuple[int, int]], change: NDArray[np.float32]) -> int:
    """The number of the word whose log-probability, summed over its pieces, falls most at the median over pictures.

    `change` (picture, query) is the change of each query's log-probability.
    """
    return int(np.argmin([np.median(change[:, first:end].sum(1)) for first, end in words]))
