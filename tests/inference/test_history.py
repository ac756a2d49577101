"""Earlier answers that no prompt can hold are taken back with their questions; all others stay."""

from dataclasses import replace

import pytest
from tests.parts import joined

from lapilli.core.errors import LapilliError
from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn
from lapilli.inference.history import holdable
from lapilli.model.llava import load


def sample(*answers, images=("a.png",)):
    turns = [turn for at, text in enumerate(answers) for turn in (Turn("user", f"What {at}?"), Turn("assistant", text))]
    turns.append(Turn("user", "And it?"))
    marks = "<image>\n" * len(images)
    return Sample("s", images, (Turn("user", marks + turns[0].text), *turns[1:]))


@pytest.fixture(scope="module", params=[("clip", "llama"), ("siglip", "qwen2")])
def llava(request):
    return load(joined(*request.param))


def test_answers_that_can_be_held_stay(llava):
    for one in (sample(), sample("red"), sample("red", "a ring", images=()), sample("red", images=("a.png", "b.png"))):
        assert holdable(llava, one) == one


@pytest.mark.parametrize("bad", ["", " ", "an <image> of it", "STOP"])
def test_an_answer_that_cannot_be_held_goes_with_its_question(llava, bad):
    bad = f"red{llava.codec.chat.stop} blue" if bad == "STOP" else bad
    first, second = (holdable(llava, sample(*answers)) for answers in ((bad, "a ring"), ("red", bad)))
    assert [turn.text for turn in first.turns] == ["<image>\nWhat 1?", "a ring", "And it?"]
    assert [turn.text for turn in second.turns] == ["<image>\nWhat 0?", "red", "And it?"]
    assert [turn.text for turn in holdable(llava, sample(bad)).turns] == ["<image>\nAnd it?"]
    for one in (first, second):
        assert encode(one, llava.codec, for_generation=True).images == ("a.png",)


def test_a_template_of_one_exchange_holds_no_conversation(llava):
    plain = replace(llava, card=replace(llava.card, template="plain"))
    assert holdable(plain, sample()) == sample()
    with pytest.raises(LapilliError, match="template 'plain': it holds one question and no conversation"):
        holdable(plain, sample("red"))
