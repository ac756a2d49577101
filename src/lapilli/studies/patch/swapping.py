"""Another picture for every question: what a hybrid makes of the right answer when it is not in the picture."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from lapilli.data.questions import PictureQuestion, plain_answer


def with_other_pictures(
    questions: Sequence[PictureQuestion], chosen: Sequence[PictureQuestion], seed: int
) -> dict[int, PictureQuestion]:
    """The chosen questions about pictures of other answers, by their number, but those for which there is none.

    The picture is that of a question of the same type with another answer: one in the same words, if there is one, as
    then its answer is certainly not the right one. No picture is taken of which the same is asked and the same
    answered. Pictures are used as evenly as can be, and drawn by the seed.
    """
    rng, used, swapped = random.Random(seed), Counter[str](), {}
    for number, question in enumerate(chosen):
        if others := _others(questions, question):
            fewest = min(used[other.image] for other in others)
            other = rng.choice([other for other in others if used[other.image] == fewest])
            used[other.image] += 1
            swapped[number] = replace(question, image=other.image, boxes=())
    return swapped


def in_same_words(questions: Sequence[PictureQuestion], swapped: Sequence[PictureQuestion]) -> int:
    """How many have a picture about which the same words are asked."""
    pairs = {(question.image, question.question) for question in questions}
    return sum((question.image, question.question) in pairs for question in swapped)


def _others(questions: Sequence[PictureQuestion], question: PictureQuestion) -> list[PictureQuestion]:
    """Questions whose pictures may stand in a question's place."""
    right = plain_answer(question.answer)
    same_words = [other for other in questions if other.question == question.question]
    alike = {question.image, *(other.image for other in same_words if plain_answer(other.answer) == right)}
    others = [
        other
        for other in questions
        if other.type == question.type and other.image not in alike and plain_answer(other.answer) != right
    ]
    return [other for other in others if other.question == question.question] or others
