"""Encoding in a tokenizer's own template, against transformers' processor: every known manner, on every tokenizer."""

import random

import numpy as np
import pytest
from PIL import Image
from tests.core.prompt.chat_templates import ENDED, LLAVA_HF, SPECIAL
from tests.data.readers import AWKWARD, GRID, KINDS, LLAMA_KINDS, llama, make_processor, trained
from transformers import LlavaProcessor

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Role
from lapilli.core.prompt.codec import codec_from
from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn

PIECES = [*AWKWARD, "<|im", "{{ x }}", "mark0of0text"]


@pytest.fixture(scope="module", params=KINDS + LLAMA_KINDS)
def reader(request):
    """A tokenizer, in which every manner's special tokens are."""
    tokenizer = llama(request.param) if request.param in LLAMA_KINDS else trained(request.param)
    tokenizer.add_tokens(SPECIAL, special_tokens=True)
    if tokenizer.bos_token is None:
        tokenizer.bos_token = "<s>"  # which these put before no text, but their templates do
    return tokenizer


def _processor(tokenizer, template):
    tokenizer.chat_template = template
    made = make_processor(tokenizer, "plain")
    return LlavaProcessor(
        image_processor=made.image_processor,
        tokenizer=tokenizer,
        patch_size=made.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )


def _read(processor, codec, turns, **options):
    picture = Image.new("RGB", (40, 30))
    messages = codec.chat.messages(turns)
    parts = [part for message in messages for part in message["content"] if isinstance(part, dict)]
    for part in parts:
        if part["type"] == "image":
            part["image"] = picture
    marks = 0 if parts else sum(turn.text.count("<image>") for turn in turns)
    pictures = {"images": [picture] * marks} if marks else {}
    read = processor.apply_chat_template(
        messages, tokenize=True, return_dict=True, processor_kwargs=pictures, **options
    )
    return [int(token) for token in np.ravel(read["input_ids"])]


def _sample(*texts):
    turns = tuple(Turn(("user", "assistant")[index % 2], text) for index, text in enumerate(texts))
    return Sample("it", tuple("a.png" for text in texts for _ in range(text.count("<image>"))), turns)


def _samples(count):
    """Talks of awkward pieces, with pictures in any place of any question; no answer is white space alone."""
    chance = random.Random(5)
    for _ in range(count):
        texts = ["".join(chance.choices(PIECES, k=chance.randrange(1, 8))) for _ in range(2 * chance.randint(1, 3))]
        for index in range(0, len(texts), 2):
            if chance.random() < 0.6:
                at = chance.choice([0, len(texts[index]) // 2, len(texts[index])])
                texts[index] = texts[index][:at] + chance.choice(["<image>", "<image>\n"]) + texts[index][at:]
            texts[index + 1] += chance.choice(["x", "x ", "中", ".\n"])
        if not any(stop in text for text in texts for stop in ("</s>", "<s>")):
            yield _sample(*texts)


def _begins_as_asked(processor, codec):
    """GPT-2's manner cuts two line breaks apart before a word, so that no prompt that ends with two is a beginning."""
    turns = _sample("Q", "A").turns
    prompt = _read(processor, codec, turns[:1], add_generation_prompt=True)
    return _read(processor, codec, turns)[: len(prompt)] == prompt


def _check(sample, processor, codec):
    """The ids are the processor's; those learned are what follows each prompt, up to the stop and with it."""
    turns = sample.turns
    prompts = [_read(processor, codec, turns[:end], add_generation_prompt=True) for end in range(1, len(turns), 2)]
    whole, stop = _read(processor, codec, turns), codec.stop_id
    try:
        encoded = encode(sample, codec)
    except LapilliError as error:
        assert " joins the " in str(error)
        assert any(whole[: len(prompt)] != prompt for prompt in prompts) or "stop text" in str(error)
        return False
    learned = np.zeros(len(whole), bool)
    for prompt in prompts:
        assert whole[: len(prompt)] == prompt
        learned[len(prompt) : whole.index(stop, len(prompt)) + 1] = True
    assert encoded.ids.tolist() == whole
    assert encoded.labels.tolist() == np.where(learned, whole, -100).tolist()
    assert np.isin(encoded.layout.role, (Role.ANSWER, Role.STOP)).tolist() == learned.tolist()
    assert encode(sample, codec, for_generation=True).ids.tolist() == prompts[-1]
    return True


@pytest.mark.parity
@pytest.mark.parametrize("name", ENDED)
def test_ids_are_the_processor_s_and_labels_what_follows_the_prompts(reader, name):
    processor = _processor(reader, ENDED[name])
    codec = codec_from(processor, "own", GRID)
    if not _begins_as_asked(processor, codec):
        with pytest.raises(LapilliError, match="this tokenizer reads the end of a prompt otherwise"):
            encode(_sample("Q", "A"), codec)
        return
    checked = [_check(sample, processor, codec) for sample in _samples(12)]
    assert sum(checked) >= len(checked) // 3, f"{sum(checked)} of {len(checked)} samples could be encoded"


@pytest.mark.parity
def test_prompts_in_the_manner_of_llava_hf_are_the_processor_s(reader):
    processor = _processor(reader, LLAVA_HF)
    codec = codec_from(processor, "own", GRID)
    for sample in _samples(12):
        prompt = encode(sample, codec, for_generation=True)
        assert prompt.ids.tolist() == _read(processor, codec, sample.turns[:-1], add_generation_prompt=True)
        with pytest.raises(LapilliError, match=r"^sample 'it': template own: no special token follows an answer"):
            encode(sample, codec)


def test_a_text_begins_once(reader):
    """Whoever begins it: the tokenizer, the template, or, as in Llama 3, both would."""
    codec = codec_from(_processor(reader, ENDED["llama 3"]), "own", GRID)
    ids = encode(_sample("Q", "A"), codec, for_generation=True).ids.tolist()
    assert ids[0] == reader.bos_token_id and reader.bos_token_id not in ids[1:]


def test_an_answer_that_the_template_strips_to_nothing_is_refused(reader):
    codec = codec_from(_processor(reader, ENDED["gemma"]), "own", GRID)
    with pytest.raises(LapilliError, match=r"^sample 'it': turn 1: empty answer"):
        encode(_sample("Q", " \n"), codec)
