"""The program as a whole: exit codes, one line an error, and a quick help page."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import lapilli
from lapilli.cli import app, console, run
from lapilli.cli.console import bars, note, print_json, progress_bar, steps
from lapilli.core.errors import LapilliError, UsageError

PROGRAM = Path(sys.executable).with_name("lapilli")


@pytest.fixture
def command():
    """Adds a command `try-it` that does what it is told, and takes it away again."""

    def add(does):
        app.command("try-it")(does)

    yield add
    app.registered_commands.pop()


def raising(error):
    def does():
        raise error

    return does


def test_the_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr() == (f"lapilli {lapilli.__version__}\n", "")


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_without_a_command(capsys, arguments):
    assert run(arguments) == 0
    captured = capsys.readouterr()
    assert "Usage: lapilli" in captured.out
    assert captured.err == ""


def test_a_command_that_works_ends_with_0(command, capsys):
    command(lambda: print_json({"share": float("nan"), "text": "[bold]é" + "x" * 200}))
    assert run(["try-it"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"share": None, "text": "[bold]é" + "x" * 200}
    assert captured.err == ""


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (LapilliError("rows.json: row 3: no image;\nadd one"), 1, "lapilli: rows.json: row 3: no image; add one\n"),
        (
            UsageError("[red]--set x[/]: write it as field=value"),
            2,
            "lapilli: [red]--set x[/]: write it as field=value\n",
        ),
        (RuntimeError("odd\nsize"), 1, "lapilli: RuntimeError: odd size (lapilli --debug ... shows where)\n"),
        (OSError(28, "No space left on device", "a.json"), 1, None),
    ],
)
def test_an_error_is_one_line_on_stderr(command, capsys, error, code, line):
    command(raising(error))
    assert run(["try-it"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err == line or (line is None and "No space left on device: 'a.json'" in captured.err)


@pytest.mark.parametrize("error", [LapilliError("row 3"), RuntimeError("odd")])
def test_debug_adds_the_traceback(command, capsys, error):
    command(raising(error))
    assert run(["--debug", "try-it"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("Traceback (most recent call last)")
    assert "in does" in captured.err
    assert captured.err.splitlines()[-1] in ("lapilli: row 3", "lapilli: RuntimeError: odd")


def test_an_interrupt_ends_with_130(command, capsys):
    command(lambda: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        assert run(["try-it"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "lapilli: interrupted\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nonsense"], "lapilli: No such command 'nonsense'."),
        (["--nonsense"], "lapilli: No such option: --nonsense"),
        (["try-it", "surplus"], "lapilli: Got unexpected extra argument"),
    ],
)
def test_wrong_use_ends_with_2(command, capsys, arguments, line):
    command(lambda: None)
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(line)
    assert captured.err.count("\n") == 1


def test_progress_goes_to_stderr(capsys, monkeypatch):
    monkeypatch.setattr(console, "messages", Console(stderr=True, force_terminal=True))
    with progress_bar() as bar:
        bar.advance(bar.add_task("reading", total=2))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "reading" in captured.err


def test_a_step_that_is_done_leaves_the_terminal_to_others(capsys, monkeypatch):
    """Training, which comes between two such steps, has a display of its own."""
    monkeypatch.setattr(console, "messages", Console(stderr=True, force_terminal=True))
    with bars() as progress:
        progress("scenes", 0, 2)
        progress("scenes", 2, 2)
        note("between")
        assert capsys.readouterr().err.rstrip().endswith("between")  # nothing is drawn below it again
        progress("questions", 1, 2)
        note("meanwhile")
    said = capsys.readouterr().err
    assert "scenes" not in said and "questions" in said.partition("meanwhile")[2]


def test_a_step_that_begins_again_with_fewer_shows_how_many_they_are(capsys, monkeypatch):
    """As the second turns of conversations, behind the first ones."""
    monkeypatch.setattr(console, "messages", Console(stderr=True, force_terminal=True, width=200))
    with steps() as note:
        for total in (40, 7):
            note("turns", total, total)
    shown = capsys.readouterr().err
    assert "7/7" in shown and "7/40" not in shown


@pytest.mark.parametrize(("every", "lines"), [(0, ["cases: 1 of 2", "cases: 2 of 2"]), (60, [])])
def test_off_a_terminal_progress_is_a_line_now_and_then(every, lines, capsys, monkeypatch):
    monkeypatch.setattr(console, "_EVERY", every)
    with steps() as note:
        note("cases", 1, 2)
        note("cases", 2, 2)
    assert capsys.readouterr().err.splitlines() == lines


def test_the_installed_program_returns_its_exit_code():
    wrong = subprocess.run([PROGRAM, "nonsense"], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert subprocess.check_output([PROGRAM, "--version"], text=True) == f"lapilli {lapilli.__version__}\n"


def test_help_takes_less_than_half_a_second():
    """The best of several runs, in processor time: waiting for other work on a busy machine is not ours.

    As on a user's machine, bytecode is kept from one run to the next, whatever this process was told.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([PROGRAM, "--help"], check=True, capture_output=True, env=kept)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.5


def test_help_imports_nothing_large():
    """Of numpy alone the threads take longer to start than all the rest of the help page."""
    script = "import sys; from lapilli.cli import run; run(['--help']); print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", script], text=True).splitlines()[-1].split()
    assert not {"numpy", "torch", "transformers", "PIL", "packaging"} & set(loaded)
