"""What is to be explained, and how it is tested: what can be refused of it before a model is read, is refused here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lapilli.core.errors import UsageError
from lapilli.core.read import half_character
from lapilli.data.questions import one_question
from lapilli.data.sample import Sample

KINDS = ("centred", "token")
"""What may be explained of a word, its usual target first."""


@dataclass(frozen=True)
class Request:
    """A question about a picture, which answer to it is explained, and how that is tested.

    image     the picture's file, as it was named; None if it is in none
    answer    the answer to explain; the model's own, if None
    contrast  explain why the answer was not this one, if there is one
    target    one of KINDS: "centred", the logit less the mean over all words, is meant by None; "token" is the logit
    remove    the patches that receipts are of, in ranges; those that the maps name, if None
    controls  how many random removals of either kind a receipt has
    swap      the folder of the pictures that the answer is tested with, if it is not with the shipped ones
    seed      draws the random removals

    Raises UsageError for what is no question, and for values that none of these has.
    """

    image: str | None
    question: str
    answer: str | None = None
    contrast: str | None = None
    target: str | None = None
    remove: Sequence[range] | None = None
    controls: int = 20
    swap: Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        one_question("image", self.question)
        for name, text in (("answer", self.answer), ("contrast", self.contrast)):
            if text is not None and half_character(text):
                raise UsageError(f"{name}: {text!r} holds half a character; leave it out")
        for name, number in (("controls", self.controls), ("seed", self.seed)):
            if number < 0:
                raise UsageError(f"{name} {number}: give 0 or more")
        if self.target not in (None, *KINDS):
            raise UsageError(f"target {self.target}: unknown; choose {' or '.join(KINDS)}")
        if self.target is not None and self.contrast is not None:
            raise UsageError(f"target {self.target}: that of a contrast is the difference; leave one of them out")

    @property
    def sample(self) -> Sample:
        """What asks the question."""
        return one_question("image" if self.image is None else Path(self.image).name, self.question)
