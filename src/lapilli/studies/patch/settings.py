"""What is read of every hybrid, and the answers that are candidates."""

from collections import Counter
from collections.abc import Sequence

from lapilli.data.questions import PictureQuestion, plain_answer
from lapilli.studies.tuning import BASE, TUNED

RESULT = "patch"
"""The name of the study's result in its run folder."""

OTHER = {BASE: TUNED, TUNED: BASE}
"""Both directions, a target and whose parts are put into it: what is sufficient for the gain, and what is necessary."""

RANDOM = "random"
"""In the place of a model: the target with a random change in every tensor, as long as the tuning's."""

DRAWS = 5
"""The draws of random changes, whose spread is in the intervals: of fewer, Student's t is too wide to say much."""

SWAPPED = "swapped"
"""A kind of prompts beside those of every tuning: questions with another's picture, which has another answer."""

MOST = 8
"""The most candidates of a question."""

READOUTS = ("log_p", "content", "format", "likeliest", "exact")
"""What is read of a hybrid for every sample: log p(a), log p(a | C), log p(C), and whether a is the likeliest of C and
every token of it the likeliest of all. a is the right answer with the stop behind it, C are the candidates."""

MAIN = "content"
"""The read-out that the page opens with: it holds nothing of the form of an answer."""


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
