"""Pictures before the text of their question: LLaVA's rule, in every template and for every renderer."""

from dataclasses import replace

import numpy as np
import pytest
from tests.data.llava_rules import images_first as llavas
from tests.lessons import recipe, write_lesson
from tests.parts import joined, picture

from lapilli.core.prompt.image_position import as_written, images_first
from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn, read_samples, write_samples
from lapilli.inference.selfcheck import self_check
from lapilli.model.card import read_card
from lapilli.model.llava import codec_of, load, save, with_image_position
from lapilli.training.loop import train

TEXTS = [
    "What is it?\n<image>",
    "<image>\nWhat is it?",
    "<image>What is it? ",
    "Look at <image> here",
    "<image>",
    " <image>\n\n",
    "no picture, \n",
    "a\n<image>\nb",
]


@pytest.mark.parametrize("text", TEXTS)
def test_one_picture_is_moved_as_llava_moves_it(text):
    assert images_first(text) == llavas(text)


def test_several_pictures_keep_their_order_and_each_its_line():
    assert images_first("a <image> b <image>") == "<image>\n<image>\na  b"


@pytest.mark.parametrize("language", ["llama", "qwen2", "mistral"])
def test_ids_are_those_of_the_moved_text_and_of_transformers_own_renderer(language):
    llava = load(joined("clip", language))
    first = with_image_position(load(joined("clip", language)), "first")
    for text in TEXTS[:6]:
        turns = (Turn("user", text), Turn("assistant", "red"), Turn("user", "And now?"))
        sample = Sample("it", ("a.png",), turns)
        ours = encode(sample, first.codec, for_generation=True)
        moved = replace(sample, turns=(Turn("user", llavas(text)), *turns[1:]))
        assert ours.ids.tolist() == encode(moved, llava.codec, for_generation=True).ids.tolist()
        before, after = text.split("<image>")
        parts = [{"type": "text", "text": before}, {"type": "image"}, {"type": "text", "text": after}]
        for content in (text, parts):
            chat = [{"role": "user", "content": content}, *({"role": t.role, "content": t.text} for t in turns[1:])]
            theirs = first.processor.apply_chat_template(
                chat, add_generation_prompt=True, tokenize=True, return_dict=True,
                processor_kwargs={"images": [picture(1)]},
            )  # fmt: skip
            assert np.ravel(theirs["input_ids"]).tolist() == ours.ids.tolist()


PARTS = """{% for m in messages %}{{ m['role'] }}:{% for part in m['content'] %}
{%- if part['type'] == 'image' %}<image>
{% else %} {{ part['text'] }}{% endif %}{% endfor %}{{ eos_token }}
{%- endfor %}{% if add_generation_prompt %}assistant:{% endif %}"""
TEXT = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{{ eos_token }}{% endfor %}"
TEXT += "{% if add_generation_prompt %}[assistant] {% endif %}"


@pytest.mark.parametrize("template", [PARTS, TEXT])
def test_a_tokenizer_s_own_template_moves_them_too(tmp_path, template):
    llava = load(joined("clip", "llama"))
    llava.processor.tokenizer.chat_template = llava.processor.chat_template = template
    own = replace(llava, card=replace(llava.card, template="own"))
    last, moved = (
        Sample("it", ("a",), (Turn("user", text),)) for text in ("What is it?\n<image>", "<image>\nWhat is it?")
    )
    expected = encode(moved, own.codec, for_generation=True).ids.tolist()
    assert encode(last, own.codec, for_generation=True).ids.tolist() != expected
    save(with_image_position(own, "first"), tmp_path / "own")
    again = load(tmp_path / "own")
    for sample in (last, moved):
        assert encode(sample, again.codec, for_generation=True).ids.tolist() == expected
    back = with_image_position(again, "as_written")
    assert back.processor.chat_template == as_written(again.processor.chat_template)
    assert back.processor.chat_template.endswith(template)  # behind what makes texts of parts, where it needs them


def test_what_else_a_message_says_is_handed_on():
    """A template of a tokenizer may read more of a message than its role and its content."""
    llava = load(joined("clip", "llama"))
    names = "{% for m in messages %}{{ m['name'] }}: {{ m['content'] }}{% endfor %}"
    llava.processor.tokenizer.chat_template = llava.processor.chat_template = names
    first = with_image_position(replace(llava, card=replace(llava.card, template="own")), "first")
    message = {"role": "user", "name": "Ada", "content": "What is it?\n<image>"}
    assert first.processor.apply_chat_template([message]) == "Ada: <image>\nWhat is it?"


def test_the_card_keeps_it_and_so_does_everything_that_reads_the_folder(tmp_path):
    save(with_image_position(load(joined("clip", "llama")), "first"), tmp_path / "first")
    again = load(tmp_path / "first")
    assert read_card(tmp_path / "first").image_position == "first"
    assert codec_of(tmp_path / "first").image_position == again.codec.image_position == "first"
    assert [finding.name for finding in self_check(again) if not finding.holds] == []
    back = with_image_position(again, "as_written")
    assert back.processor.chat_template == load(joined("clip", "llama")).processor.chat_template
    assert as_written(back.processor.chat_template) == back.processor.chat_template


def test_training_with_it_is_training_on_the_moved_rows(tmp_path):
    data = write_lesson(tmp_path / "lesson")
    samples = read_samples(data.file)
    last = [replace(one, turns=(Turn("user", _last(one.turns[0].text)), *one.turns[1:])) for one in samples]
    write_samples(data.file, last)
    wanted = recipe(tmp_path, data=data, max_steps=2, image_position="first")
    moved = train(wanted, progress=False)
    assert read_card(moved.path / "model").image_position == "first"
    write_samples(data.file, samples)
    plain = train(replace(wanted, out=tmp_path / "plain", image_position=None), progress=False)
    assert read_card(plain.path / "model").image_position == "as_written"
    ours, theirs = (load(run.path / "model").model.state_dict() for run in (moved, plain))
    assert all(bool((ours[name] == theirs[name]).all()) for name in ours)
    more = replace(wanted, model=moved.path / "model", out=tmp_path / "more", image_position=None)
    assert read_card(train(more, progress=False).path / "model").image_position == "first"


def _last(text):
    return text.removeprefix("<image>\n") + "\n<image>" if "<image>" in text else text
