"""`lapilli patch`, from the command line to the page."""

import json
import shutil

import pytest
from tests.parts import joined
from tests.studies.compare.made import COUNT, PLANTED, base, changed, questions
from tests.studies.patch import made

from lapilli.cli import run
from lapilli.core.run import RunDir


def _patch(*arguments):
    return run(["patch", *map(str, arguments)])


def test_from_two_models_and_questions_to_a_page(tmp_path, capsys):
    """Then again: nothing is measured, the page is drawn from what is saved, and other settings are refused.

    All hybrids were run before, by the study itself; the command goes on with its folder.
    """
    out, line = tmp_path / "out", (base(), changed(None), questions(), "--samples", COUNT)
    shutil.copytree(made.identical().path, out)
    assert _patch(*line, "--out", out, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    saved = RunDir.open(out)
    saved.verify()
    assert {name: value for name, value in said.items() if name != "folder"} == saved.load("patch")
    assert said["settings"]["samples"] == COUNT
    page = (out / "patch.html").read_text()
    (out / "patch.html").unlink()
    assert _patch(*line, "--out", out) == 0
    again = capsys.readouterr()
    assert again.out.startswith("There is no gain to bring back.\n") and again.out.endswith(f"{out / 'patch.html'}\n")
    assert "nothing is measured" in again.err and (out / "patch.html").read_text() == page
    assert _patch(*line, "--out", out, "--seed", 1) == 1
    assert "of another recipe (seed)" in capsys.readouterr().err


def test_hybrids_answer_in_their_own_words_where_it_is_wanted(tmp_path, capsys):
    """In a folder of its own inside the run, which a later call without the option still shows."""
    out, line = tmp_path / "out", (base(), changed(None), questions(), "--samples", COUNT)
    shutil.copytree(made.identical().path, out)
    assert _patch(*line, "--out", out, "--generate", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["generated"] == RunDir.open(out / "generated").load("generated") and said["generated"]["n"] == COUNT
    assert {one["gained"] + one["lost"] for one in said["generated"]["hybrids"]} == {0}  # a copy says the same
    page = (out / "patch.html").read_text()
    assert "In their own words" in page and "tuned parts in the base: <b>the connector</b>" in page
    assert _patch(*line, "--out", out) == 0 and (out / "patch.html").read_text() == page
    RunDir.open(out).verify()


@pytest.mark.parametrize(
    ("tuned", "options", "code", "message"),
    [
        (lambda: changed(PLANTED), ["--samples", 49], 2, "49 samples: a tuning is studied on 50 or more"),
        (base, [], 2, "given twice"),
        (lambda: changed(PLANTED), ["--format-control", "nowhere"], 2, "nowhere"),
        (lambda: "nowhere", [], 2, "nowhere"),
        (lambda: changed(PLANTED), ["--device", "gpu"], 2, "device 'gpu'"),
        (lambda: joined("clip", "qwen2"), [], 1, "compare models of one tokenizer and template"),
    ],
)
def test_what_cannot_be_patched_starts_nothing(tuned, options, code, message, tmp_path, capsys):
    line = [base(), tuned(), questions(), "--out", tmp_path / "out", *options]
    capsys.readouterr()  # what writing the models has shown
    assert _patch(*line) == code
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and said.out == ""
    assert not (tmp_path / "out").exists()


def test_models_of_other_shapes_are_one_line(tmp_path, capsys):
    """The same words, and other layers: it shows when the first hybrid is run."""
    line = [base(), joined("clip", "llama"), questions(), "--out", tmp_path / "out"]
    capsys.readouterr()  # what writing the models has shown
    assert _patch(*line) == 1
    said = capsys.readouterr().err
    assert "patch a base and its tuned version" in said and said.count("\n") <= 2
