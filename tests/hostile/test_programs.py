"""What strangers wrote and what must be run: chat templates and the rules of tokenizers that ask for too much."""

import json
import shutil
import sys

import pytest
from tests.core.prompt.test_tokenizer_template import own
from tests.hostile.refusal import assert_bounded, assert_one_line, assert_refused, command, say
from tests.parts import part

from lapilli.core.errors import LapilliError
from lapilli.core.prompt.tokenizer_template import unbounded
from lapilli.core.trial import tokenizing, trial

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="no Linux, on which alone processes are copied with limits"
)

TIME, MEMORY = "does not end within 2 s", "needs more than 512 MB"
SAID = "{{ messages[0].content }}"
TEMPLATES = {
    "a product": ("{{ 'a' * 3000000000 }}", MEMORY),
    "a padded word": ("{{ 'a'.ljust(3000000000) }}", MEMORY),
    "a format": ("{{ '%3000000000d' % 1 }}", MEMORY),
    "a text that doubles": (
        "{% set n = namespace(t='aaaaaaaa') %}{% for i in range(30) %}{% set n.t = n.t ~ n.t %}{% endfor %}{{ n.t }}",
        MEMORY,
    ),
    "a list": ("{% set l = [0] * 3000000000 %}{{ l | length }}", MEMORY),
    "loops in loops": (
        "{% for i in range(99999) %}{% for j in range(99999) %}{% set x = i * j %}{% endfor %}{% endfor %}",
        TIME,
    ),
    "a macro that calls itself twice": (
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        TIME,
    ),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_that_asks_for_too_much_is_not_run(name):
    source, wrong = TEMPLATES[name]
    tokenizer = own(source + SAID).tokenizer
    assert unbounded(tokenizer, tokenizer.chat_template) == wrong
    assert unbounded(tokenizer, tokenizer.chat_template) == wrong  # at once: it is known by now


def test_a_model_that_speaks_such_a_template_is_refused(folder, capsys):
    model = folder / "model"
    (model / "chat_template.jinja").write_text(TEMPLATES["a product"][0] + SAID)
    card = json.loads((model / "lapilli.json").read_text())
    (model / "lapilli.json").write_text(json.dumps(card | {"template": "own"}))
    message = f"template own: it {MEMORY} for a short conversation; choose a named one"
    assert_refused(folder, command("ask", folder), capsys, message)


def test_one_that_is_stored_beside_the_spoken_one_is_a_finding(folder, capsys):
    model = folder / "model"
    (model / "chat_template.jinja").write_text(TEMPLATES["a list"][0] + SAID)
    said = say(["doctor", model], capsys)
    assert f"FAILED tokens = the processor's   chat_template.jinja {MEMORY} for a short conversation" in said.out
    assert said.code == 1 and "ok     chat = ask" in said.out
    assert_bounded(said)


def test_a_language_model_with_such_a_template_is_not_joined(folder, capsys):
    language = shutil.copytree(part("qwen2"), folder / "language")
    (language / "chat_template.jinja").write_text(TEMPLATES["a macro that calls itself twice"][0] + SAID)
    parts = ["--vision", part("clip"), "--language", language, "--template", "own"]
    assert_refused(folder, ["model", "build", folder / "out", *parts], capsys, TIME)


def replacing(pattern, content):
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def splitting(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


DOUBLING = {"type": "Sequence", "normalizers": [replacing("a", "aa")] * 30}
RULES = {
    "a letter that becomes a megabyte": ({"normalizer": replacing("e", "x" * 2**20)}, MEMORY),
    "a letter that doubles again and again": ({"normalizer": DOUBLING}, ""),
    "a pattern that goes back and forth": ({"pre_tokenizer": splitting("(a+)+$")}, "gives up on an ordinary text"),
    "one that takes alternatives": ({"pre_tokenizer": splitting("( | ?)+z")}, "gives up on an ordinary text"),
    "a pattern of a normalizer": (
        {"normalizer": {"type": "Replace", "pattern": {"Regex": "(x+x+)+y"}, "content": ""}},
        "gives up on an ordinary text",
    ),
    "an answer that swells": ({"decoder": replacing("e", "x" * 2**24)}, MEMORY),
}


@pytest.mark.parametrize("name", RULES)
def test_a_tokenizer_whose_rules_ask_for_too_much_is_refused(folder, name, capsys):
    change, wrong = RULES[name]
    file = folder / "model/tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    message = f"{wrong}: a rule of tokenizer.json; fetch the tokenizer again"  # time or memory, which ends first
    assert_refused(folder, command("ask", folder), capsys, message)


def test_a_rule_that_gives_up_on_some_texts_alone_is_one_line(folder, capsys):
    file = folder / "model/tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pre_tokenizer": splitting("(ab|abab)+$")}))
    arguments = command("ask", folder)
    arguments[3] = "ab" * 40 + "!"
    said = say(arguments, capsys)
    assert said.code == 1
    assert_one_line(said.err)
    assert "the tokenizer gives up on the text: Onig: Regex search error: retry-limit-in-match over" in said.err


def test_a_panic_does_not_leave_the_border():
    class PanicException(BaseException):
        """As the one that cannot be imported."""

    with pytest.raises(LapilliError, match="the tokenizer gives up on the text: oh no; fetch"), tokenizing():
        raise PanicException("oh\nno")
    with pytest.raises(KeyboardInterrupt), tokenizing():
        raise KeyboardInterrupt


def test_what_is_tried_changes_nothing_here_and_may_raise():
    kept = []
    assert trial(lambda: kept.append(1)) is None and not kept
    assert trial(lambda: 1 // 0) is None
    assert trial(lambda: bytearray(2**30)) == MEMORY
