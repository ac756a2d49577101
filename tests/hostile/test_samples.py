"""Data files that are none, and rows that reach for what is not theirs, given to `data` and to `train`."""

import json
import os

import pytest
from tests.hostile.refusal import assert_bounded, assert_refused, say, snapshot
from tests.parts import joined, picture


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images/sub").mkdir(parents=True)
    for name in ("images/a.png", "outside.png"):
        picture(3).save(tmp_path / name)
    (tmp_path / "images/link.png").symlink_to("../outside.png")
    (tmp_path / "images/circle.png").symlink_to("circle.png")
    (tmp_path / "images/up").symlink_to("..")
    (tmp_path / "images/zero.png").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "images/pipe.png")
    return tmp_path


def row(**changes):
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "red"}]
    return {"id": "1", "image": "a.png", "conversations": turns, **changes}


def text(*rows):
    return json.dumps(list(rows))


FILES = {
    "cut": (text(row())[:-9], "not JSON"),
    "100,000 brackets": ("[" * 100_000, "recursion"),
    "100,000 braces": ('{"a":' * 100_000, "recursion"),
    "a number of a million digits": (text(1).replace("1", "1" * 1_000_000), "digits"),
    "not a number": (text(row(id=float("nan"))), "id: a number"),
    "infinity": ('[{"id": 1e999}]', "id: a number"),
    "no list": ("{}", "holds an object"),
    "wrong types": (text(row(image=7), row(conversations="x"), None, [], "x"), "image: a number"),
    "half a character": ('[{"id": "\\ud800", "conversations": []}]', "half a character"),
    "not UTF-8": (b'[{"id": "\xe9"}]', "byte 0xe9 is not UTF-8"),
    "UTF-16": (text(row()).encode("utf-16"), "UTF-16 text, JSON expected"),
    "zeros": (bytes(1000), "not JSON"),
    "nothing": (b"", "empty"),
    "a million pictures in a row": (text(row(image=["a.png"] * 1_000_000)), "1 <image> in the questions for 1000000"),
    "100,000 empty rows": ("[" + "{}," * 99_999 + "{}]", "row 0: id: missing"),
}

PATHS = [
    "../outside.png", "a/../../outside.png", "sub/../../outside.png", "link.png", "up/outside.png", "/etc/hostname",
    "/dev/zero", "zero.png", "//a.png", "circle.png", "pipe.png", "sub", ".", "..", "a\0.png", "x" * 100_000,
    "..\\outside.png", "file:///etc/hostname", "http://localhost/a.png", "~/a.png", "\ud800.png", "a.png\n\x1b[31m",
]  # fmt: skip


def written(folder, content, name="rows.json"):
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def validated(folder, file, capsys):
    """What `data validate` finds, which is on stdout; and nothing but that comes of it."""
    before = snapshot(folder)
    said = say(["data", "validate", file, "--images", folder / "images", "--json"], capsys)
    assert (said.code, said.err) == (1, "")
    assert_bounded(said)
    assert snapshot(folder) == before
    return json.loads(said.out)["problems"]


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_rows(name, folder, capsys):
    content, message = FILES[name]
    file = written(folder, content)
    problems = validated(folder, file, capsys)
    assert all(problem["message"] and problem["remedy"] for problem in problems)
    show = ["data", "show", file, "--row", 0, "--model", joined("clip", "llama")]
    assert_refused(folder, show, capsys, message)


def test_a_broken_row_among_good_ones(folder, capsys):
    good = json.dumps(row())
    file = written(folder, "\n".join([good, good[:-5], good]), "rows.jsonl")
    assert [problem["row"] for problem in validated(folder, file, capsys)] == [1]


def test_of_a_name_given_twice_the_last_one_counts_for_the_check_too(folder, capsys):
    twice = text(row()).replace('"image": "a.png"', '"image": "a.png", "image": "../outside.png"')
    (problem,) = validated(folder, written(folder, twice), capsys)
    assert problem["message"].startswith("'../outside.png': leads out of")


@pytest.mark.parametrize("path", PATHS, ids=[ascii(path)[:24] for path in PATHS])
def test_a_picture_s_path(path, folder, capsys):
    (problem,) = validated(folder, written(folder, text(row(image=path))), capsys)
    assert problem["field"] == "image"
    assert problem["remedy"]


def test_a_training_opens_nothing_outside_and_begins_nothing(folder, capsys):
    file = written(folder, text(row(image="../outside.png")))
    fields = {"model": joined("clip", "llama"), "data.file": file, "data.images": folder / "images"}
    fields |= {"out": folder / "run", "max_steps": 1, "batch_size": 1}
    sets = [part for name, value in fields.items() for part in ("--set", f"{name}={value}")]
    said = say(["train", "recipes/align.yaml", *sets], capsys)
    assert said.code == 1
    assert "leads out of" in said.err
    assert len(said.err.splitlines()) == 1
    assert not (folder / "run").exists()


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "missing"])
def test_no_file_at_all(kind, folder, capsys):
    file = folder / "rows.json"
    make = {"pipe": lambda: os.mkfifo(file), "folder": file.mkdir, "device": lambda: file.symlink_to("/dev/zero")}
    make.get(kind, lambda: None)()
    for command in ("validate", "show"):
        more = {"validate": ["--images", folder], "show": ["--row", 0, "--model", joined("clip", "llama")]}[command]
        assert_refused(folder, ["data", command, file, *more], capsys, "cannot be read: ")
