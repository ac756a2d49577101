"""Plain transformers on what is written here: the same tokens, logits and greedy answers, by its documented way."""

import numpy as np
import pytest
import torch
from tests.parts import joined, picture
from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline

from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn
from lapilli.inference.answer import answer
from lapilli.model.llava import load

TURNS = (
    Turn("user", "<image>\nWhat color is the circle?"),
    Turn("assistant", "red"),
    Turn("user", "<image>\nAnd here?"),
)
PICTURES = [picture(1, 60, 40), picture(2, 30, 50)]
PAIRS = [("clip", "llama", "linear"), ("clip", "llama", "mlp2x_gelu"), ("siglip", "qwen2", "mlp2x_gelu")]


def messages(images):
    """The turns as lists of parts; `images` has what a picture's part says besides its type."""
    found = iter(images)
    return [{"role": turn.role, "content": list(_parts(turn.text, found))} for turn in TURNS]


def _parts(text, found):
    if text.startswith("<image>"):
        yield {"type": "image", **next(found)}
    yield {"type": "text", "text": text.removeprefix("<image>\n")}


@pytest.mark.parity
@pytest.mark.parametrize("pair", PAIRS)
def test_a_conversation_with_two_pictures(pair):
    folder = joined(*pair)
    llava, processor = load(folder), AutoProcessor.from_pretrained(folder)
    sample = Sample("1", ("0", "1"), TURNS)
    ours = answer(llava, [sample], lambda name: PICTURES[int(name)], 8)[0]
    theirs = processor.apply_chat_template(
        messages([{}, {}]), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        processor_kwargs={"images": PICTURES},
    )  # fmt: skip
    prompt = encode(sample, llava.codec, for_generation=True)
    assert theirs["input_ids"][0].tolist() == prompt.ids.tolist()
    plain = AutoModelForImageTextToText.from_pretrained(folder)
    with torch.inference_mode():
        logits = plain(**theirs).logits
        same = llava.model(input_ids=torch.tensor(prompt.ids)[None], pixel_values=llava.pixels(PICTURES)).logits
    assert float((logits - same).abs().max()) <= 1e-5
    generated = plain.generate(**theirs, max_new_tokens=8, do_sample=False)[0].numpy()
    assert np.array_equal(generated[: len(ours.ids)], ours.ids)


@pytest.mark.parity
@pytest.mark.parametrize("pair", PAIRS)
def test_the_pipeline(pair):
    folder = joined(*pair)
    sample = Sample("1", ("0", "1"), TURNS)
    ours = answer(load(folder), [sample], lambda name: PICTURES[int(name)], 8)[0].text
    ask = pipeline("image-text-to-text", model=str(folder))
    said = ask(
        text=messages([{"image": one} for one in PICTURES]),
        max_new_tokens=8,
        return_full_text=False,
        generate_kwargs={"do_sample": False},
    )
    assert said[0]["generated_text"].strip() == ours
