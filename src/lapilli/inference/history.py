"""Earlier turns of a conversation, as far as a model's template can hold them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from lapilli.core.errors import LapilliError
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn
from lapilli.model.llava import Llava

_HARMLESS = (Turn("user", "?"), Turn("assistant", "yes"))


def holdable(llava: Llava, sample: Sample) -> Sample:
    """The sample without the earlier questions whose answers no prompt can hold, as `Chat` takes them back.

    Such answers are empty, or hold the stop string or `<image>`. The pictures stand before the first question that is
    left. Raises LapilliError for a template that holds a single exchange.
    """
    if len(sample.turns) > 1 and not _is_held(llava, replace(sample, images=()), "", _HARMLESS):
        raise LapilliError(
            f"template {llava.template!r}: it holds one question and no conversation; ask a model of another template"
        )
    marks = f"{IMAGE_MARK}\n" * len(sample.images)
    turns = [replace(turn, text=turn.text.removeprefix(marks)) for turn in sample.turns]
    exchanges = zip(turns[:-1:2], turns[1::2], strict=True)
    kept = chain(*(exchange for exchange in exchanges if _is_held(llava, sample, marks, exchange)))
    first, *others = [*kept, turns[-1]]
    return replace(sample, turns=(replace(first, text=marks + first.text), *others))


def _is_held(llava: Llava, sample: Sample, marks: str, exchange: Sequence[Turn]) -> bool:
    question, reply = exchange
    turns = (replace(question, text=marks + question.text), reply, Turn("user", "?"))
    try:
        encode(replace(sample, turns=turns), replace(llava.codec, template=llava.template), for_generation=True)
    except LapilliError:
        return False
    return True
