"""`lapilli study hallucination`, from the command line to the page."""

import json

import pytest
from tests.studies.hallucination.made import model, scenes

from lapilli.cli import run
from lapilli.core.run import RunDir
from lapilli.studies.hallucination.settings import settings


def _study(*arguments):
    return run(["study", "hallucination", *map(str, arguments)])


def test_from_models_and_scenes_to_a_page(tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--data", scenes(), "--out", out, "--questions", 36, "--json"]
    assert _study(model(0), model(1), *options) == 0
    said = json.loads(capsys.readouterr().out)
    saved = RunDir.open(out)
    saved.verify()
    result = saved.load("hallucination")
    assert {name: result[name] for name in said if name != "folder"} == {k: v for k, v in said.items() if k != "folder"}
    assert [one["label"] for one in said["models"]] == ["model-0", "model-1"]
    assert said["taken"]["wrong yes"] > 0 and said["settings"]["questions"] == 36
    page = (out / "hallucination.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script" not in page


def test_the_verdict_is_printed_with_where_the_page_is(tmp_path, capsys):
    assert _study(model(0), "--data", scenes(), "--out", tmp_path / "out", "--questions", 24) == 0
    said = capsys.readouterr()
    assert said.out.startswith("The model said yes to ") and said.out.endswith("hallucination.html\n")
    assert said.err == ""


def test_a_folder_with_questions_of_its_own(tmp_path, capsys):
    folder = tmp_path / "own"
    (folder / "images").mkdir(parents=True)
    rows = [json.loads(line) for line in (scenes() / "questions.jsonl").read_text().splitlines()]
    for name in {row["image"] for row in rows}:
        (folder / "images" / name).write_bytes((scenes() / "images" / name).read_bytes())
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = ["--data", folder, "--out", tmp_path / "out", "--questions", 20, "--json"]
    assert _study(model(0), *options) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said["models"][0]["kinds"]) == {"given"} and said["settings"]["questions"] == 20


def test_an_unfinished_run_goes_on_with_the_same_settings_only(tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--data", scenes(), "--out", out, "--questions", 24]
    assert _study(model(0), *options, "--json") == 0
    first = json.loads(capsys.readouterr().out)
    (out / "manifest.json").unlink()
    times = {file: file.stat().st_mtime_ns for file in (out / "results" / "model-0").iterdir()}
    assert _study(model(0), *options, "--seed", 1) == 1
    assert "of another recipe" in capsys.readouterr().err
    assert _study(model(0), *options, "--json") == 0
    assert json.loads(capsys.readouterr().out) == first
    assert {file: file.stat().st_mtime_ns for file in (out / "results" / "model-0").iterdir()} == times
    (out / "hallucination.html").unlink()
    assert _study(model(0), *options, "--json") == 0  # of what has finished only the page is drawn again
    assert json.loads(capsys.readouterr().out) == first and (out / "hallucination.html").is_file()
    RunDir.open(out).verify()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--questions", 7], 2, "half are about absent objects"),
        (["--questions", 4000], 2, "24 scenes have"),
    ],
)
def test_what_cannot_be_asked_starts_nothing(options, code, message, tmp_path, capsys):
    assert _study(model(0), "--data", scenes(), "--out", tmp_path / "out", *options) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_model_given_twice_starts_nothing(tmp_path, capsys):
    assert _study(model(0), model(0), "--data", scenes(), "--out", tmp_path / "out", "--questions", 24) == 2
    assert "given twice" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_models_are_called_by_the_shortest_ends_that_differ(tmp_path):
    paths = [tmp_path / name for name in ("a/seed0/model", "a/seed1/model", "b/seed1/model")]
    labels = [settings(paths[: number + 1], scenes(), 24, 0).models for number in range(3)]
    assert list(labels[0]) == ["model"]
    assert list(labels[1]) == ["seed0/model", "seed1/model"]
    assert list(labels[2]) == ["a/seed0/model", "a/seed1/model", "b/seed1/model"]
    assert list(labels[2].values()) == paths
