"""Files that may be anything: what they should hold, or one line."""

import json
import os
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import pytest

from lapilli.core.errors import LapilliError
from lapilli.core.read import MissingFileError, checked, read_json, read_json_lines


@dataclass(frozen=True)
class Inner:
    name: str
    x: float = 0.0


class Outer(TypedDict):
    inner: tuple[Inner, ...]
    pair: tuple[int, float]
    kind: Literal["a", "b"]
    more: dict[str, list[bool]]
    none: str | None


VALID = {"inner": [{"name": "n", "x": 1}], "pair": [1, 2], "kind": "a", "more": {"k": [True]}, "none": None, "extra": 3}


def test_what_should_be_there():
    assert checked(Outer, VALID, "file", "mend it") == {
        "inner": (Inner("n", 1.0),), "pair": (1, 2.0), "kind": "a", "more": {"k": [True]}, "none": None
    }  # fmt: skip
    assert checked(dict[str, Any], {"a": [object]}, "file", "") == {"a": [object]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inner": [{"x": 1}]}, "file: inner[0].name: missing; mend it"),
        ({"inner": [{"name": 3}]}, "file: inner[0].name: 3, text expected; mend it"),
        ({"inner": [{"name": "\ud800"}]}, "file: inner[0].name: half a character, '\\ud800'; mend it"),
        ({"inner": [{"name": "n", "x": float("nan")}]}, "inner[0].x: nan, a finite number expected"),
        ({"inner": [{"name": "n", "x": 10**400}]}, "inner[0].x: 1000"),
        ({"inner": [{"name": "n", "x": True}]}, "inner[0].x: True, a finite number expected"),
        ({"inner": {}}, "file: inner: dict, a list expected; mend it"),
        ({"pair": [1]}, "file: pair: list, 2 entries expected"),
        ({"pair": [True, 1]}, "file: pair[0]: True, a whole number expected"),
        ({"kind": "c"}, "file: kind: 'c'"),
        ({"kind": []}, "file: kind: list"),
        ({"more": {"k": [1]}}, "file: more.k[0]: 1, true or false expected"),
        ({"more": {"\udcff": []}}, "half a character"),
        ({"none": 3}, "file: none: 3, text expected"),
    ],
)
def test_what_is_something_else_is_named(changes, message):
    with pytest.raises(LapilliError) as caught:
        checked(Outer, {**VALID, **changes}, "file", "mend it")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 5_000, "not JSON"),
        (b"\xff", "not UTF-8 at byte 0"),
    ],
)
def test_what_is_no_json(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(LapilliError, match=f"a.json: .*{message}.*; mend it"):
        read_json(tmp_path / "a.json", "mend it")
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(tmp_path / "a.json", "mend it") == [1]


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, message in (
        ("pipe", "not a file"),
        ("nowhere", "No such file"),
        ("x" * 5_000, "too long"),
        ("a\0b", "null"),
    ):
        with pytest.raises(LapilliError, match=message):
            read_json(tmp_path / name, "mend it")


@pytest.mark.parametrize("name", ["nowhere", "there/nowhere", "a.json/nowhere"])
def test_what_is_missing_can_be_told_from_what_is_broken(tmp_path, name):
    (tmp_path / "a.json").write_text("[1")
    with pytest.raises(MissingFileError, match=r"cannot be read: .*; mend it"):
        read_json(tmp_path / name, "mend it")
    with pytest.raises(LapilliError) as broken:
        read_json(tmp_path / "a.json", "mend it")
    assert not isinstance(broken.value, MissingFileError)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_what_json_has_not_is_refused_where_all_is_to_be_finite(tmp_path, constant):
    (tmp_path / "a.json").write_text(f'{{"a": [1, {constant}]}}')
    with pytest.raises(LapilliError, match=f"not JSON: {constant} is no JSON number; mend it"):
        read_json(tmp_path / "a.json", "mend it", finite=True)
    assert repr(read_json(tmp_path / "a.json", "mend it")["a"][1]) in ("nan", "inf", "-inf")


def test_lines_have_their_place(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": "\u2028"}\r\n\n[1\n')
    lines = read_json_lines(tmp_path / "a.jsonl", "mend it")
    assert next(lines) == (f"{tmp_path}/a.jsonl:1", {"a": "\u2028"})
    with pytest.raises(LapilliError, match=r"a.jsonl:3: not JSON"):
        next(lines)
    assert json.loads('"\\ud800"') == "\ud800"  # why texts are looked at
