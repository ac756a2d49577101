"""The answers that are candidates for a question, and what is read of a model that is given each of them."""

from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lapilli.data.questions import PictureQuestion, plain_answer

Floats: TypeAlias = NDArray[np.float64]

MOST = 8
"""The most candidates of a question."""

READOUTS = ("log_p", "content", "format", "likeliest", "exact")
"""What is read of a model for every sample: log p(a), log p(a | C), log p(C), and whether a is the likeliest of C and
every token of it the likeliest of all. a is the right answer with the stop behind it, C are the candidates."""


def candidates(questions: Sequence[PictureQuestion], chosen: Sequence[PictureQuestion]) -> list[list[str]]:
    """The candidates of every chosen question: its right answer first, then the most frequent others of its type.

    They are answers of `questions`, the more frequent first, and at most MOST with the right one. Of an answer in
    several spellings there is the first.
    """
    counts: dict[str, Counter[str]] = {}
    spelled: dict[str, str] = {}
    for question in questions:
        plain = plain_answer(question.answer)
        spelled.setdefault(plain, question.answer)
        counts.setdefault(question.type, Counter())[plain] += 1
    listed = []
    for question in chosen:
        right = plain_answer(question.answer)
        others = [plain for plain, _ in counts[question.type].most_common(MOST) if plain != right]
        listed.append([question.answer, *(spelled[plain] for plain in others[: MOST - 1])])
    return listed


def readouts(log_p: Floats, exact: NDArray[np.bool_]) -> dict[str, Floats]:
    """Every read-out of READOUTS, (variant, sample): log p(a) = content + format.

    `log_p` are those of the candidates, the right one first, (variant, sample, MOST), nan where a sample has no more.
    `exact` is whether every token of the right one is the likeliest, (variant, sample).
    """
    right = log_p[:, :, 0]
    together = np.logaddexp.reduce(np.where(np.isnan(log_p), -np.inf, log_p), 2)
    likeliest = right >= np.nanmax(log_p, 2)
    return {
        "log_p": right,
        "content": right - together,
        "format": together,
        "likeliest": likeliest.astype(np.float64),
        "exact": exact.astype(np.float64),
    }
