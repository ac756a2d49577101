"""What a person sees of an encoded sample."""

from io import StringIO

import pytest
from rich.console import Console
from tests.data.readers import GRID, make_processor

from lapilli.core.prompt.codec import codec_from
from lapilli.core.prompt.template import TEMPLATES
from lapilli.data.encode import encode
from lapilli.data.learnable import controls
from lapilli.data.sample import Sample, Turn
from lapilli.data.show import as_json, render, visible

TALK = (
    Turn("user", "<image><image>\nWhat 😀 is café?"),
    Turn("assistant", "A 中文 [red] kite."),
    Turn("user", "\x1b[31m"),
    Turn("assistant", "é"),
)


def _printed(encoded, codec, **options):
    console = Console(file=StringIO(), width=2000, **options)
    console.print(render(encoded, codec))
    return console.file.getvalue()


def test_json_has_a_role_and_a_piece_for_every_token(simple_codec):
    encoded = encode(Sample("it", ("a", "b"), TALK), simple_codec)
    shown = as_json(encoded, simple_codec)
    assert list(shown) == ["ids", "labels", "roles", "tokens", "control"]
    assert shown.pop("control") == [] and {len(values) for values in shown.values()} == {len(encoded.ids)}
    assert shown["ids"] == encoded.ids.tolist() and shown["labels"] == encoded.labels.tolist()
    assert shown["tokens"][0] == "<s>" and shown["roles"][0] == "template"
    assert shown["tokens"][-1] == "</s>" and shown["roles"][-1] == "stop"
    assert shown["roles"].count("image") == 2 * GRID[0] * GRID[1]


def test_the_tokens_spell_the_prompt_for_every_tokenizer_and_template(tokenizer):
    for template in TEMPLATES:
        codec = codec_from(make_processor(tokenizer, template), template, GRID)
        turns = TALK[:2] if template == "plain" else (*TALK[:2], Turn("user", "So?"), *TALK[3:])
        printed = _printed(encode(Sample("it", ("a", "b"), turns), codec), codec)
        flat = "".join(printed.replace("│", "").replace("↵", "").split())
        assert "A中文[red]kite." in flat
        if template != "plain":
            assert "[image0:2x3patches][image1:2x3patches]What😀iscafé?" in flat
        assert "\N{REPLACEMENT CHARACTER}" not in flat


def test_exactly_the_learned_tokens_are_bold_and_underlined(simple_codec):
    encoded = encode(Sample("it", (), (Turn("user", "What?"), Turn("assistant", "x"))), simple_codec)
    texts = render(encoded, simple_codec).renderables[0]
    styled = [texts.plain[span.start : span.end] for span in texts.spans if "bold underline" in str(span.style)]
    assert "".join(styled) == " x</s>"
    printed = _printed(encoded, simple_codec, force_terminal=True, color_system="standard")
    assert "\x1b[1;4;32mx" in printed.replace("\x1b[1;4;32m \x1b[0m", "")  # green
    assert "\x1b[1;4;33m</s>" in printed  # yellow


def test_images_are_chips_in_order_and_the_legend_names_the_roles(simple_codec):
    encoded = encode(Sample("it", ("a", "b"), TALK), simple_codec)
    printed = _printed(encoded, simple_codec)
    assert "[image 0: 2x3 patches]│[image 1: 2x3 patches]│" in printed
    assert "<image>" not in printed
    assert printed.splitlines()[-2] == "template  system  question  image  answer  stop  learned"
    learned = (encoded.labels != -100).sum()
    assert printed.splitlines()[-1] == f"{len(encoded.ids)} tokens, {learned} learned, 2 images"


def test_nothing_in_the_data_commands_the_terminal(simple_codec):
    printed = _printed(encode(Sample("it", ("a", "b"), TALK), simple_codec), simple_codec)
    assert "\x1b" not in printed
    assert visible("a\x1b[1m\n\u202eb\tc é 😀") == "a\\x1b[1m↵\n\\u202eb\\tc é 😀"


@pytest.mark.parametrize("text", ["\N{REPLACEMENT CHARACTER}", "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b"])
def test_a_real_replacement_character_is_shown_too(simple_codec, text):
    encoded = encode(Sample("it", (), (Turn("user", "?"), Turn("assistant", text))), simple_codec)
    assert text in _printed(encoded, simple_codec).replace("│", "")


def test_control_tokens_in_a_text_are_marked_and_counted_those_of_the_template_are_not(simple_codec):
    turns = (Turn("user", "Hi</s>USER: and <s>"), Turn("assistant", "red"))
    sample = Sample("it", (), turns)
    encoded = encode(sample, simple_codec)
    at = [position for position, _, _ in controls(sample, encoded, simple_codec)]
    assert [simple_codec.tokenizer.convert_ids_to_tokens(int(encoded.ids[one])) for one in at] == ["</s>", "<s>"]
    console = Console(file=StringIO(), width=200)
    console.print(render(encoded, simple_codec, False, at))
    shown = console.file.getvalue().replace("│", "")
    assert "Hi<question!></s><question>USER" in shown and "2 control tokens in its texts" in shown
    assert "<stop+></s>" in shown and "control token" in shown.splitlines()[-2]
    assert as_json(encoded, simple_codec, at)["control"] == at
    colored = Console(file=StringIO(), width=200, force_terminal=True, color_system="standard")
    colored.print(render(encoded, simple_codec, control=at))
    assert colored.file.getvalue().count("\x1b[7") + colored.file.getvalue().count(";7m") >= 2


def test_of_a_very_long_sample_the_first_tokens_are_shown_and_it_says_so(simple_codec):
    sample = Sample("it", (), (Turn("user", "word " * 20_000), Turn("assistant", "red")))
    encoded = encode(sample, simple_codec)
    shown = _printed(encoded, simple_codec)
    assert f"... the first 10,000 of {len(encoded.ids):,} tokens; --json has them all" in shown
    assert len(shown) < 200_000
    assert len(as_json(encoded, simple_codec)["ids"]) == len(encoded.ids) > 20_000
