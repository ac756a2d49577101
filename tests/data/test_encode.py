"""Ids, labels and layout of a conversation, against transformers' processor and against an oracle."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.readers import AWKWARD, GRID, llama, make_processor, trained

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Role
from lapilli.core.prompt.codec import codec_from
from lapilli.core.prompt.template import TEMPLATES
from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn, read_samples

REAL_ROWS = Path(__file__).parents[3] / "shared/data/lcs/lcs.json"
PATCHES = GRID[0] * GRID[1]

# Texts of one question and answer, and of longer talks; every question of the first kind also serves stage 1.
PAIRS = [
    ("<image>\nWhat is it?", "It is red."),
    ("What is it?\n<image>", "42"),
    ("<image>", "x"),
    ("What is <image> this?", "😀"),
    ("<image> 😀 café naïve 中文?", "中文字, café 👍🏽 naïve é."),
    ("<image>\nSay USER: or ASSISTANT:", "USER: hello ASSISTANT: bye"),
    ("<image>\n", " begins with a space"),
    ("<image>\nIs it? ", "  begins with two"),
    ("<image>\nIs it?\n\n", "\nbegins with a line break"),
    ("<image>\n", "\n\n  both, and ends so \n "),
    ("<image>\tTab", "one\ntwo\n\nthree\u2028four\u00a0five"),
    ("<image>\nWhat?", "ends with a dot.\n"),
    ("<image><image>\nWhich?", "The first."),
    ("Between <image> and\n<image>?", "…"),
    ("No picture at all", "None"),
    ("", "An answer to nothing"),
]
TALKS = [
    [("<image>\nWhat is it?", "A kite."), ("And its color?", "red"), ("Sure?", "😀")],
    [("Hello", "Hi."), ("<image>\nWhat is it?", "中"), ("And <image>?", " the same\n")],
    [("USER: a", "ASSISTANT: b"), ("ASSISTANT: c", "USER: d")],
]


def _sample(*pairs):
    turns = [Turn(role, text) for pair in pairs for role, text in zip(("user", "assistant"), pair, strict=True)]
    marks = sum(turn.text.count("<image>") for turn in turns)
    return Sample("it", tuple(f"{number}.png" for number in range(marks)), tuple(turns))


def _samples(template):
    return [_sample(pair) for pair in PAIRS] + ([] if template == "plain" else [_sample(*talk) for talk in TALKS])


def _read(processor, turns, **options):
    """The ids that transformers' own processor gives for the turns."""
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    pictures = [Image.new("RGB", (40, 30))] * sum(turn.text.count("<image>") for turn in turns)
    read = processor.apply_chat_template(
        messages, tokenize=True, return_dict=True, processor_kwargs={"images": pictures} if pictures else {}, **options
    )
    return [int(token) for token in np.ravel(read["input_ids"])]


def _oracle(processor, turns):
    """[(first, end)] of the tokens of every answer with its stop, or None where a prompt is not the start of the whole.

    What a model has to produce is what follows the prompt for generation: the ids of the talk up to each answer begin
    with those of the prompt that asks for it, and the rest is learned.
    """
    spans, whole = [], _read(processor, turns)
    for end in range(2, len(turns) + 1, 2):
        prompt = _read(processor, turns[: end - 1], add_generation_prompt=True)
        answered = _read(processor, turns[:end])
        if whole[: len(prompt)] != prompt or whole[: len(answered)] != answered:
            return None
        spans.append((len(prompt), len(answered)))
    return spans


def _check(sample, processor, codec):
    """Compare one sample with the processor and the oracle, or see that it is refused exactly where it must be."""
    spans = _oracle(processor, sample.turns)
    if spans is None:
        with pytest.raises(LapilliError, match=r"^sample 'it': turn \d+: token .* joins the "):
            encode(sample, codec)
        return
    encoded = encode(sample, codec)
    learned = np.zeros(len(encoded.ids), bool)
    for first, end in spans:
        learned[first:end] = True
    assert encoded.ids.tolist() == _read(processor, sample.turns)
    assert encoded.labels.tolist() == np.where(learned, encoded.ids, -100).tolist()
    assert np.isin(encoded.layout.role, (Role.ANSWER, Role.STOP)).tolist() == learned.tolist()
    if processor.template == "plain" and not sample.images:
        return  # no prompt is left
    prompt = encode(sample, codec, for_generation=True)
    assert prompt.ids.tolist() == encoded.ids[: spans[-1][0]].tolist()
    assert prompt.layout.role.tolist() == encoded.layout.role[: spans[-1][0]].tolist()


@pytest.mark.parity
def test_ids_are_the_processor_s_and_labels_the_answers_and_their_stops(processor, codec):
    for sample in _samples(processor.template):
        _check(sample, processor, codec)


@pytest.mark.parity
def test_random_texts_of_awkward_pieces(processor, codec):
    chance = random.Random(7)
    for _ in range(10):
        texts = ["".join(chance.choices(AWKWARD, k=chance.randrange(1, 9))) for _ in range(4)]
        texts[1], texts[3] = texts[1] + "x", texts[3] + "中"  # answers of white space alone are refused
        if any(stop in text for text in texts for stop in ("</s>", "<s>")):
            continue
        pairs = [("<image>" + texts[0], texts[1]), (texts[2], texts[3])]
        _check(_sample(*pairs[: 1 if processor.template == "plain" else 2]), processor, codec)


@pytest.mark.parity
@pytest.mark.skipif(not REAL_ROWS.exists(), reason=f"{REAL_ROWS}: no 200 real rows of LCS-558K there")
@pytest.mark.parametrize("template", ["plain", "vicuna_v1"])
def test_real_rows_with_the_tokenizer_they_were_made_for(template):
    processor = make_processor(llama("llama"), template)
    codec = codec_from(processor, template, GRID)
    for sample in read_samples(REAL_ROWS)[:40]:
        encoded = encode(sample, codec)
        assert encoded.ids.tolist() == _read(processor, sample.turns)
        learned = _spell(codec.tokenizer, encoded.ids[encoded.labels != -100])
        assert learned.lstrip(" ") == sample.turns[1].text + TEMPLATES[template].stop


@pytest.mark.parity
def test_a_message_of_parts_gives_the_same_ids(processor, codec):
    content = [{"type": "image", "image": Image.new("RGB", (40, 30))}, {"type": "text", "text": "What is it?"}]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "A kite."}]
    read = processor.apply_chat_template(messages, tokenize=True, return_dict=True)
    encoded = encode(_sample(("<image>\nWhat is it?", "A kite.")), codec)
    assert encoded.ids.tolist() == list(np.ravel(read["input_ids"]))


def test_the_learned_ids_spell_the_answers_and_their_stops(processor, codec):
    template = TEMPLATES[processor.template]
    for sample in _samples(processor.template):
        try:
            encoded = encode(sample, codec)
        except LapilliError:
            continue  # refused, as the comparison with the oracle has it
        answers = [turn.text for turn in sample.turns if turn.role == "assistant"]
        for turn, answer in enumerate(answers):
            (at,) = np.nonzero((encoded.labels != -100) & (encoded.layout.turn == turn))
            assert at.tolist() == list(range(at[0], at[-1] + 1))
            spelled = _spell(codec.tokenizer, encoded.ids[at])
            assert spelled.lstrip(" ") == (answer + template.before_stop + template.stop).lstrip(" ")
        assert set(encoded.layout.turn[encoded.labels != -100]) == set(range(len(answers)))


def _spell(tokenizer, ids):
    """The text of ids, after a token that keeps the decoder from taking off the first space."""
    red = tokenizer.encode("red", add_special_tokens=False)
    return tokenizer.decode([*red, *ids])[len(tokenizer.decode(red)) :]


def test_every_role_spells_its_part_of_the_conversation(simple_codec):
    sample = _sample(("<image>\nWhat is it?", "A kite."), ("red 😀 USER:?", " café 中"))
    encoded = encode(sample, simple_codec)
    system = "".join(text for text, _ in TEMPLATES["vicuna_v1"].opening)
    assert _said(encoded, simple_codec, Role.SYSTEM, -1) == system
    assert _said(encoded, simple_codec, Role.QUESTION, 0) == "\nWhat is it?"
    assert _said(encoded, simple_codec, Role.ANSWER, 0) == " A kite."
    assert _said(encoded, simple_codec, Role.QUESTION, 1) == " red 😀 USER:?"  # the space is glued to "red"
    assert _said(encoded, simple_codec, Role.ANSWER, 1) == "  café 中"
    assert _said(encoded, simple_codec, Role.STOP, 0) == _said(encoded, simple_codec, Role.STOP, 1) == "</s>"
    assert _said(encoded, simple_codec, Role.TEMPLATE, -1) == "<s>"
    assert _said(encoded, simple_codec, Role.TEMPLATE, 0) == " USER:  ASSISTANT:"
    assert _said(encoded, simple_codec, Role.TEMPLATE, 1) == "USER: ASSISTANT:"


def _said(encoded, codec, role, turn):
    return codec.tokenizer.decode(encoded.ids[encoded.layout.positions(role, turn)])


def test_offsets_without_their_spaces_give_the_same_layout(simple_codec):
    """Spaces at the end of a question and of an answer: their tokens have no width in such a tokenizer."""
    trimmed = trained("bytes, offsets trimmed")
    codec = codec_from(make_processor(trimmed, "vicuna_v1"), "vicuna_v1", GRID)
    sample = _sample(("<image>  red   ", "x  "), ("  ", " x "))
    expected, encoded = encode(sample, simple_codec), encode(sample, codec)
    assert encoded.ids.tolist() == expected.ids[1:].tolist()  # but for the <s>
    assert encoded.layout.role.tolist() == expected.layout.role[1:].tolist()
    assert encoded.layout.turn.tolist() == expected.layout.turn[1:].tolist()
    read = trimmed("x  </s>", return_offsets_mapping=True, add_special_tokens=False)
    assert (3, 3) in read["offset_mapping"]  # the tokenizer is of that kind


def test_a_known_row_token_by_token(simple_codec):
    encoded = encode(_sample(("<image>?", "x")), simple_codec)
    pieces = simple_codec.tokenizer.convert_ids_to_tokens(encoded.ids)
    start = pieces.index("<image>")
    assert pieces[start:] == ["<image>"] * PATCHES + ["?", "ĠASSISTANT", ":", "Ġ", "x", "</s>"]
    assert encoded.labels.tolist() == [-100] * (len(pieces) - 3) + encoded.ids[-3:].tolist()
    assert encoded.layout.role[start : start + PATCHES].tolist() == [Role.IMAGE] * PATCHES
    assert encoded.layout.row[start : start + PATCHES].tolist() == [0, 0, 0, 1, 1, 1]
    assert encoded.layout.column[start : start + PATCHES].tolist() == [0, 1, 2, 0, 1, 2]


def test_images_are_numbered_in_the_order_of_the_marks(simple_codec):
    encoded = encode(_sample(("a <image> b <image>", "c"), ("d <image>", "e")), simple_codec)
    assert encoded.images == ("0.png", "1.png", "2.png")
    assert encoded.layout.image_count == 3
    starts = [encoded.layout.patches(image)[0, 0] for image in range(3)]
    assert starts == sorted(starts)
    assert [encoded.layout.turn[start] for start in starts] == [0, 0, 1]
    assert all(encoded.layout.patches(image).shape == GRID for image in range(3))
    image_id = simple_codec.image_token_id
    assert (encoded.ids == image_id).sum() == 3 * PATCHES == (encoded.layout.role == Role.IMAGE).sum()


def test_a_text_only_sample_has_no_images(simple_codec):
    encoded = encode(_sample(("Hello", "Hi")), simple_codec)
    assert encoded.images == () and encoded.layout.image_count == 0
    assert simple_codec.image_token_id not in encoded.ids


def test_a_question_without_an_answer_is_a_prompt(simple_codec):
    asked = Sample("it", ("a.png",), (Turn("user", "<image>\nWhat is it?"),))
    prompt = encode(asked, simple_codec, for_generation=True)
    assert prompt.ids.tolist() == encode(_sample(("<image>\nWhat is it?", "x")), simple_codec, True).ids.tolist()
    assert (prompt.labels == -100).all()
    assert simple_codec.tokenizer.decode(prompt.ids).endswith("What is it? ASSISTANT:")
    with pytest.raises(LapilliError, match=r"^sample 'it': the last of 1 turns must be the assistant's"):
        encode(asked, simple_codec)


def test_captions_keep_the_picture_and_the_caption_only(simple_tokenizer):
    plain = codec_from(make_processor(simple_tokenizer, "plain"), "plain", GRID)
    for question in ("<image>\nWhat is it?", "Describe it.\n<image>", "<image>"):
        encoded = encode(_sample((question, "a red kite")), plain)
        text = simple_tokenizer.decode(encoded.ids)
        assert text == "<s>" + "<image>" * PATCHES + "a red kite\n"
        assert simple_tokenizer.decode(encoded.ids[encoded.labels != -100]) == "a red kite\n"


def test_a_prompt_for_a_caption_needs_a_picture(simple_tokenizer):
    plain = codec_from(make_processor(simple_tokenizer, "plain"), "plain", GRID)
    with pytest.raises(LapilliError, match="template plain keeps the pictures of a question alone, and there are none"):
        encode(_sample(("What?", "x")), plain, for_generation=True)


def test_a_caption_may_have_several_lines(simple_tokenizer):
    plain = codec_from(make_processor(simple_tokenizer, "plain"), "plain", GRID)
    encoded = encode(_sample(("<image>", "one\ntwo\n")), plain)
    assert simple_tokenizer.decode(encoded.ids[encoded.labels != -100]) == "one\ntwo\n\n"


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (Sample("a", (), (Turn("user", "<image>?"), Turn("assistant", "x"))), "1 <image> in the questions, 0 images"),
        (Sample("a", ("b",), (Turn("user", "?"), Turn("assistant", "x"))), "0 <image> in the questions, 1 images"),
        (Sample("a", ("b",), (Turn("user", "<image><image>"), Turn("assistant", "x"))), "2 <image> in the questions"),
        (Sample("a", (), (Turn("user", "?"), Turn("assistant", " \n"))), "turn 1: empty answer"),
        (Sample("a", (), (Turn("user", "?"), Turn("assistant", "x</s>y"))), "turn 1: the answer holds '</s>'"),
        (Sample("a", (), (Turn("user", "?"), Turn("assistant", "<image>"))), "turn 1: the answer holds '<image>'"),
        (Sample("a", (), (Turn("assistant", "x"), Turn("user", "?"))), "turn 0: user expected"),
        (Sample("a", (), ()), "the last of 0 turns"),
    ],
)
def test_what_cannot_be_learned_is_refused_with_the_sample_s_name(simple_codec, sample, message):
    with pytest.raises(LapilliError, match=f"^sample 'a': {re.escape(message)}"):
        encode(sample, simple_codec)


@pytest.mark.parametrize("answer", ["", " ", "\n"])
def test_an_empty_answer_is_refused_where_the_template_makes_no_segment_of_it(simple_tokenizer, answer):
    chatml = codec_from(make_processor(simple_tokenizer, "chatml"), "chatml", GRID)
    with pytest.raises(LapilliError, match="turn 1: empty answer"):
        encode(_sample(("?", answer), ("?", "x")), chatml)


def test_an_image_token_in_the_text_that_is_no_mark_is_refused(simple_codec):
    tokenizer = simple_codec.tokenizer
    other = simple_codec.__class__(
        tokenizer, "vicuna_v1", "<|im_end|>", tokenizer.convert_tokens_to_ids("<|im_end|>"), GRID, None
    )
    assert encode(_sample(("<image>?", "x")), other).layout.image_count == 1
    with pytest.raises(LapilliError, match=r"2 tokens .* for 1 images"):
        encode(_sample(("<image>? <|im_end|>", "x")), other)


def test_a_tokenizer_that_ends_every_text_itself_is_refused(simple_codec, simple_tokenizer):
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(simple_tokenizer.backend_tokenizer.to_str())
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    ending = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    with pytest.raises(LapilliError, match="the tokenizer appends '</s>' to every text"):
        encode(_sample(("?", "x")), codec_from(make_processor(ending, "vicuna_v1"), "vicuna_v1", GRID))


def test_glued_tokens_are_refused_and_not_mislabelled():
    """Under chatml the answer follows a line break; here two of them are one token."""
    tokenizer = trained("bytes, greedy for line breaks")
    chatml = codec_from(make_processor(tokenizer, "chatml"), "chatml", GRID)
    assert "ĊĊ" in tokenizer.get_vocab()
    with pytest.raises(LapilliError, match=r"token '\\n\\n' joins the template text to the answer text.*strip"):
        encode(_sample(("?", "\nx")), chatml)


def test_a_stop_glued_to_the_caption_is_learned_all_the_same():
    tokenizer = trained("bytes, greedy for line breaks")
    plain = codec_from(make_processor(tokenizer, "plain"), "plain", GRID)
    assert ".Ċ" in tokenizer.get_vocab()
    encoded = encode(_sample(("<image>", "It is red.")), plain)
    assert tokenizer.convert_ids_to_tokens(encoded.ids[-2:]) == ["Ġred", ".Ċ"]
    assert tokenizer.decode(encoded.ids[encoded.labels != -100]) == "It is red.\n"


def test_the_arrays_cannot_be_changed(simple_codec):
    encoded = encode(_sample(("?", "x")), simple_codec)
    for array in (encoded.ids, encoded.labels, encoded.layout.role):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
