"""`lapilli train` with the recipe of a part."""

import json

import pytest
import torch
from tests.training.small import tokenizer_folder
from transformers import AutoModelForCausalLM, AutoTokenizer

from lapilli.cli import run
from lapilli.core.recipe import dump, read_recipe
from lapilli.core.run import RunDir
from lapilli.training.language import LanguageRecipe, Lesson, train_language


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "recipe.yaml"
    lessons = [Lesson(steps=1, things=1, questions=2, batch_size=2)] * 2
    sizes = {"width": 16, "layers": 1, "feed_forward": 16, "log_every": 1}
    path.write_text(dump(LanguageRecipe("language", tmp_path / "run", lessons, tokenizer_folder(), **sizes)))
    return path


def test_a_language_model_is_trained_and_named(file, capsys):
    assert run(["train", str(file)]) == 0
    model = file.parent / "run/model"
    assert capsys.readouterr().out == f"{model}\n"
    loaded = AutoModelForCausalLM.from_pretrained(model).state_dict()
    alone = train_language(read_recipe(file, [], LanguageRecipe), lambda *_, **__: None).state_dict()
    assert loaded.keys() == alone.keys()
    assert all(torch.equal(loaded[name], value) for name, value in alone.items())
    assert len(AutoTokenizer.from_pretrained(model)) == len(AutoTokenizer.from_pretrained(tokenizer_folder()))


def test_its_run_is_whole_and_json_is_one_object(file, capsys):
    assert run(["train", str(file), "--set", "seed=1", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["steps"] == 2
    assert figures["model"] == str(file.parent / "run/model")
    done = RunDir.open(file.parent / "run")
    done.verify()
    assert [row["step"] for row in done.metrics()] == [1, 1, 2, 2]  # every step, and the end of every lesson
    assert read_recipe(done.path / "recipe.yaml", [], LanguageRecipe).seed == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--resume"], 2, "a part is trained in one go: remove its folder and start again without --resume"),
        (["--set", "widht=16"], 2, "did you mean width?"),
        (["--set", "lessons=3"], 2, "lessons: "),
    ],
)
def test_an_error_is_one_line_and_leaves_no_run(file, capsys, arguments, code, message):
    assert run(["train", str(file), *arguments]) == code
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (file.parent / "run").exists()


def test_a_finished_run_is_refused(file, capsys):
    (file.parent / "run").mkdir()
    (file.parent / "run/mine.txt").touch()
    assert run(["train", str(file)]) == 1
    assert str(file.parent / "run") in capsys.readouterr().err
    assert [one.name for one in (file.parent / "run").iterdir()] == ["mine.txt"]
