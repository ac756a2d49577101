"""Answers that were taken apart, and what they can be."""

from dataclasses import dataclass

from lapilli.data.questions import PictureQuestion, same_answer
from lapilli.studies.hallucination.scores import Measured

GROUPS = ("wrong yes", "right yes", "right no", "wrong no", "other")
"""What an answer can be. A wrong yes is made up; other is neither yes nor no."""


@dataclass(frozen=True, eq=False)
class Answered:
    """An answer that was taken apart: model number `model`'s to question number `number`; `found` is of `measured`."""

    model: int
    number: int
    question: PictureQuestion
    group: str
    found: Measured

    @property
    def margin(self) -> float:
        """logit(yes) - logit(no)."""
        return float(self.found["readings"]["full"]["d"])

    @property
    def is_kept(self) -> bool:
        """Whether its margin is on the answer's side, as that of a model is not which says neither word first."""
        return (self.margin > 0) == self.group.endswith("yes")


def group_of(question: PictureQuestion, answer: str) -> str:
    """Which of GROUPS an answer of yes, no or other is."""
    if answer == "other":
        return answer
    return f"{'right' if same_answer(answer, question.answer) else 'wrong'} {answer}"
