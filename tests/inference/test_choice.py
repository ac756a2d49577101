"""The likelihood of answers, against transformers' own loss on each alone."""

import numpy as np
import pytest
import torch
from tests.parts import joined, picture

from lapilli.data.collate import collate
from lapilli.data.encode import encode
from lapilli.data.questions import one_question
from lapilli.data.sample import Sample, Turn
from lapilli.inference.choice import answer_losses, chooser_of
from lapilli.model.llava import load

CANDIDATES = ["yes", "no", "a red circle on the left"]


def opened(name):
    return picture(int(name.split(".")[0]))


def alone(llava, sample, text):
    encoded = encode(Sample(sample.id, sample.images, (*sample.turns, Turn("assistant", text))), llava.codec)
    pixels = llava.pixels(map(opened, sample.images)) if sample.images else None
    batch = collate([encoded], llava.processor.tokenizer.pad_token_id, pixels=pixels)
    with torch.inference_mode():
        loss = llava.model(**batch).loss
    return float(loss) * int((batch["labels"] != -100).sum())


@pytest.mark.parity
@pytest.mark.parametrize("pair", [("clip", "llama"), ("siglip", "qwen2")])
def test_losses_are_those_of_each_answer_alone(pair):
    llava = load(joined(*pair))
    samples = [
        one_question("1.png", "Is it?"),
        one_question("2.png", "What is on the left of the picture, if anything?"),
    ]
    samples.append(Sample("text", (), (Turn("user", "Is it?"),)))
    candidates = [CANDIDATES, CANDIDATES[:2], CANDIDATES[1:]]
    losses = answer_losses(llava, samples, candidates, opened)
    for sample, texts, found in zip(samples, candidates, losses, strict=True):
        assert found == pytest.approx([alone(llava, sample, text) for text in texts], rel=1e-4)


def test_of_a_conversation_the_last_answer_counts():
    llava = load(joined("clip", "llama"))
    first = (*one_question("1.png", "Is it?").turns, Turn("assistant", "yes it is"))
    sample = Sample("a", ("1.png",), (*first, Turn("user", "Is it red?")))
    ((whole,),) = answer_losses(llava, [sample], [["no"]], opened)
    both = alone(llava, sample, "no")
    encoded = encode(Sample("a", ("1.png",), first), llava.codec)
    assert 0 < whole < both and len(encoded.ids) > 4


def test_the_likeliest_is_chosen_and_another_picture_may_change_it():
    llava = load(joined("clip", "llama"))
    sample = Sample("a", ("1.png",), one_question("1.png", "Is it?").turns)
    respond = chooser_of(llava, {"a": CANDIDATES})
    (losses,) = answer_losses(llava, [sample], [CANDIDATES], opened)
    assert respond([sample], opened) == [CANDIDATES[int(np.argmin(losses))]]
    (others,) = answer_losses(llava, [sample], [CANDIDATES], lambda _: picture(9))
    assert not np.allclose(losses, others, rtol=1e-6)
