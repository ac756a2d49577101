"""Contrast of two answers: the first token at which they differ, and the target that compares the two tokens."""

from dataclasses import replace
from typing import Any

import numpy as np

from lapilli.core.errors import LapilliError, UsageError
from lapilli.data.encode import Encoded, encode
from lapilli.data.sample import Sample, Turn
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace
from lapilli.model.llava import Llava


def answered(llava: Llava, sample: Sample, text: str) -> Encoded:
    """Encode a sample with `text`, stripped of spaces, as the answer to its question.

    Raises LapilliError for an answer that cannot be encoded, and for one that is too long for the language model.
    """
    encoded = encode(replace(sample, turns=(*sample.turns, Turn("assistant", text.strip()))), llava.codec)
    model: Any = llava.model
    room = model.config.text_config.max_position_embeddings
    if len(encoded.ids) > room:
        raise LapilliError(
            f"{len(encoded.ids)} tokens with the answer, but the language model reads {room}; shorten it"
        )
    return encoded


def contrasted(trace: Trace, sample: Sample, text: str) -> tuple[Target, int]:
    """The target `difference` between the traced answer and another, and the number of the query that it is about.

    The query is the one of their first different token, which may be the end of the other answer. Raises UsageError
    when they do not differ before the traced one ends.
    """
    encoded = answered(trace.llava, sample, text)
    other = encoded.ids[encoded.layout.last_answer]
    traced = trace.next_ids
    shared = min(len(other), len(traced))
    (apart,) = np.nonzero(other[:shared] != traced[:shared])
    if not len(apart) or trace.stops[apart[0]]:
        raise UsageError(f"contrast {text!r}: nowhere differs from the answer, as far as that goes; give another")
    return Target("difference", int(other[apart[0]])), int(apart[0])
