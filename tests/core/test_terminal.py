"""What others wrote reaches a terminal as text: escaped, and without markup."""

import io
import json

import pytest
from rich.console import Group
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from lapilli.core.terminal import Terminal, one_line, printable

HOSTILE = "a\x1b[31m\x1b]0;title\x07b\x9b2Jc\u202ed\u2066e\r\x08\x0b\x7f\u200b\ufeff\ud800[bold]f[/bold] :smile:"


def shown(renderable):
    stream = io.StringIO()
    Terminal(file=stream, width=400, force_terminal=False).print(renderable, soft_wrap=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b2J\x7f", "\\x9b2J\\x7f"),
        ("\u202etxt\u2069", "\\u202etxt\\u2069"),
        ("\r\x08\x0b\t", "\\r\\x08\\x0b\\t"),
        ("\ud800 \U000e0041", "\\ud800 \\U000e0041"),
        ("\u2028\u200b", "\\u2028\\u200b"),
        ("a\nb", "a\nb"),
        (
            "\u0645\u06cc\u200c\u062e 👩\u200d👧 \u0915\u094d\u200d\u0937",
            "\u0645\u06cc\u200c\u062e 👩\u200d👧 \u0915\u094d\u200d\u0937",
        ),
        ("a\u200db \u200c\u200d é\u200b\u200d", "a\\u200db \\u200c\\u200d é\\u200b\\u200d"),
        ("é 🪨 Où\u00a0?", "é 🪨 Où\u00a0?"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text, escaped):
    assert printable(text) == escaped
    assert printable(escaped) == escaped


def table():
    made = Table(HOSTILE, title=HOSTILE, caption=HOSTILE)
    made.add_row(HOSTILE)
    made.add_row(Text(HOSTILE))
    return made


@pytest.mark.parametrize("made", [HOSTILE, Text(HOSTILE), Group(Text(HOSTILE), HOSTILE), table()])
def test_whatever_is_printed_goes_through_it(made):
    said = shown(made)
    assert {char for char in said if not char.isprintable()} == {"\n"}
    assert "\\x1b[31m" in said and "\\u202e" in said and "\\ud800" in said
    assert "[bold]f[/bold] :smile:" in said  # no markup, no emoji


def test_columns_are_as_wide_as_what_they_show():
    made = Table("a")
    made.add_row("\x1b[31mred")
    assert len({len(line) for line in shown(made).splitlines()}) == 1


def test_progress_too():
    stream = io.StringIO()
    console = Terminal(file=stream, width=300, force_terminal=True, color_system=None)
    with Progress(TextColumn("{task.description}", markup=False), console=console, auto_refresh=False) as bar:
        bar.add_task(HOSTILE)
    assert "\\x1b[31m" in stream.getvalue()
    assert "\x1b[31m" not in stream.getvalue() and "\x9b" not in stream.getvalue()


def test_json_on_stdout_is_ascii(capsys):
    from lapilli.cli.console import print_json

    print_json({"text": HOSTILE})
    said = capsys.readouterr().out
    assert said.isascii() and said[:-1].isprintable()
    assert json.loads(said) == {"text": HOSTILE}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\n\n b\t\r\nc ", "a b c"),
        ("x" * 10, "x" * 10),
        ("x" * 11, "x" * 9 + "…"),
        ("12345678 9 10", "12345678…"),
        ("\x1b]0;", "\\x1b]0;"),
        ("", ""),
    ],
)
def test_text_of_others_is_a_short_part_of_a_line(text, line):
    assert one_line(text, 10) == line
