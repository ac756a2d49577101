"""`lapilli compare`, from the command line to the page."""

import json

import pytest
from tests.parts import joined
from tests.studies.compare import made

from lapilli.cli import run
from lapilli.core.run import RunDir


def _compare(*arguments):
    return run(["compare", *map(str, arguments)])


def test_from_two_models_and_questions_to_a_page(tmp_path, capsys):
    """Then again: nothing is measured, the page is drawn from what is saved, and other settings are refused."""
    out, tuned = tmp_path / "out", made.changed(made.PLANTED)
    assert _compare(made.base(), tuned, made.questions(), "--out", out, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    saved = RunDir.open(out)
    saved.verify()
    result = saved.load("compare")
    assert {name: value for name, value in said.items() if name != "folder"} == result
    assert list(result["pairs"]) == ["change", "again"] and result["models"]["again"]["dtype"] == "bfloat16"
    assert result["settings"]["samples"] == made.COUNT
    page = (out / "compare.html").read_text()
    assert "<script" not in page and "No second tuning was given" in page
    (out / "compare.html").unlink()
    assert _compare(made.base(), tuned, made.questions(), "--out", out) == 0
    again = capsys.readouterr()
    assert again.out.startswith("Most changed: ") and again.out.endswith(f"{out / 'compare.html'}\n")
    assert "nothing is measured" in again.err and (out / "compare.html").read_text() == page
    assert _compare(made.base(), tuned, made.questions(), "--out", out, "--seed", 1) == 1
    assert "of another recipe (seed)" in capsys.readouterr().err


BASE, QUESTIONS = made.base, made.questions


@pytest.mark.parametrize(
    ("base", "tuned", "options", "code", "message"),
    [
        (BASE, lambda: made.changed(2), ["--samples", 49], 2, "49 samples: a tuning is studied on 50 or more"),
        (BASE, BASE, [], 2, "given twice"),
        (BASE, lambda: made.changed(2), ["--floor", "nowhere"], 2, "nowhere"),
        (BASE, lambda: "nowhere", [], 2, "nowhere"),
        (BASE, lambda: made.changed(2), ["--device", "gpu"], 2, "device 'gpu'"),
        (BASE, lambda: joined("clip", "qwen2"), [], 1, "compare models of one tokenizer and template"),
    ],
)
def test_what_cannot_be_compared_starts_nothing(base, tuned, options, code, message, tmp_path, capsys):
    line = [base(), tuned(), made.questions(), "--out", tmp_path / "out", *options]
    capsys.readouterr()  # what writing the models has shown
    assert _compare(*line) == code
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and said.out == ""
    assert not (tmp_path / "out").exists()


def test_a_folder_without_questions_starts_nothing(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    for data in (tmp_path / "data", tmp_path / "nowhere"):
        assert _compare(made.base(), made.changed(2), data, "--out", tmp_path / "out") == 1
        assert "questions.jsonl: no such file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_picture_is_named_and_leaves_nothing(tmp_path, capsys):
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    (folder / "questions.jsonl").write_text((made.questions() / "questions.jsonl").read_text())
    assert _compare(made.base(), made.changed(2), folder, "--out", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert ".png: " in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--patched", "somewhere"], "nothing is suggested; add --suggest"),
        (["--suggest", 5], "the language model has 5 layers; give 1 to 4"),
        (["--suggest", 2, "--patched", "nowhere"], "nowhere: not a run folder"),
    ],
)
def test_layers_that_cannot_be_suggested_start_nothing(options, message, tmp_path, capsys):
    line = [made.base(), made.changed(2), made.questions(), "--out", tmp_path / "out", *options]
    capsys.readouterr()
    assert _compare(*line) in (1, 2)
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and not (tmp_path / "out").exists()
