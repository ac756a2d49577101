"""Templates of text models read parts as they read strings, and what already reads parts is left as it is."""

import pytest
from tests.core.prompt.chat_templates import ENDED, LLAVA_HF, PARTS, QWEN_2
from tests.core.prompt.test_tokenizer_template import own

from lapilli.core.errors import LapilliError
from lapilli.core.prompt.flatten import flattening
from lapilli.core.prompt.tokenizer_template import OwnTemplate
from lapilli.data.sample import Turn

TURN = "{{ '[' ~ m.role ~ ']' + m.content + '</s>' }}"
STRINGS = {
    **{name: template for name, template in ENDED.items() if name != "parts"},
    "added": "{% for m in messages %}" + TURN + "{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
    "a macro that sees messages": (
        "{% macro all() %}{% for m in messages %}" + TURN + "{% endfor %}{% endmacro %}{{ all() }}"
    ),
    "a call that sees messages": (
        "{% macro twice() %}{{ caller() }}{% endmacro %}"
        "{% call twice() %}{% for m in messages %}" + TURN + "{% endfor %}{% endcall %}"
    ),
    "messages set anew": (
        "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] | trim %}"
        "{% set messages = messages[1:] %}{% else %}{% set system = 'none' %}{% endif %}{{ '<<' + system + '>>' }}"
        "{% for m in messages %}" + TURN + "{% endfor %}"
    ),
    "a loop in a loop": (
        "{% for i in range(messages | length) %}{% for m in messages[i:i + 1] %}"
        "{% set content = m.content if i else '!' + m.content %}{{ content + '</s>' }}{% endfor %}{% endfor %}"
    ),
    "a namespace of the same name": (
        "{% set flattened = namespace(n=0) %}{% for message in messages %}{% set flattened.n = flattened.n + 1 %}"
        "{{ flattened.n ~ message['content'] + '</s>' }}{% endfor %}"
    ),
    "generation": (
        "{% for m in messages %}{% if m.role == 'assistant' %}{{ '[assistant]' }}"
        "{% generation %}{{ m.content + '</s>' }}{% endgeneration %}{% else %}" + TURN + "{% endif %}{% endfor %}"
    ),
    "tools and the day": (
        "{{ strftime_now('%Y') }}{% if tools %}{{ tools | tojson }}{% endif %}"
        "{% for m in messages %}" + TURN + "{% endfor %}"
    ),
    "either, with another mark": (
        "{% for m in messages %}{{ m.role }}{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for p in m.content %}"
        "{% if p.type == 'image' %}<|picture|>{% else %}{{ p.text }}{% endif %}{% endfor %}{% endif %}</s>{% endfor %}"
    ),
    "parts of the first question alone": (
        "{% for m in messages %}{{ m.role }}{% if m.content is string or loop.index0 %}{{ '' + m.content }}{% else %}"
        "{% for p in m.content %}{{ '<image>\n' if p.type == 'image' else p.text }}{% endfor %}{% endif %}</s>"
        "{% endfor %}"
    ),
}
"""Those in ENDED that take strings, and others that a prelude could disturb."""
STAY = {
    "either, without a line break": (
        "{% for m in messages %}{{ m.role }}{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for p in m.content %}"
        "{% if p.type == 'image' %}<image>{% else %}{{ p.text }}{% endif %}{% endfor %}{% endif %}</s>{% endfor %}"
    ),
    "llava-hf": LLAVA_HF,
    "parts": PARTS,
    "either": (
        "{% for m in messages %}{{ m.role }}{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for p in m.content %}"
        "{{ '<image>\n' if p.type == 'image' else p.text }}{% endfor %}{% endif %}</s>{% endfor %}"
    ),
}
TALK = [("user", "<image>\nWhat is {{ this }}?"), ("assistant", " Red.\n"), ("user", "Where, <image>\nhere?")]


def parts(text):
    first, *others = text.split("<image>\n")
    made = [{"type": "text", "text": first}] if first else []
    for words in others:
        made += [{"type": "image"}, {"type": "text", "text": words}]
    return made


def rendered(template, source, messages, **options):
    return template.tokenizer.apply_chat_template(messages, chat_template=source, tokenize=False, **options)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("name", STRINGS)
def test_parts_come_to_what_strings_come_to(name, count):
    source, template = STRINGS[name], own(STRINGS[name])
    strings = [{"role": role, "content": text} for role, text in TALK[:count]]
    lists = [{"role": role, "content": parts(text)} for role, text in TALK[:count]]
    for options in ({"add_generation_prompt": count != 2}, {"tools": [{"name": "look"}]}):
        expected = rendered(template, source, strings, **options)
        assert "What is {{ this }}?" in expected
        assert rendered(template, template.jinja(), strings, **options) == expected
        assert rendered(template, template.jinja(), lists, **options) == expected
        assert rendered(template, template.jinja(), [lists[0], *strings[1:]], **options) == expected


@pytest.mark.parametrize("name", STAY)
def test_what_reads_parts_is_stored_as_it_is_and_spoken_to_as_others_do(name):
    template = own(STAY[name])
    assert template.jinja() == STAY[name]
    spoken = "".join(segment.text for segment in template.segments([Turn(*TALK[0])], True))
    sent = [{"role": "user", "content": parts(TALK[0][1])}]
    assert spoken == rendered(template, None, sent, add_generation_prompt=True)


@pytest.mark.parametrize("name", STRINGS)
def test_what_was_stored_is_stored_the_same_and_cut_the_same(name):
    template = own(STRINGS[name])
    stored = own(template.jinja())
    assert stored.jinja() == template.jinja()
    turns = [Turn(*turn) for turn in TALK]
    assert stored.segments(turns, True) == template.segments(turns, True)


@pytest.mark.parametrize("start", ["", "\n", "  ", "\t\n ", "\n\n", " x"])
@pytest.mark.parametrize("first", ["{% if true %}y{% endif %}", "{%- if true %}y{% endif %}", "{{ 'y' }}", "{# n #}y"])
def test_white_space_before_a_template_is_kept_or_stripped_as_it_was(start, first):
    source = start + first + STRINGS["added"]
    messages = [{"role": "user", "content": "Q"}]
    template = own(source)
    assert rendered(template, flattening(source), messages) == rendered(template, source, messages)


def test_other_fields_and_messages_without_content_pass():
    source = "{% for m in messages %}{{ m | tojson }}{% endfor %}"
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Q"}], "name": "Ada"},
        {"role": "assistant", "tool_calls": [{"name": "look"}]},
    ]
    template = own(source)
    flat = rendered(template, flattening(source), messages)
    assert flat == rendered(template, source, [messages[0] | {"content": "Q"}, messages[1]])


def test_a_system_text_is_flattened_and_one_that_is_refused_stays_refused():
    said = [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, {"role": "user", "content": "Q"}]
    template = own(QWEN_2)
    assert rendered(template, template.jinja(), said).startswith("<|im_start|>system\nBe brief.<|im_end|>\n")
    gemma = own(ENDED["gemma"])
    with pytest.raises(Exception, match="no system role"):
        rendered(gemma, gemma.jinja(), said)
    with pytest.raises(Exception, match="roles must take turns"):
        mistral = own(ENDED["mistral"])
        rendered(mistral, mistral.jinja(), [said[1], said[1]])


def test_of_several_templates_the_default_one_is_taken():
    tokenizer = own({"default": QWEN_2, "tool_use": STRINGS["added"]}).tokenizer
    assert OwnTemplate(tokenizer).jinja() == own(QWEN_2).jinja()
    tokenizer.chat_template = {"tool_use": QWEN_2, "rag": QWEN_2}
    with pytest.raises(LapilliError, match=r"^template own: it refuses .* choose a named one$"):
        OwnTemplate(tokenizer).jinja()


def test_the_tracked_answers_are_those_of_the_strings():
    source = STRINGS["generation"]
    template = own(source)
    turns = [{"role": role, "content": parts(text)} for role, text in TALK]
    masks = [
        template.tokenizer.apply_chat_template(
            messages, chat_template=text, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )["assistant_masks"]
        for text, messages in ((source, [{"role": r, "content": t} for r, t in TALK]), (template.jinja(), turns))
    ]
    assert masks[0] == masks[1] and any(masks[0])
