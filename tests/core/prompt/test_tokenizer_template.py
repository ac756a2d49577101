"""A tokenizer's own chat template, cut into pieces without a word of it being known."""

import random

import pytest
from tests.core.prompt.chat_templates import ENDED, LLAVA_HF, QWEN_2, SPECIAL, STOPS, conversation, joined

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Role
from lapilli.core.prompt.codec import chat_template, stop_id
from lapilli.core.prompt.template import Segment
from lapilli.core.prompt.tokenizer_template import OwnTemplate
from lapilli.data.sample import Turn


def own(template, eos="</s>"):
    """The template on a real tokenizer of bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({char: index for index, char in enumerate(alphabet)}, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token=eos)
    tokenizer.add_tokens([*SPECIAL, "<image>"], special_tokens=True)
    tokenizer.chat_template = template
    return OwnTemplate(tokenizer)


def rendered(template, turns, for_generation=False):
    return template.tokenizer.apply_chat_template(
        template.messages(turns), tokenize=False, add_generation_prompt=for_generation
    )


@pytest.mark.parametrize("name", ENDED)
def test_generation_prompt_and_learned_text_make_the_whole_prompt(name):
    template, turns = own(ENDED[name]), conversation("<image>\nQ", "A", "Q2", "A2")
    whole = template.segments(turns)
    for count in (2, 4):
        asked = template.segments(turns[: count - 1], for_generation=True)
        learned = [segment for segment in whole if segment.learned and segment.turn == count // 2 - 1]
        assert joined(whole).startswith(joined(asked) + joined(learned))
        assert template.segments(turns[:count], for_generation=True) == asked
    assert not joined(whole).removeprefix(joined(asked) + joined(learned)).strip()  # a line break, which nobody learns
    assert joined(whole) == rendered(template, turns)


@pytest.mark.parametrize("name", ENDED)
def test_exactly_the_answers_and_their_stops_are_learned(name):
    template = own(ENDED[name])
    segments = template.segments(conversation("<image>\nQ", "A", "Q2", "A2"))
    assert template.stop == STOPS[name]
    assert all(segment.text and segment.learned == (segment.role in (Role.ANSWER, Role.STOP)) for segment in segments)
    assert [(one.text.strip(), one.turn) for one in segments if one.role == Role.ANSWER] == [("A", 0), ("A2", 1)]
    assert [(one.text.strip(), one.turn) for one in segments if one.role == Role.STOP] == [
        (STOPS[name], 0),
        (STOPS[name], 1),
    ]
    first = "<image>Q" if name == "parts" else "<image>\nQ"
    assert [one.text for one in segments if one.role == Role.QUESTION] == [first, "Q2"]


def test_the_pieces_of_a_prompt_in_the_manner_of_qwen_2():
    assert own(QWEN_2).segments(conversation("Q", "A")) == [
        Segment("<|im_start|>system\n", Role.TEMPLATE, -1, False),
        Segment("You are a helpful assistant.", Role.SYSTEM, -1, False),
        Segment("<|im_end|>\n<|im_start|>user\n", Role.TEMPLATE, 0, False),
        Segment("Q", Role.QUESTION, 0, False),
        Segment("<|im_end|>\n<|im_start|>assistant\n", Role.TEMPLATE, 0, False),
        Segment("A", Role.ANSWER, 0, True),
        Segment("<|im_end|>", Role.STOP, 0, True),
        Segment("\n", Role.TEMPLATE, 0, False),
    ]


@pytest.mark.parametrize("name", ENDED)
def test_random_texts_are_found_where_they_stand(name):
    pieces = [
        "red",
        " ",
        "  ",
        "\n",
        "{{ x }}",
        "{% if %}",
        "'",
        "é",
        "🪨",
        "</s>",
        "mark0of0text",
        "[INST]",
        "<image>",
    ]
    rng, template = random.Random(3), own(ENDED[name])
    for _ in range(60):
        texts = ["".join(rng.choices(pieces, k=rng.randint(1, 6))) for _ in range(2 * rng.randint(1, 3))]
        turns = conversation(*(text.replace("<image>", "") if index % 2 else text for index, text in enumerate(texts)))
        segments = template.segments(turns)
        assert joined(segments) == rendered(template, turns)
        answers = [text for one in segments if one.role == Role.ANSWER and (text := one.text.strip())]
        assert answers == [turn.text.strip() for turn in turns[1::2] if turn.text.strip()]
        asked = template.segments(turns, for_generation=True)
        assert joined(asked) == rendered(template, turns[:-1], for_generation=True)


def test_a_template_of_parts_gets_images_where_the_marks_are():
    template = own(LLAVA_HF)
    (message,) = template.messages(conversation("<image>\nWhat is <image>this?"))
    image = {"type": "image"}
    words = [{"type": "text", "text": text} for text in ("What is ", "this?")]
    assert message == {"role": "user", "content": [image, words[0], image, words[1]]}
    texts = [
        segment.text
        for segment in template.segments(conversation("<image>\nWhat is <image>this?"), for_generation=True)
    ]
    assert texts == ["USER: ", "<image>\n<image>\nWhat is  this?", " ASSISTANT:"]


def test_where_nothing_ends_an_answer_one_can_talk_but_not_learn():
    template, turns = own(LLAVA_HF), conversation("<image>\nQ", "A", "Q2", "A2")
    assert template.stop == "</s>"
    asked = template.segments(turns, for_generation=True)
    assert joined(asked) == "USER: <image>\nQ ASSISTANT: A USER: Q2 ASSISTANT:"
    with pytest.raises(LapilliError, match="no special token follows an answer, so that none could be learned"):
        template.segments(turns)
    with pytest.raises(LapilliError, match="no special token ends an answer, and the tokenizer has no end token"):
        _ = own(LLAVA_HF, eos=None).stop


SAYING = "{% for m in messages %}{{ '<|' ~ m.role ~ '|>' ~ SAID ~ '<|end|>' }}{% endfor %}"
REFUSED = [
    ("m.content | upper", "renders no text of a user's"),
    ("m.content.split('. ')[-1]", "does more to the text 'Q. R' than"),
    ("m.content | replace('R', '')", "does more to the text 'Q. R' than"),
    ("m.content ~ m.content", "renders no text of a user's"),
    ("m.content ~ ('<image>' if m.role == 'user' else '')", "2 of 2 texts and 1 of 0 <image>"),
    ("raise_exception('not with me')", "refuses the conversation: not with me"),
    ("m.thoughts.deep ~ m.content", "refuses the conversation: .*thoughts"),
]


@pytest.mark.parametrize(("said", "message"), REFUSED)
def test_a_template_that_changes_or_refuses_what_is_said_is_one_line(said, message):
    with pytest.raises(LapilliError, match=f"^template own: .*({message})") as caught:
        own(SAYING.replace("SAID", said)).segments(conversation("Q. R", "A"))
    assert "\n" not in str(caught.value)


def test_a_template_that_asks_otherwise_than_it_answers_is_refused_for_learning_alone():
    thinking = SAYING.replace("SAID", "m.content") + "{% if add_generation_prompt %}<|assistant|>Hm.{% endif %}"
    template = own(thinking)
    with pytest.raises(LapilliError, match="turn 1: its answer does not begin with the prompt that asks for it"):
        template.segments(conversation("Q", "A"))
    assert joined(template.segments(conversation("Q", "A", "R"), for_generation=True)).endswith(
        "<|end|><|assistant|>Hm."
    )


def test_what_an_answer_begins_with_is_the_answer_s():
    thinking = (
        "{% for m in messages %}{{ '<|' ~ m.role ~ '|>' ~ ('<think></think>' if m.role == 'assistant' and loop.last) }}"
        "{{ m.content ~ ' <|end|>' }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    segments = own(thinking).segments(conversation("Q", "A", "R", "B"))
    answers = [segment.text for segment in segments if segment.role == Role.ANSWER]
    assert answers == ["A", "<think></think>B"]
    assert [segment.text for segment in segments if segment.role == Role.STOP] == [" <|end|>", " <|end|>"]


@pytest.mark.parametrize(
    ("turns", "for_generation", "message"),
    [
        ([], False, "the last of 0 turns must be the assistant's"),
        (conversation("Q"), False, "the last of 1 turns must be the assistant's"),
        ([Turn("assistant", "A")], False, "turn 0: user expected, assistant found"),
        ([Turn("user", "Q"), Turn("user", "Q")], True, "turn 1: assistant expected, user found"),
    ],
)
def test_turns_in_another_order_are_refused(turns, for_generation, message):
    with pytest.raises(LapilliError, match=message):
        own(QWEN_2).segments(turns, for_generation)


def test_it_is_found_by_its_name_where_there_is_one():
    tokenizer = own(QWEN_2).tokenizer
    assert chat_template("own", tokenizer).jinja().endswith("\n" + QWEN_2)
    assert stop_id(chat_template("own", tokenizer), tokenizer) == tokenizer.convert_tokens_to_ids("<|im_end|>")
    tokenizer.chat_template = None
    with pytest.raises(LapilliError, match="template own: the tokenizer has no chat template; choose a named one"):
        chat_template("own", tokenizer)
