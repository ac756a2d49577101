"""Commands that print what others wrote, and streams that cannot hold it."""

import json
import os
import subprocess
import sys

import pytest
from tests.hostile.refusal import say
from tests.parts import picture

from lapilli.cli import run
from lapilli.core.run import RunDir

HOSTILE = "\x1b]0;owned\x07\x1b[31mred\x9b2J\u202etxt\u2066[bold]x[/bold]\r\x08\x7f"
ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}


def with_note(folder):
    file = folder / "model/lapilli.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"notes": [HOSTILE], "template": HOSTILE}))
    return ["model", "info", folder / "model"]


def with_kind(folder):
    file = folder / "model/config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_type": HOSTILE}))
    return ["model", "info", folder / "model"]


def with_row(folder):
    turns = [{"from": HOSTILE, "value": HOSTILE}, {"from": "gpt", "value": ""}]
    (folder / "rows.json").write_text(json.dumps([{"id": HOSTILE, "image": HOSTILE, "conversations": turns}]))
    return ["data", "validate", folder / "rows.json", "--images", folder]


def with_recipe(folder):
    (folder / "recipe.yaml").write_text(f"stage: {json.dumps(HOSTILE)}\n")
    return ["train", folder / "recipe.yaml"]


def with_shown_recipe(folder):
    (folder / "recipe.yaml").write_text("stage: align\nmodel: m\ndata: {file: f}\nout: " + json.dumps(HOSTILE) + "\n")
    return ["train", folder / "recipe.yaml", "--show"]


def with_scenes(folder):
    (folder / "scenes").mkdir()
    (folder / "scenes/questions.jsonl").write_text("{}")
    row = {"id": "1", "image": HOSTILE, "background": "light", "things": [{"color": HOSTILE}]}
    (folder / "scenes/scenes.jsonl").write_text(json.dumps(row))
    return ["study", "hallucination", folder / "model", "--data", folder / "scenes", "--out", folder / "out"]


def with_names(folder):
    picture(1).save(folder / "a\x1b[31m\u202eb.png")
    return ["ask", folder / "model", folder / "a\x1b[31m\u202eb.png", HOSTILE, "--max-new-tokens", 1]


def with_option(folder):
    return ["model", "convert", folder / "model", folder / "out", "--to", HOSTILE]


def with_command(folder):
    return [HOSTILE]


MAKERS = [
    with_note,
    with_kind,
    with_row,
    with_recipe,
    with_shown_recipe,
    with_scenes,
    with_names,
    with_option,
    with_command,
]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("option", ["", "--debug", "--json"])
def test_no_command_prints_what_a_terminal_obeys(make, option, folder, capsys):
    command = make(folder)
    before, after = (["--debug"] if option == "--debug" else []), (["--json"] if option == "--json" else [])
    said = say([*before, *command, *after], capsys)
    assert {char for char in said.out + said.err if not char.isprintable()} <= {"\n"}
    if option == "--json" and said.out:
        json.loads(said.out)


@pytest.mark.parametrize("name", ["results/scorecard.json", "results/arrays.npz", "recipe.yaml", "manifest.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_a_spoilt_run_is_not_drawn(name, content, tmp_path, capsys):
    made = RunDir.create(tmp_path / "run", {"a": 1}, 0)
    made.save("scorecard", {"model": "m"})
    made.save_arrays("arrays", {})
    made.finish()
    (tmp_path / "run" / name).write_bytes(content)
    assert run(["scorecard", "m", "d", "--out", str(tmp_path / "out"), "--beside", str(tmp_path / "run")]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("lapilli: ") and said.err.count("\n") == 1 and "--debug" not in said.err
    assert "run it again" in said.err
    assert not (tmp_path / "out").exists()


def ascii_streams(*command):
    program = [sys.executable, "-c", "from lapilli.cli import main; main()", *command]
    return subprocess.run(program, capture_output=True, env={**os.environ, **ASCII})


def test_streams_of_ascii(folder):
    (folder / "rows.json").write_text(
        json.dumps([{"id": "größe", "image": "ö.png"}], ensure_ascii=False), encoding="utf-8"
    )
    said = ascii_streams("data", "validate", str(folder / "rows.json"), "--images", str(folder))
    assert said.returncode == 1 and said.stderr.count(b"\n") == 1  # what was not checked
    assert b"gr\\xf6\\xdfe" in said.stdout and said.stdout.isascii()


def test_questions_where_the_locale_is_ascii(folder):
    answers = {}
    for question in ("wie groß?", "wie gro\udcff?"):
        asked = ascii_streams("ask", str(folder / "model"), str(folder / "picture.png"), question, "--json")
        answers[question] = asked
    right, wrong = answers.values()
    assert (right.returncode, json.loads(right.stdout)["answer"] != "") == (0, True)
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert b"is not UTF-8" in wrong.stderr and wrong.stderr.count(b"\n") == 1


@pytest.mark.parametrize("argument", ["a\0b", "\ud800", "x" * 5_000, "\udcff"])
def test_arguments_that_no_file_is_called(argument, folder, capsys):
    for command in (["ask", argument, "p.png", "What?"], ["ask", folder / "model", argument, "What?"]):
        said = say(command, capsys)
        assert said.code in (1, 2)
        assert said.err.count("\n") == 1 and "--debug" not in said.err
