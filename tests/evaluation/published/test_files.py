"""Files that somebody spoilt, and what is said of several files together."""

import json
import os
import random

import pytest
from scipy.stats import binomtest
from tests.evaluation.published.files import answers, lines, refusal, score, whole

from lapilli.cli import run
from lapilli.cli.score import spread
from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.run import RunDir
from lapilli.evaluation.published.protocol import PUBLISHED, published

TEXTS = {str(at): "red" for at in range(8)}


def labelled(tmp_path, texts=TEXTS):
    return whole(tmp_path / "labels.json", {key: ["red"] * 10 for key in texts})


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_every_entry_leads_to_a_benchmark_of_its_name(name):
    one = published(name)
    assert one.name == name and one.version and one.source


def test_an_unknown_name_is_refused_with_the_list():
    with pytest.raises(UsageError, match="no published benchmark 'mmmu'; there are: pope, gqa"):
        published("mmmu")


GOOD = {"question_id": 1, "prompt": "?", "text": "red"}
BAD_ROWS = {
    '{"question_id": 1, "text": "red"}\n{"question_id": "1", "text": "red"}': ":2: a second answer to '1', after",
    '{"prompt": "?", "text": "red"}': ":1: no question_id or id; its keys are 'prompt', 'text'",
    '{"question_id": 1}': ":1: no text",
    '{"question_id": null, "text": "red"}': ":1: question_id: null",
    '{"question_id": true, "text": "red"}': ":1: question_id: ",
    '{"question_id": NaN, "text": "red"}': ":1: question_id: nan",
    '{"question_id": 1.5, "text": "red"}': ":1: question_id: 1.5",
    '{"question_id": " ", "text": "red"}': ":1: question_id",
    '{"question_id": [1], "text": "red"}': ":1: question_id: a list",
    '{"question_id": 1, "text": NaN}': ":1: text: nan, text expected",
    '{"question_id": 1, "text": null}': ":1: text: null, text expected",
    '{"question_id": 1, "text": ["red"]}': ":1: text: a list, text expected",
    '{"question_id": 1, "text": 3}': ":1: text: ",
    '{"question_id": 1, "text": "\\ud800"}': ":1: text: half a character",
    '{"question_id": "\\udfff", "text": "a"}': ":1: question_id: half a character",
    '{"question_id": 1, "prompt": 5, "text": "red"}': ":1: prompt: ",
    '{"question_id": 1, "text": "red"': ":1: not JSON",
    "[1, 2]": "row 0: a number, an object expected",
    "3": ":1: a number, an object expected",
    '"text"': "an object expected",
    "": "empty; write one object a line",
    "\n\n": "empty",
    "[]": "empty",
    "[" * 100_000: "nested too deeply",
    '{"question_id": ' + "9" * 5000 + "}": ":1: not JSON",
}


@pytest.mark.parametrize("content", list(BAD_ROWS), ids=range(len(BAD_ROWS)))
def test_a_spoilt_row_is_named_in_one_line(tmp_path, capsys, content):
    (tmp_path / "a.jsonl").write_text(content)
    out = tmp_path / "out"
    command = ["vqa", "--answers", tmp_path / "a.jsonl", "--references", labelled(tmp_path), "--out", out]
    message = refusal(capsys, *command)
    assert "a.jsonl" in message and BAD_ROWS[content] in message
    assert not out.exists()


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "cp1252", "utf-32"])
def test_other_encodings_are_refused(tmp_path, capsys, encoding):
    (tmp_path / "a.jsonl").write_bytes(json.dumps(GOOD | {"text": "é"}, ensure_ascii=False).encode(encoding))
    assert "not UTF-8 at byte" in refusal(
        capsys, "vqa", "--answers", tmp_path / "a.jsonl", "--references", labelled(tmp_path)
    )


@pytest.mark.parametrize("change", ["bom", "crlf", "list", "blank lines", "whole floats", "line separator"])
def test_what_is_only_unusual_is_read(tmp_path, capsys, change):
    rows = [{"question_id": key, "prompt": "?", "text": text} for key, text in TEXTS.items()]
    if change == "whole floats":
        rows = [row | {"question_id": float(row["question_id"])} for row in rows]
    if change == "line separator":
        rows[0]["prompt"] = "a\u2028b\x85c"
    content = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    content = {"crlf": content.replace("\n", "\r\n"), "list": json.dumps(rows, indent=1)}.get(change, content)
    content = content.replace("\n", "\n\n \n") if change == "blank lines" else content
    file = tmp_path / "a.jsonl"
    file.write_text(content, encoding="utf-8-sig" if change == "bom" else "utf-8", newline="")
    result = score(capsys, "vqa", "--answers", file, "--references", labelled(tmp_path))
    assert (result["n"], result["accuracy"]) == (8, 1)


HOSTILE = {
    "0": "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "1": "red" * 3_500_000,
    "2": "\x1b[31mred\x07\x00",
    "3": "‮der",
    "4": "{{ 7 * 7 }} {% raw %}",
    "5": "'\"><b>&amp;",
    "6": "",
    "7": "🦙" * 100,
}


def test_hostile_texts_are_shown_as_text(tmp_path, capsys):
    given, out = answers(tmp_path, HOSTILE, "<b>.jsonl"), tmp_path / "out"
    assert (
        run(["score", "vqa", "--answers", str(given), "--references", str(labelled(tmp_path)), "--out", str(out)]) == 0
    )
    page = (out / "score.html").read_text(encoding="utf-8")
    assert "<script" not in page and "<img" not in page and "onerror=alert" in page and "&lt;script&gt;" in page
    assert "{{ 7 * 7 }}" in page and "<b>" not in page and "\\x1b[31m" in page and "\u202e" not in page
    assert not any(character in page for character in "\x00\x1b\x07") and len(page) < 200_000
    assert "\x1b" not in capsys.readouterr().out.replace("\x1b[0m", "")
    run_folder = RunDir.open(out)
    run_folder.verify()
    assert [row["text"] for row in run_folder.lines("rows")] == list(HOSTILE.values())


def test_a_folder_that_holds_something_is_left_alone(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    given = answers(tmp_path, TEXTS)
    command = ["vqa", "--answers", given, "--references", labelled(tmp_path), "--out", tmp_path / "out"]
    assert "out" in refusal(capsys, *command)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", [name for name in PUBLISHED if published(name).references])
def test_labels_that_are_missing_say_where_they_come_from(tmp_path, capsys, name):
    given = answers(tmp_path, TEXTS)
    questions = ["--questions", given] if published(name).needs_questions else []
    message = refusal(capsys, name, "--answers", given, *questions)
    assert "give them with --references" in message and published(name).source[:30] in message
    message = refusal(capsys, name, "--answers", given, *questions, "--references", tmp_path / "nowhere.json")
    assert "nowhere.json" in message and published(name).source[:30] in message


def test_labels_of_answers_that_hold_their_own_are_refused(tmp_path, capsys):
    given = lines(tmp_path / "a.jsonl", [{"predicted_answer": "a", "ground_truth": "a"}])
    assert "leave --references out" in refusal(capsys, "cocoqa", "--answers", given, "--references", given)


@pytest.mark.parametrize("name", list(PUBLISHED))
@pytest.mark.parametrize("content", ["[]", '{"a": 1}', '{"a": {}}', "{", "\xff", "a\tb"])
def test_labels_of_another_form_are_refused_in_one_line(tmp_path, capsys, name, content):
    benchmark = published(name)
    file = tmp_path / "labels.tsv"
    file.write_bytes(content.encode("latin-1"))
    if benchmark.references is None:
        with pytest.raises(LapilliError):
            benchmark.answers(file)
    else:
        questions = {"question_id": 1, "image": "a.jpg", "text": "?", "category": "labels"}
        options = ["--questions", lines(tmp_path / "q.jsonl", [questions])] if benchmark.needs_questions else []
        given = {"v1": {"score": [1.0]}} if name == "mm-vet" else GOOD | {"image_id": 1, "caption": "a"}
        command = [name, "--answers", whole(tmp_path / "a.jsonl", given), *options, "--references", file]
        assert refusal(capsys, *command)


def three_files(tmp_path):
    """Right by chance: a often, b as often, c seldom; one question a picture."""
    rng = random.Random(7)
    labels = labelled(tmp_path, texts := {str(at): "" for at in range(200)})
    rates = {"a": 0.8, "b": 0.78, "c": 0.4}
    made = {name: {key: "red" if rng.random() < rate else "blue" for key in texts} for name, rate in rates.items()}
    return made, labels, [answers(tmp_path, texts, f"{name}.jsonl") for name, texts in made.items()]


def test_several_files_are_compared_pair_by_pair(tmp_path, capsys):
    made, labels, files = three_files(tmp_path)
    result = score(capsys, "vqa", "--answers", *files, "--references", labels)
    assert list(result["models"]) == ["a.jsonl", "b.jsonl", "c.jsonl"]
    pairs = {(row["first"][0], row["second"][0]): row for row in result["comparisons"]}
    assert list(pairs) == [("a", "b"), ("a", "c"), ("b", "c")]
    for (first, second), row in pairs.items():
        only = sum(made[first][key] == "red" != made[second][key] for key in made["a"])
        other = sum(made[second][key] == "red" != made[first][key] for key in made["a"])
        assert (row["first_only"], row["second_only"], row["n"]) == (only, other, 200)
        assert row["test"] == "McNemar, exact" and row["p"] == pytest.approx(binomtest(only, only + other).pvalue)
        assert row["difference"] == pytest.approx((only - other) / 200) and row["p_holm"] >= row["p"]
        assert row["difference_interval"][0] < row["difference"] < row["difference_interval"][1]
        assert 0.05 < row["detectable"] < 0.2
    assert pairs["a", "c"]["p_holm"] < 0.001 < 0.2 < pairs["a", "b"]["p_holm"]


def test_of_several_questions_a_picture_the_pictures_are_drawn(tmp_path, capsys):
    keys = [str(at) for at in range(40)]
    labels = {
        key: {"answer": "red", "imageId": str(at // 4), "types": {"structural": "query"}} for at, key in enumerate(keys)
    }
    files = [
        answers(tmp_path, {key: "red" if at // 4 % 3 != off else "blue" for at, key in enumerate(keys)}, f"{off}.jsonl")
        for off in (0, 1)
    ]
    result = score(capsys, "gqa", "--answers", *files, "--references", whole(tmp_path / "labels.json", labels))
    (row,) = result["comparisons"]
    assert row["test"] == "bootstrap of pictures" and row["p"] > 0.3
    assert binomtest(row["first_only"], row["first_only"] + row["second_only"]).pvalue < row["p"]


def test_the_page_of_two_files_says_what_changed(tmp_path, capsys):
    made, labels, files = three_files(tmp_path)
    out = tmp_path / "out"
    command = ["score", "vqa", "--answers", *files[:2], "--references", labels, "--out", out]
    assert run([str(word) for word in command]) == 0
    printed = capsys.readouterr().out
    assert "a less b" in printed and "McNemar, exact" in printed
    page = (out / "score.html").read_text(encoding="utf-8")
    differ = sum(made["a"][key] != made["b"][key] for key in made["a"])
    assert f"{differ} answers scored differently" in page


def test_one_file_twice_is_refused(tmp_path, capsys):
    given = answers(tmp_path, TEXTS)
    (tmp_path / "link.jsonl").symlink_to(given)
    for other in (given, tmp_path / "link.jsonl", f"/.{given}"):
        command = ["vqa", "--answers", given, other, "--references", labelled(tmp_path)]
        assert "given twice" in refusal(capsys, *command)


@pytest.mark.parametrize("bench", ["vqa", "cocoqa", "llava-bench"])
def test_names_of_files_that_are_no_utf_8_are_written_out(tmp_path, capsys, bench):
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    row = GOOD | {"predicted_answer": "a", "ground_truth": "a", "tuple": [8, 7]}
    if bench != "vqa":
        del row["question_id"]
    labels = whole(folder / os.fsdecode(b"\xfe.json"), {"1": ["red"] * 10}) if bench == "vqa" else None
    given = lines(folder / os.fsdecode(b"a\xfd.jsonl"), [row])
    command = ["score", bench, "--answers", given, "--out", tmp_path / "out"]
    assert run(list(map(str, [*command, *(["--references", labels] if labels else [])]))) == 0, capsys.readouterr().err
    RunDir.open(tmp_path / "out").verify()
    assert "a\\udcfd.jsonl" in (tmp_path / "out/score.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("pope --references a b --json", "pope --references a --references b --json"),
        ("vqa --answers a --answers b c", "vqa --answers a --answers b --answers c"),
        ("vqa --questions q --reviews a b", "vqa --questions q --reviews a --reviews b"),
        ("vqa --out o x", "vqa --out o x"),
        ("vqa --references=a b", "vqa --references=a b"),
        ("--help", "--help"),
    ],
)
def test_options_of_files_take_all_words_behind_them(words, expected):
    assert spread(words.split()) == expected.split()
