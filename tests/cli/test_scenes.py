"""`lapilli data scenes`."""

import json

import pytest

from lapilli.cli import run
from lapilli.data.scenes.dataset import write_scenes
from lapilli.data.validate import validate


def bytes_of(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("split", ["train", "held_out", "compositional"])
def test_it_writes_the_scenes_that_were_asked_for(split, tmp_path, capsys):
    out = tmp_path / "scenes"
    assert run(["data", "scenes", str(out), "--count", "6", "--split", split, "--seed", "3"]) == 0
    assert capsys.readouterr().out == f"{out}: 6 scenes\n"
    names = {f"{folder}/{index:06d}.png" for folder in ("images", "masks") for index in range(6)}
    names |= {"align.json", "instruct.json", "dialogue.json", "questions.jsonl", "context.jsonl", "scenes.jsonl"}
    assert bytes_of(out).keys() == names
    write_scenes(tmp_path / "same", 6, split, 3)
    assert bytes_of(out) == bytes_of(tmp_path / "same")


def test_what_it_writes_is_sound(tmp_path):
    assert run(["data", "scenes", str(tmp_path / "s"), "--count", "5"]) == 0
    for name in ("align", "instruct"):
        assert len(json.loads((tmp_path / f"s/{name}.json").read_text())) == 5
        assert validate(tmp_path / f"s/{name}.json", tmp_path / "s/images").problems == ()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--split", "test"], 2, "--split test: no such split; there are train, held_out, compositional"),
        (["--count", "0"], 2, "--count"),
        (["--seed", "one"], 2, "--seed"),
    ],
)
def test_a_bad_option_is_one_line_and_writes_nothing(arguments, code, message, tmp_path, capsys):
    assert run(["data", "scenes", str(tmp_path / "s"), *arguments]) == code
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_refused_and_left_as_it_was(tmp_path, capsys):
    (tmp_path / "s").mkdir()
    (tmp_path / "s/mine.txt").write_text("mine")
    assert run(["data", "scenes", str(tmp_path / "s"), "--count", "2"]) == 1
    assert f"{tmp_path / 's'}" in capsys.readouterr().err
    assert bytes_of(tmp_path) == {"s/mine.txt": b"mine"}
