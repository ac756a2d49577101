"""Whether a sample can be learned from: the checks of training, and of `lapilli data validate`."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lapilli.core.layout import Role
from lapilli.core.prompt.codec import Codec
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.data.encode import IGNORED, Encoded, SampleError, encode
from lapilli.data.faults import Fault
from lapilli.data.sample import Sample, Turn

_LETTERS = 3  # in a text that nobody writes by chance


@dataclass(frozen=True)
class Requirements:
    """The requirements of a stage of training for its samples.

    codec          encodes them
    longest        the most tokens that the language model reads
    needs_picture  whether the connector alone learns: from a sample without a picture it learns nothing, and from a
                   batch of them there is no gradient at all
    """

    codec: Codec
    longest: int
    needs_picture: bool

    @cached_property
    def turn_marks(self) -> tuple[str, ...]:
        """The fixed texts by which the template tells the speakers apart, such as `USER:`."""
        around = self.codec.chat.segments((Turn("user", f"{IMAGE_MARK}a"), Turn("assistant", "b")))
        texts = dict.fromkeys(piece.text.strip() for piece in around if piece.role == Role.TEMPLATE)
        return tuple(text for text in texts if sum(map(str.isalnum, text)) >= _LETTERS)


def learnable(sample: Sample, requirements: Requirements) -> Encoded:
    """The sample, encoded.

    Raises SampleError with all faults: those of encoding or, where it can be encoded, too many tokens, a missing
    picture where one is needed, nothing to learn, and control tokens in an answer, which would be learned as what they
    do.
    """
    encoded = encode(sample, requirements.codec)
    if faults := list(_faults(encoded, sample, requirements)):
        raise SampleError(sample.id, faults)
    return encoded


def doubts(sample: Sample, encoded: Encoded, requirements: Requirements) -> Iterator[Fault]:
    """Yield doubts about a sample that can be learned from: a model may take one speaker's words for the other's."""
    for turn, token in sorted({(turn, token) for _, turn, token in controls(sample, encoded, requirements.codec)}):
        what = f"the question holds the control token {token!r}, which may end or begin a turn"
        yield Fault(f"turn {turn}", what, "remove it, unless it is meant")
    for turn, spoken in enumerate(sample.turns):
        for mark in requirements.turn_marks:
            if mark in spoken.text:
                what = f"holds {mark!r}, by which the template {requirements.codec.template} tells the speakers apart"
                yield Fault(f"turn {turn}", what, "remove it, unless it is meant")


def controls(sample: Sample, encoded: Encoded, codec: Codec) -> Iterator[tuple[int, int, str]]:
    """Yield the control tokens in the texts, not those that the template adds: position, turn and token."""
    layout = encoded.layout
    is_text = np.isin(layout.role, (Role.QUESTION, Role.ANSWER))
    for at in np.flatnonzero(is_text & np.isin(encoded.ids, list(codec.control_tokens))).tolist():
        turn = 2 * int(layout.turn[at]) + int(layout.role[at] == Role.ANSWER)
        token = codec.control_tokens[int(encoded.ids[at])]
        if _folded(token) in _folded(sample.turns[turn].text):  # else it is an unknown character, or the template's
            yield at, turn, token


def _folded(text: str) -> str:
    """Return the text as tokenizers may read it, whose normalizers fold wide letters and capitals."""
    return unicodedata.normalize("NFKC", text).casefold()


def _faults(encoded: Encoded, sample: Sample, requirements: Requirements) -> Iterator[Fault]:
    count = len(encoded.ids)
    if count > requirements.longest:
        what = f"{count} tokens, the language model reads at most {requirements.longest}"
        yield Fault("", what, "shorten it")
    if requirements.needs_picture and not encoded.images:
        remedy = f"show one with {IMAGE_MARK}, or keep the sample for the stage instruct"
        yield Fault("image", "no picture, from which alone the connector learns", remedy)
    if not (encoded.labels != IGNORED).any():
        yield Fault("", "nothing of it is learned", "use a template in which something ends an answer")
    yield from _answer_faults(encoded, sample, requirements.codec)


def _answer_faults(encoded: Encoded, sample: Sample, codec: Codec) -> Iterator[Fault]:
    tokens = {(turn, token) for _, turn, token in controls(sample, encoded, codec) if turn % 2}
    for turn, token in sorted(tokens):
        what = f"the answer holds the control token {token!r}, which would be learned as what it does"
        yield Fault(f"turn {turn}", what, "remove it, or spell it in another way")
