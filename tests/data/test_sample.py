"""Rows of LLaVA's format, read and written."""

import codecs
import gzip
import json
from pathlib import Path

import pytest

from lapilli.core.errors import LapilliError
from lapilli.data.sample import Sample, Turn, parse_row, read_sample, read_samples, write_samples

REAL_ROWS = Path(__file__).parents[3] / "shared/data/lcs/lcs.json"

ROW = {
    "id": "7",
    "image": "a/b.jpg",
    "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A kite."}],
}
SAMPLE = Sample("7", ("a/b.jpg",), (Turn("user", "<image>\nWhat is it?"), Turn("assistant", "A kite.")))


def _file(folder, text, name="rows.json"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_row_of_the_published_format():
    assert parse_row(ROW, "here") == SAMPLE


def test_roles_may_be_user_and_assistant_and_keys_role_and_content():
    turns = [{"role": "user", "content": "<image>\nWhat is it?"}, {"role": "assistant", "content": "A kite."}]
    assert parse_row({**ROW, "conversations": turns}, "here") == SAMPLE


def test_a_row_without_images_and_one_with_two():
    talk = [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi"}]
    assert parse_row({"id": 3, "conversations": talk}, "here").images == ()
    assert parse_row({"id": 3, "image": None, "conversations": talk}, "here").id == "3"
    talk[0]["value"] = "<image> or <image>?"
    assert parse_row({"id": 3, "image": ["a.png", "b.png"], "conversations": talk}, "here").images == ("a.png", "b.png")


def test_unknown_fields_are_kept_and_written_back(tmp_path):
    extra = {"model": "", "weights": [1, 2.5, None], "names": {"köln": "大"}}
    path = _file(tmp_path, json.dumps([{**ROW, **extra}]))
    assert read_samples(path)[0].extra == extra
    write_samples(path, read_samples(path))
    assert json.loads(path.read_text()) == [{**ROW, **extra}]


@pytest.mark.parametrize("name", ["again.json", "again.jsonl"])
def test_reading_what_was_written_gives_equal_samples(tmp_path, name):
    talk = (Turn("user", 'Über "all"\n<image>\u2028<image>'), Turn("assistant", "😀\r\n中"))
    samples = [SAMPLE, Sample("b", ("x y.png", "ü.png"), (*talk, Turn("user", ""), Turn("assistant", " é ")))]
    path = tmp_path / name
    write_samples(path, samples)
    assert read_samples(path) == samples
    write_samples(path, [])
    assert read_samples(path) == []


@pytest.mark.skipif(not REAL_ROWS.exists(), reason=f"{REAL_ROWS}: no 200 real rows of LCS-558K there")
def test_real_rows_survive_being_read_and_written(tmp_path):
    samples = read_samples(REAL_ROWS)
    write_samples(tmp_path / "again.json", samples)
    assert read_samples(tmp_path / "again.json") == samples
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads(REAL_ROWS.read_text())
    assert len(samples) == 200


def test_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path):
    line = json.dumps(ROW).encode()
    assert read_samples(_file(tmp_path, b"\xef\xbb\xbf[" + line + b"]")) == [SAMPLE]
    assert read_samples(_file(tmp_path, line + b"\r\n\n" + line, "rows.jsonl")) == [SAMPLE, SAMPLE]


def test_the_first_bad_row_is_one_line_with_file_row_value_and_remedy(tmp_path):
    bad = {**ROW, "conversations": [{"from": "robot", "value": "<image>"}, ROW["conversations"][1]]}
    path = _file(tmp_path, json.dumps([ROW, bad, "no row"]))
    with pytest.raises(LapilliError) as error:
        read_samples(path)
    wanted = f"{path}, row 1: conversations[0]: unknown role 'robot'; known roles: human, user, gpt, assistant"
    assert str(error.value) == wanted


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rows.json", '[{"id": 1},\n {"id": 2},]', "line 2, column 11: trailing comma; remove the comma"),
        ("rows.json", '[{"id": 1,\n}]', "line 1, column 10: trailing comma; remove the comma"),
        ("rows.json", '[{"id": 1}\n {"id": 2}]', "line 2, column 2: Expecting ',' delimiter; mend the text there"),
        ("rows.json", '{"id": 1} {"id": 2}', "line 1, column 11: Extra data; name it .jsonl if it has one row a line"),
        ("rows.json", '{"id": 1}', "file: holds an object, a list of rows expected; wrap the rows in [ and ]"),
        ("rows.json", "", "file: empty; write a list of rows into it"),
        ("rows.json", b'[\n"\xe9"]', "file: line 2: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        ("rows.json", "[" * 100_000, "file: line 1: maximum recursion depth exceeded"),
        ("rows.jsonl", '\n{"id": 1,}', "row 0: file: not JSON: line 2, column 9: trailing comma; remove the comma"),
        ("rows.txt", "", "ending '.txt'; name it .json (one list) or .jsonl (one row a line)"),
        ("rows.csv", "", "a table of comma-separated values, JSON expected; write its rows as JSON"),
        ("rows.parquet", "", "a Parquet file, JSON expected; write its rows as JSON, one object a line"),
        ("rows.jsonl.gz", "", "compressed by gzip, JSON expected; unpack it"),
        ("rows.json", "id,image\n1,a.png\n", "file: a table of separated values, JSON expected; write its rows"),
        ("rows.jsonl", '"id"\t"image"\n1\ta.png\n', "file: a table of separated values, JSON expected"),
        ("rows.json", gzip.compress(b"[]", mtime=0), "file: compressed by gzip, JSON expected; unpack it with gunzip"),
        ("rows.jsonl", b"PAR1" + bytes(9), "file: a Parquet file, JSON expected; write its rows as JSON"),
        ("rows.json", "[]".encode("utf-16"), "file: UTF-16 text, JSON expected; save the file as UTF-8"),
        ("rows.jsonl", '{"id": 1}\n'.encode("utf-16-le"), "file: UTF-16 text, JSON expected; save the file as UTF-8"),
        ("rows.jsonl", '{"id": 1}\n'.encode("utf-32"), "file: UTF-32 text, JSON expected; save the file as UTF-8"),
    ],
)
def test_what_is_no_json_is_told_with_its_place(tmp_path, name, text, message):
    path = _file(tmp_path, text, name)
    with pytest.raises(LapilliError) as error:
        read_samples(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_is_read_whatever_its_ending_and_so_are_lines(tmp_path, indent, mark):
    rows = [as_row(number) for number in range(3)]
    whole = mark + json.dumps(rows, indent=indent).encode()
    lines = mark + b"\n" + "\r\n".join(map(json.dumps, rows)).encode()
    read = [read_samples(_file(tmp_path, text, name)) for text in (whole, lines) for name in ("r.json", "r.jsonl")]
    assert all(samples == read[0] for samples in read) and [sample.id for sample in read[0]] == ["0", "1", "2"]


def test_a_broken_line_of_lines_under_another_ending_is_its_rows_fault(tmp_path):
    path = _file(tmp_path, json.dumps(as_row(0)) + "\n{]\n", "rows.json")
    with pytest.raises(LapilliError, match="row 1: file: not JSON: line 2, column 2"):
        read_samples(path)


def as_row(number):
    return {"id": number, "conversations": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "a"}]}


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    (tmp_path / "folder.json").mkdir()
    for name in ("missing.json", "folder.json"):
        with pytest.raises(LapilliError, match=r"cannot be read: .*; check the path"):
            read_samples(tmp_path / name)


def test_half_a_character_in_a_field_that_nobody_checks_is_written_back(tmp_path):
    path = _file(tmp_path, json.dumps([{**ROW, "note": "\ud83d"}]))
    write_samples(tmp_path / "again.json", read_samples(path))
    assert read_samples(tmp_path / "again.json") == read_samples(path)


def test_one_row_is_read_whatever_the_others_are(tmp_path):
    path = _file(tmp_path, json.dumps([{}, ROW, 5]))
    assert read_sample(path, 1) == SAMPLE
    with pytest.raises(LapilliError, match="row 0: id: missing"):
        read_sample(path, 0)
    with pytest.raises(LapilliError, match="row 3: there are 3 rows; they count from 0"):
        read_sample(path, 3)
    with pytest.raises(LapilliError, match="not JSON: line 1, column 2"):
        read_sample(_file(tmp_path, "[}"), 7)


def test_ids_may_repeat_when_reading(tmp_path):
    assert read_samples(_file(tmp_path, json.dumps([ROW, ROW]))) == [SAMPLE, SAMPLE]
