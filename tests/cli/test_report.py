"""`lapilli report`: pages of real trainings, finished, stopped and under way."""

import json
import os
import shlex
import signal
from dataclasses import replace

import pytest
from tests.lessons import recipe, write_lesson
from tests.parts import joined, picture

from lapilli.cli import run
from lapilli.core.recipe import dump
from lapilli.core.run import RunDir
from lapilli.training import loop
from lapilli.training.recipe import Validation
from lapilli.training.tuning import LlmTuning, Lora


@pytest.fixture
def wanted(tmp_path):
    """A recipe of eight steps with questions of one's own, in a file."""
    data = write_lesson(tmp_path / "lesson")
    (tmp_path / "colors.csv").write_text("image,question,answer\n0.png,What color is it?,red\n1.png,What?,green\n")
    asked = Validation(every=2, benchmarks=(str(tmp_path / "colors.csv"),), images=data.images, samples=2)
    made = recipe(tmp_path, data=replace(data, validation_share=0.3), epochs=2.0, validation=asked)
    (tmp_path / "r.yaml").write_text(dump(made))
    return made


def _json(capsys, *words):
    assert run(["report", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_finished_run_has_a_page_with_its_figures_and_stays_as_it_was(wanted, tmp_path, capsys):
    assert run(["train", str(tmp_path / "r.yaml")]) == 0
    capsys.readouterr()
    assert run(["report", str(wanted.out)]) == 0
    page = wanted.out / "report.html"
    assert capsys.readouterr().out == f"{page}\n"
    text = page.read_text(encoding="utf-8")
    assert "It finished after 6 steps." in text and "colors" in text and text.count("<img ") == 2
    RunDir.open(wanted.out).verify()
    figures = _json(capsys, wanted.out)
    lines = RunDir.open(wanted.out).metrics()
    (made,) = figures["runs"]
    assert figures["page"] == str(page)
    assert made["curves"]["loss"] == [[line["step"], line["loss"]] for line in lines if "loss" in line]
    accuracy = [[line["step"], line["colors_accuracy"], line["colors_n"]] for line in lines if "colors_n" in line]
    assert [[row["step"], row["accuracy"], row["n"]] for row in made["accuracy"]["colors"]] == accuracy
    assert len(made["samples"]) == 2 * len(accuracy) == 6


def test_a_stopped_run_names_the_command_that_goes_on_and_it_does(wanted, tmp_path, capsys, monkeypatch):
    train = loop.train

    def interrupted(recipe, resume, **settings):
        settings["on_eval"] = lambda _: os.kill(os.getpid(), signal.SIGINT) or {}
        return train(recipe, resume, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train", interrupted)
        assert run(["train", str(tmp_path / "r.yaml")]) == 130
    capsys.readouterr()
    (stopped,) = _json(capsys, wanted.out)["runs"]
    assert stopped["state"]["word"] == "stopped"
    assert "of 6; it goes on from the checkpoint of step " in stopped["state"]["sentence"]
    _, *words = shlex.split(stopped["state"]["command"])
    assert run(words) == 0
    capsys.readouterr()
    (finished,) = _json(capsys, wanted.out)["runs"]
    assert finished["state"]["word"] == "finished" and finished["steps"] == 6
    assert len({(row["step"], row["id"]) for row in finished["samples"]}) == len(finished["samples"])


def test_a_run_that_is_under_way_has_a_page(wanted, capsys):
    seen = []

    def look(llava):
        seen.append(_json(capsys, wanted.out))
        return {}

    loop.train(replace(wanted, data=replace(wanted.data, validation_share=None)), on_eval=look, progress=False)
    (first,) = seen[0]["runs"]
    assert first["state"]["word"] == "running"
    assert f"process {os.getpid()} on " in first["state"]["sentence"]
    assert "its log has come to step 2 of 8" in first["state"]["sentence"]
    assert [step for step, _ in first["curves"]["loss"]] == [1, 2]


def test_several_runs_are_one_page_in_the_first_or_where_it_is_wanted(wanted, tmp_path, capsys):
    bare = replace(wanted, validation=Validation(), data=replace(wanted.data, validation_share=None), max_steps=2)
    tuned = replace(bare, out=tmp_path / "tuned", llm=LlmTuning(mode="lora", layers=(1,)), lora=Lora(rank=2))
    for one in (bare, tuned):
        loop.train(one, progress=False)
    figures = _json(capsys, wanted.out, tmp_path / "tuned", wanted.out)
    assert [one["name"] for one in figures["runs"]] == ["run", "tuned"]
    assert figures["page"] == str(wanted.out / "comparison.html")
    assert run(["report", str(wanted.out), str(tmp_path / "tuned"), "--out", str(tmp_path / "p.html")]) == 0
    assert "LoRA of rank 2, layers [1]" in (tmp_path / "p.html").read_text(encoding="utf-8")
    learned = {part["part"]: part["learned_parameters"] for part in figures["runs"][1]["start"]["parts"]}
    assert learned["vision"] == 0 < learned["llm"]
    assert sum(learned.values()) == figures["runs"][1]["results"]["trainable_parameters"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nowhere"], 1, "nowhere: not a run folder: it has no recipe.yaml"),
        (["tests", "nowhere"], 1, "tests: not a run folder: it has no recipe.yaml"),
        ([str(number) for number in range(9)], 2, "9 runs: at most 8 curves can be told apart"),
        ([], 2, "Missing argument 'RUN...'"),
    ],
)
def test_what_has_no_page_is_refused(capsys, words, code, message):
    assert run(["report", *words]) == code
    assert message in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_one_line(tmp_path, capsys):
    RunDir.create(tmp_path / "run", {"stage": "align", "out": "run"}, 0)
    (tmp_path / "file").write_text("")
    assert run(["report", str(tmp_path / "run"), "--out", str(tmp_path / "file/page.html")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_two_evaluations_are_compared_answer_by_answer(tmp_path, capsys):
    for number in range(4):
        picture(number, 40, 30).save(tmp_path / f"{number}.png")
    rows = [f"{at}.png,What is this?,red,color" for at in range(4)]
    (tmp_path / "mine.csv").write_text("\n".join(["image,question,answer,type", *rows]))
    command = ["eval", str(joined("clip", "llama")), str(tmp_path / "mine.csv")]
    for name, more in (("plain", []), ("short", ["--short"])):
        assert run([*command, "--out", str(tmp_path / name), *more]) == 0
    capsys.readouterr()
    folders = [tmp_path / "plain", tmp_path / "short"]
    compared = _json(capsys, *folders)
    assert compared["names"] == ["plain", "short"] and compared["differing"] == ["own"]
    (every,) = compared["types"]
    assert (every["type"], every["compared"]["n"]) == ("all", 4)
    scores = [
        next(row["normalised"]["estimate"] for row in RunDir.open(folder).load("scores") if row["condition"] == "image")
        for folder in folders
    ]
    assert [every["first"], every["second"]] == scores
    assert every["compared"]["difference"] == pytest.approx(scores[0] - scores[1])
    assert (
        compared["page"] == str(tmp_path / "plain/comparison.html") and (tmp_path / "plain/comparison.html").is_file()
    )
    for folder in folders:
        RunDir.open(folder).verify()
    assert run(["report", *map(str, folders), "--out", str(tmp_path / "page.html")]) == 0
    assert "mine.csv all" in capsys.readouterr().out and (tmp_path / "page.html").is_file()


def test_an_evaluation_is_compared_with_one_other_and_nothing_else(tmp_path, capsys):
    for name, of in (("a", {"benches": []}), ("b", {"benches": []}), ("c", {"benches": []}), ("t", {"stage": "align"})):
        RunDir.create(tmp_path / name, of, 0)
    for names in ("a", "at", "ta", "abc"):
        assert run(["report", *(str(tmp_path / name) for name in names)]) == 2
        assert f"{tmp_path / 'a'}: an evaluation" in capsys.readouterr().err
