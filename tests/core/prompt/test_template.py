"""Templates: the strings LLaVA was trained with, cut into pieces, and the same strings from Hugging Face's renderer."""

import random

import pytest
from tests.core.prompt.chat_templates import conversation, joined

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Role
from lapilli.core.prompt.template import TEMPLATES, Segment, template_named
from lapilli.data.sample import Turn

VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
LLAMA = (
    "[INST] <<SYS>>\nYou are a helpful language and vision assistant. "
    "You are able to understand the visual content that the user provides, "
    "and assist the user with a variety of tasks using natural language.\n<</SYS>>\n\n"
)
CHATML = "<|im_start|>system\nAnswer the questions.<|im_end|>"
PROMPTS = {
    "vicuna_v1": VICUNA + " USER: <image>\nQ ASSISTANT: A</s>USER: Q2 ASSISTANT: A2</s>",
    "llava_v1": VICUNA.replace(" user", " human") + " USER: <image>\nQ ASSISTANT: A</s>USER: Q2 ASSISTANT: A2</s>",
    "mistral": "[INST] <image>\nQ [/INST] A </s>[INST] Q2 [/INST] A2 </s>",
    "llama_2": LLAMA + "<image>\nQ [/INST] A </s><s>[INST] Q2 [/INST] A2 </s>",
    "chatml": CHATML + "<|im_start|>user\n<image>\nQ<|im_end|><|im_start|>assistant\nA<|im_end|>"
    "<|im_start|>user\nQ2<|im_end|><|im_start|>assistant\nA2<|im_end|>",
    "plain": "<image>A\n",
}


def exchanges(name):
    """A conversation that the template takes: two exchanges, but one for the captions of `plain`."""
    return conversation("<image>\nQ", "A", "Q2", "A2")[: 2 if name == "plain" else 4]


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_prompt_is_the_string_of_the_checkpoints(name):
    assert joined(TEMPLATES[name].segments(exchanges(name))) == PROMPTS[name]


@pytest.mark.parametrize("name", TEMPLATES)
def test_generation_prompt_and_learned_text_make_the_whole_prompt(name):
    template, turns = TEMPLATES[name], exchanges(name)
    asked = template.segments(turns[:-1], for_generation=True)
    whole = template.segments(turns)
    last = [segment for segment in whole if segment.turn == (len(turns) - 1) // 2 and segment.learned]
    assert joined(asked) + joined(last) == joined(whole)
    assert template.segments(turns, for_generation=True) == asked


@pytest.mark.parametrize("name", TEMPLATES)
def test_exactly_the_answers_and_their_stops_are_learned(name):
    whole = TEMPLATES[name].segments(exchanges(name))
    assert all(segment.learned == (segment.role in (Role.ANSWER, Role.STOP)) for segment in whole)
    assert all(segment.text for segment in whole)
    answers = [segment for segment in whole if segment.role == Role.ANSWER]
    assert [(segment.text.strip(" "), segment.turn) for segment in answers] == [("A", 0), ("A2", 1)][: len(answers)]
    stops = [segment for segment in whole if segment.role == Role.STOP]
    assert [segment.text.strip(" ") for segment in stops] == [TEMPLATES[name].stop] * len(answers)


def test_the_pieces_of_a_vicuna_prompt():
    assert TEMPLATES["vicuna_v1"].segments(exchanges("vicuna_v1")) == [
        Segment(VICUNA, Role.SYSTEM, -1, False),
        Segment(" USER: ", Role.TEMPLATE, 0, False),
        Segment("<image>\nQ", Role.QUESTION, 0, False),
        Segment(" ASSISTANT:", Role.TEMPLATE, 0, False),
        Segment(" A", Role.ANSWER, 0, True),
        Segment("</s>", Role.STOP, 0, True),
        Segment("USER: ", Role.TEMPLATE, 1, False),
        Segment("Q2", Role.QUESTION, 1, False),
        Segment(" ASSISTANT:", Role.TEMPLATE, 1, False),
        Segment(" A2", Role.ANSWER, 1, True),
        Segment("</s>", Role.STOP, 1, True),
    ]


def test_plain_keeps_the_picture_and_drops_the_words():
    assert joined(TEMPLATES["plain"].segments(conversation("Describe it.\n<image>", "a red circle"))) == (
        "<image>a red circle\n"
    )


@pytest.mark.parametrize(
    ("name", "turns", "for_generation", "message"),
    [
        ("vicuna_v1", [], False, "the last of 0 turns must be the assistant's"),
        ("vicuna_v1", [], True, "the last of 0 turns must be the user's"),
        ("vicuna_v1", conversation("Q"), False, "the last of 1 turns must be the assistant's"),
        ("vicuna_v1", [Turn("assistant", "A")], False, "turn 0: user expected, assistant found"),
        ("vicuna_v1", [Turn("user", "Q"), Turn("user", "Q")], True, "turn 1: assistant expected, user found"),
        ("vicuna_v1", [Turn("user", "Q"), Turn("gpt", "A")], False, "turn 1: assistant expected, gpt found"),
        ("plain", conversation("<image>", "A", "Q2", "A2"), False, "template plain: one picture and its caption"),
    ],
)
def test_turns_in_another_order_are_refused(name, turns, for_generation, message):
    with pytest.raises(LapilliError, match=message):
        TEMPLATES[name].segments(turns, for_generation)


def test_a_template_is_found_by_its_exact_name():
    assert template_named("chatml") is TEMPLATES["chatml"]
    with pytest.raises(
        LapilliError, match="template 'v1': unknown; choose one of vicuna_v1, llava_v1, plain, llama_2, mistral, chatml"
    ):
        template_named("v1")


@pytest.fixture(scope="module")
def render():
    """transformers' own rendering of a chat template, on a real tokenizer of one word."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>")), bos_token="<s>"
    )

    def rendered(template, messages, for_generation=False):
        return tokenizer.apply_chat_template(
            messages, chat_template=template.jinja(), tokenize=False, add_generation_prompt=for_generation
        )

    return rendered


def as_text(turns):
    return [{"role": turn.role, "content": turn.text} for turn in turns]


def as_parts(turns):
    """The same messages with each leading "<image>\\n" as an image part."""
    messages = []
    for turn in turns:
        parts, text = [], turn.text
        while text.startswith("<image>\n"):
            parts, text = [*parts, {"type": "image"}], text.removeprefix("<image>\n")
        messages.append({"role": turn.role, "content": [*parts, {"type": "text", "text": text}]})
    return messages


def random_conversation(rng, longest):
    """Texts with every character that a template language, a tokenizer or YAML could trip over."""
    pieces = ["red", "42", " ", "{{ x }}", "{% if %}", "'", '"', "\\n", "\n", "é", "🪨", "</s>", "%", "@STOP"]
    texts = ["".join(rng.choices(pieces, k=rng.randint(1, 6))) for _ in range(2 * rng.randint(1, longest))]
    return conversation(*("<image>\n" * rng.randint(0, 2) * (i % 2 == 0) + text for i, text in enumerate(texts)))


@pytest.mark.parity
@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("form", [as_text, as_parts])
def test_transformers_renders_the_same_string(render, name, form):
    rng, template = random.Random(0), TEMPLATES[name]
    for _ in range(50):
        turns = random_conversation(rng, longest=1 if name == "plain" else 3)
        assert render(template, form(turns)) == joined(template.segments(turns))
        asked = joined(template.segments(turns, for_generation=True))
        assert render(template, form(turns[:-1]), for_generation=True) == asked


@pytest.mark.parity
@pytest.mark.parametrize("name", TEMPLATES)
def test_the_rendered_template_refuses_what_segments_refuse(render, name):
    from jinja2 import TemplateError

    with pytest.raises(TemplateError, match="turns must alternate"):
        render(TEMPLATES[name], [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q"}])
    if name == "plain":
        with pytest.raises(TemplateError, match="one picture and its caption"):
            render(TEMPLATES[name], as_text(conversation("<image>", "A", "Q2", "A2")))
