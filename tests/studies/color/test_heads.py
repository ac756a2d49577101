"""What is read of one answer, against the decomposition, the full run and sorting."""

import numpy as np
import pytest
import torch
from tests.inspection.runs import llava_of, sample
from tests.parts import picture
from tests.studies.color.taught import base, scenes

from lapilli.core.errors import LapilliError
from lapilli.data.scenes.vocabulary import COLORS
from lapilli.inference.answer import answer
from lapilli.inspection.attribution.direct import decompose
from lapilli.inspection.attribution.increase import head_increases
from lapilli.inspection.recording import answered, traced
from lapilli.inspection.target import Target
from lapilli.model.llava import load
from lapilli.studies.color.conditions import read_color_questions
from lapilli.studies.color.heads import ranks, read_heads, said_right, word_tokens

WORDS = np.array([7, 100, 3, 250])


def _trace(name, text):
    llava = llava_of(name)
    return traced(llava, answered(llava, sample(), text), llava.pixels([picture(0)]))


@pytest.mark.parametrize("name", ["deep", "llama", "qwen2"])
def test_heads_parts_are_those_of_the_decomposition(name):
    trace = _trace(name, "red")
    found = read_heads(trace, WORDS)
    for number, word in enumerate(WORDS):
        one = decompose(trace.at(0), Target(), np.array([word]))
        np.testing.assert_allclose(found.parts[..., number], one.heads[0], atol=1e-4)
        assert found.logits[number] == pytest.approx(one.value[0], abs=1e-4)
    np.testing.assert_allclose(found.increases, head_increases(trace)[0], atol=1e-6)


def test_right_and_log_prob_are_those_of_the_whole_answer():
    trace = _trace("deep", "a blue square")
    logits = trace.logits.double()
    right, log_prob = said_right(trace)
    each = [float(row.log_softmax(-1)[token]) for row, token in zip(logits, trace.next_ids, strict=True)]
    assert log_prob == pytest.approx(sum(each[:-1]), abs=1e-4)  # the end counts to be right, not for the probability
    assert right == all(int(row.argmax()) == token for row, token in zip(logits, trace.next_ids, strict=True))


def test_the_answer_that_a_model_gives_is_right_and_another_is_not():
    llava, one = load(base()), read_color_questions(scenes(), 3, 0)[0]
    (given,) = answer(llava, [one.sample("text")])
    assert given.text == one.color
    assert said_right(traced(llava, answered(llava, one.sample("text"), given.text)))[0]
    assert not said_right(traced(llava, answered(llava, one.sample("text"), one.against)))[0]
    assert not said_right(traced(llava, answered(llava, one.sample("text"), given.text + " green")))[0]


def test_words_are_told_apart_by_their_first_tokens():
    llava, one = load(base()), read_color_questions(scenes(), 3, 0)[0]
    tokens = word_tokens(llava, one.sample("nothing"), list(COLORS))
    assert [llava.processor.tokenizer.decode([token]).strip() for token in tokens] == list(COLORS)
    with pytest.raises(LapilliError, match="begin with one token"):
        word_tokens(llava, one.sample("nothing"), ["red", "red circle"])


def test_ranks_are_places_in_the_order():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.standard_normal((3, 50)))
    order = np.argsort(-logits.numpy(), axis=1)
    words = np.array([4, 9])
    expected = [[int(np.nonzero(row == word)[0][0]) + 1 for word in words] for row in order]
    assert ranks(logits, words).tolist() == expected
    assert ranks(torch.zeros(50), words).tolist() == [1, 1]  # ties count in a word's favour
