"""`lapilli train`."""

import json
import os
import platform
import shlex
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from tests.lessons import recipe

from lapilli.cli import run
from lapilli.core.recipe import as_dict, dump, read_recipe, shipped_recipes
from lapilli.core.run import RunDir
from lapilli.model.llava import load
from lapilli.training import loop
from lapilli.training.recipe import RECIPES, TrainRecipe, recipe_type


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
    opening, course, last, page = said.err.splitlines()
    assert opening.startswith("instruct: projector (3,936 parameters) and language model (67,248 parameters) learn; ")
    assert course.startswith(
        "15 samples, 2 steps: max_steps 2 ends it after 0.5 of 1 epoch; batch_size 4; fp32 on cpu;"
    )
    assert last.startswith("2 steps, 71184 parameters learned, ")
    assert page == f"a page of how it went: lapilli report {file.parent / 'run'}"
    assert load(model).card.notes[-1].startswith("instruct: 2 steps")


def test_what_is_skipped_is_said_first_and_last(file, capsys):
    (file.parent / "lesson/images/0.png").write_text("no picture")
    assert run(["train", str(file), "--check-pictures"]) == 1
    assert "row 0, '0.png': not a picture" in capsys.readouterr().err
    assert run(["train", str(file), "--set", "on_bad_picture=skip", "--set", "max_steps=1"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "1 sample is skipped for its picture: row 0, '0.png': not a picture"
    assert said[-3] == f"1 sample was skipped: {file.parent}/run/results/skipped.json"


def test_json_is_one_object(file, capsys):
    assert run(["train", str(file), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["steps"] == 4
    assert figures["model"] == str(file.parent / "run/model")


def test_an_interrupted_run_says_how_to_go_on(file, capsys, monkeypatch):
    train = loop.train

    def interrupted(recipe, resume, **settings):
        settings["on_eval"] = lambda _: os.kill(os.getpid(), signal.SIGINT) or {}
        return train(recipe, resume, **settings)

    monkeypatch.setattr(loop, "train", interrupted)
    assert run(["train", str(file), "--set", "epochs=2"]) == 130
    assert f"stopped; go on with: lapilli train '{file}' --set epochs=2 --resume\n" in capsys.readouterr().err
    monkeypatch.undo()
    assert run(["train", str(file), "--set", "epochs=2", "--resume"]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--set", "batchsize=3"], 2, "did you mean batch_size?"),
        (["--set", "batch_size=0"], 2, "batch_size: 0; it must be 1 to 1,000,000"),
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


def test_a_finished_run_goes_on_to_a_later_end(file, capsys):
    assert run(["train", str(file), "--set", "keep_checkpoint=true", "--json"]) == 0
    kept = ["train", str(file), "--set", "keep_checkpoint=true", "--json"]
    assert run([*kept, "--extend", "epochs=1.5"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["steps"] == 6
    assert run([*kept, "--resume"]) == 1
    assert run([*kept, "--extend", "max_steps=6"]) == 2
    assert "--extend: 6 steps, but the run at" in capsys.readouterr().err


@pytest.mark.parametrize(
    "extension", ["", "6", "epochs", "epochs=", "epochs= ", "epochs=null", "max_steps=~", "batch_size=3", "=6"]
)
def test_only_the_end_of_a_run_can_be_extended(file, capsys, extension):
    assert run(["train", str(file), "--extend", extension]) == 2
    assert f"--extend: {extension}; write epochs=N or max_steps=N" in capsys.readouterr().err
    assert run(["train", str(file), "--extend", "epochs=2"]) == 1
    assert "no run to resume" in capsys.readouterr().err


def test_stopped_before_it_has_its_later_end_a_run_names_the_command_that_gives_it(file, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    kept = ["train", str(file), "--set", "keep_checkpoint=true"]
    assert run(kept) == 0
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_reopen", stop)
        assert run([*kept, "--extend", "epochs=1.5"]) == 130
    command = next(line for line in capsys.readouterr().err.splitlines() if "go on with: " in line)
    assert run(shlex.split(command.partition("go on with: lapilli ")[2])) == 0


def test_an_error_in_the_middle_says_how_to_go_on(file, capsys, monkeypatch):
    train, damaged = loop.train, file.parent / "lesson/images/3.png"
    whole = damaged.read_bytes()

    def spoiled(recipe, resume, **how):
        return train(recipe, resume, **(how | {"on_eval": lambda _: damaged.write_bytes(whole[:60]) and {}}))

    monkeypatch.setattr(loop, "train", spoiled)
    assert run(["train", str(file), "--set", "epochs=2", "--set", "workers=1"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("lapilli: sample 'color-3': ")
    command = said.rpartition("; mend that, and go on from step ")[2].partition(" with: ")[2]
    assert command == f"lapilli train '{file}' --set epochs=2 --set workers=1 --resume"
    monkeypatch.undo()
    damaged.write_bytes(whole)
    assert run(shlex.split(command)[1:]) == 0


@pytest.mark.parametrize("command", ["train {file}", "train {file} --resume"])
def test_a_run_that_is_being_written_is_refused_without_torch(file, capsys, command):
    program = "import sys; from lapilli.cli import run; sys.exit(run(sys.argv[1:]) + 10 * ('torch' in sys.modules))"
    with RunDir.alone(file.parent / "run"):
        line = command.format(file=shlex.quote(str(file)))
        done = subprocess.run([sys.executable, "-c", program, *shlex.split(line)], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"run: process {os.getpid()} on {platform.node()} is writing there; wait" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_finished_run_is_refused(file, capsys):
    assert run(["train", str(file), "--set", "max_steps=1"]) == 0
    assert run(["train", str(file), "--set", "max_steps=1"]) == 1
    assert "the run there has finished; name another out, or remove the folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seed=4294967296", "seed: 4294967296; it must be 0 to 4,294,967,295"),
        (f"batch_size={10**28}", f"batch_size: {10**28}; it must be 1 to 1,000,000"),
        ("workers=100000", "workers: 100000; it must be 0 to 64"),
        ("epochs=.nan", "epochs: a number expected, .nan found"),
    ],
)
def test_a_number_that_a_library_would_stumble_over_is_refused_in_time(file, capsys, change, message):
    assert run(["train", str(file), "--set", change]) == 2
    assert capsys.readouterr().err == f"lapilli: --set {change}: {message}\n"
    assert not (file.parent / "run").exists()


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_that_is_shown_is_that_recipe(name, tmp_path, capsys):
    assert run(["train", name, "--set", "seed=7", "--set", "out=2024", "--show"]) == 0
    said = capsys.readouterr()
    (tmp_path / "shown.yaml").write_text(said.out)
    kind = recipe_type(Path(name))
    assert recipe_type(tmp_path / "shown.yaml") is kind
    assert read_recipe(tmp_path / "shown.yaml", [], kind) == read_recipe(Path(name), ["seed=7", "out=2024"], kind)
    assert list(yaml.safe_load(said.out)) == [field.name for field in fields(kind)]
    assert said.err == ""


def test_a_recipe_is_shown_as_json_too(file, capsys):
    assert run(["train", str(file), "--show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == as_dict(read_recipe(file, [], TrainRecipe))


@pytest.mark.parametrize(("stage", "name"), [("align", None), ("language", "pebble-lm"), ("vision", "pebble-vision")])
def test_every_field_is_listed(stage, name, capsys):
    recipe = [f"recipes/{name}.yaml"] if name else []
    assert run(["train", *recipe, "--fields", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert stage in listed["stages"]
    assert {one["field"].split(".")[0].rstrip("[]") for one in listed["fields"]} == {
        field.name for field in fields(RECIPES[stage])
    }
    assert run(["train", *recipe, "--fields"]) == 0
    table = capsys.readouterr().out
    assert [one["field"] for one in listed["fields"] if one["field"] not in table] == []


def test_fields_and_recipes_are_shown_without_torch():
    program = (
        "import sys; from lapilli.cli import run\n"
        "codes = [run(['train', 'recipes/pebble-lm.yaml', flag]) for flag in ('--fields', '--show')]\n"
        "sys.exit(any(codes) or 'torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


def test_without_a_recipe_those_that_there_are_are_named(capsys):
    assert run(["train"]) == 2
    *listed, error = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in listed] == list(shipped_recipes())
    assert listed[0].endswith("Stage 1, feature alignment: the connector alone learns to caption pictures.")
    assert error == "lapilli: train: name a recipe, one of these or a file of your own"


def test_a_recipe_that_is_not_there(capsys):
    assert run(["train", "nowhere.yaml"]) == 2
    assert "recipes/align.yaml, recipes/instruct.yaml" in capsys.readouterr().err
