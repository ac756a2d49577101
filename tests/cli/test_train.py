"""`lapilli train`."""

import json
import os
import signal

import pytest
from tests.lessons import recipe

from lapilli.cli import run
from lapilli.core.recipe import dump
from lapilli.model.llava import load
from lapilli.training import loop


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my recipe.yaml"
    path.write_text(dump(recipe(tmp_path)))
    return path


def test_a_recipe_is_trained_and_its_model_named(file, capsys):
    assert run(["train", str(file), "--set", "max_steps=2"]) == 0
    said = capsys.readouterr()
    model = file.parent / "run/model"
    assert said.out == f"{model}\n"
    assert said.err.startswith("2 steps, 71184 parameters learned, ")
    assert load(model).card.notes[-1].startswith("instruct: 2 steps")


def test_json_is_one_object(file, capsys):
    assert run(["train", str(file), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["steps"] == 4
    assert figures["model"] == str(file.parent / "run/model")


def test_an_interrupted_run_says_how_to_go_on(file, capsys, monkeypatch):
    train = loop.train

    def interrupted(recipe, resume):
        return train(recipe, resume, on_eval=lambda _: os.kill(os.getpid(), signal.SIGINT) or {})

    monkeypatch.setattr(loop, "train", interrupted)
    assert run(["train", str(file), "--set", "epochs=2"]) == 130
    assert f"stopped; go on with: lapilli train '{file}' --set epochs=2 --resume\n" in capsys.readouterr().err
    monkeypatch.undo()
    assert run(["train", str(file), "--set", "epochs=2", "--resume"]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--set", "batchsize=3"], 2, "did you mean batch_size?"),
        (["--set", "batch_size=0"], 2, "batch_size: 0; it must be 1 or more"),
        (["--set", "data.file=nowhere.json"], 1, "nowhere.json: cannot be read"),
        (["--set", "model=nowhere"], 2, "nowhere: no such folder"),
        (["--resume"], 1, "no run to resume"),
    ],
)
def test_an_error_is_one_line_and_leaves_no_run(file, capsys, arguments, code, message):
    assert run(["train", str(file), *arguments]) == code
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (file.parent / "run").exists()


def test_a_finished_run_is_refused(file, capsys):
    assert run(["train", str(file), "--set", "max_steps=1"]) == 0
    assert run(["train", str(file), "--set", "max_steps=1"]) == 1
    assert "the run there has finished; name another out, or remove the folder" in capsys.readouterr().err


def test_a_recipe_that_is_not_there(capsys):
    assert run(["train", "nowhere.yaml"]) == 2
    assert "recipes/align.yaml, recipes/instruct.yaml" in capsys.readouterr().err
