"""Answers that were analysed, and their groups."""

from dataclasses import dataclass

from lapilli.data.questions import PictureQuestion, same_answer
from lapilli.studies.hallucination.scores import Measurement

GROUPS = ("wrong yes", "right yes", "right no", "wrong no", "other")
"""The groups of answers. A wrong yes is made up; other is neither yes nor no."""


@dataclass(frozen=True, eq=False)
class AnalysedAnswer:
    """The answer of model number `model` to question number `number`, with the measurement of it by `measured`."""

    model: int
    number: int
    question: PictureQuestion
    group: str
    measurement: Measurement

    @property
    def margin(self) -> float:
        """logit(yes) - logit(no)."""
        return float(self.measurement["readings"]["full"]["d"])

    @property
    def is_kept(self) -> bool:
        """Whether its margin is on the answer's side; it is not if the model says neither word first."""
        return (self.margin > 0) == self.group.endswith("yes")


def group_of(question: PictureQuestion, answer: str) -> str:
    """The one of GROUPS that an answer of yes, no or other belongs to."""
    if answer == "other":
        return answer
    return f"{'right' if same_answer(answer, question.answer) else 'wrong'} {answer}"
