"""`lapilli train` with the recipe of a part."""

import json

import pytest
import torch
from tests.training.small import tokenizer, tokenizer_folder
from transformers import AutoModelForCausalLM, AutoTokenizer, CLIPVisionModel

from lapilli.cli import run
from lapilli.core.recipe import dump, read_recipe
from lapilli.core.run import RunDir
from lapilli.training.part_recipe import LanguageRecipe, Lesson, VisionRecipe
from lapilli.training.pebble.language import train_language


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
    said = capsys.readouterr()
    assert said.out == f"{model}\n"
    assert said.err.startswith("language: a language model learns, from nothing; 2 lessons, at most 2 steps; fp32 on ")
    loaded = AutoModelForCausalLM.from_pretrained(model).state_dict()
    alone = train_language(read_recipe(file, [], LanguageRecipe), tokenizer(), lambda *_, **__: None).state_dict()
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


def test_a_vision_encoder_is_trained_and_its_steps_are_kept(tmp_path, capsys):
    """Fewer steps than it logs every so often are steps all the same."""
    sizes = {"scenes": 4, "steps": 2, "batch_size": 3, "width": 16, "layers": 2, "heads": 2, "text_width": 16}
    path = tmp_path / "recipe.yaml"
    path.write_text(dump(VisionRecipe("vision", tmp_path / "run", tokenizer_folder(), **sizes)))
    assert run(["train", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 2
    RunDir.open(tmp_path / "run").verify()
    assert CLIPVisionModel.from_pretrained(tmp_path / "run/model").config.hidden_size == 16


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("steps=0", "steps: 0; it must be 1 to 1,000,000,000"),
        ("patch=0", "patch: 0; it must be 1 to 96"),
        ("heads=0", "heads: 0; it must be 1 to 65,536"),
        ("width=-128", "width: -128; it must be 1 to 65,536"),
        ("learning_rate=-1", "learning_rate: -1.0; it must be more than 0"),
        ("scenes=3", "batch_size: 4 pictures of 3 scenes"),
        ("patch=17", "patch: 17 does not divide the 96 pixels of a side"),
        ("heads=3", "heads: 3 do not divide width and text_width"),
    ],
)
def test_a_vision_encoder_that_cannot_be_is_refused(tmp_path, capsys, sizes, message):
    path = tmp_path / "recipe.yaml"
    path.write_text(dump(VisionRecipe("vision", tmp_path / "run", tokenizer_folder(), scenes=4, batch_size=4)))
    assert run(["train", str(path), "--set", sizes]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def lesson(fields):
    """One lesson, with these fields, as an override."""
    steps = "" if "steps" in fields else "steps: 1, "
    return f"lessons=[{{things: 1, questions: 2, batch_size: 2, {steps}{fields}}}]"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--resume"], 2, "a part is trained in one go: remove its folder and start again without --resume"),
        (["--set", "widht=16"], 2, "did you mean width?"),
        (["--set", "lessons=3"], 2, "lessons: "),
        (["--set", "lessons=[]"], 2, "lessons: at least one"),
        (["--set", "width=36"], 2, "width: 36 is no multiple of 16"),
        (["--set", lesson("steps: 0")], 2, "lessons[0].steps: 0; it must be 1 to 1,000,000,000"),
        (["--set", lesson("related: 0.5")], 2, "lessons[0].related: how two things lie is asked where there are two"),
        (["--set", lesson("until: 2")], 2, "lessons[0].until: 2.0; it must be 0 to 1"),
        (["--set", lesson("paired: -0.5")], 2, "lessons[0].paired: -0.5; it must be 0 to 1"),
        (["--set", "width=0"], 2, "width: 0; it must be 1 to 65,536"),
        (["--set", "log_every=0"], 2, "log_every: 0; it must be 1 to 1,000,000,000"),
        (["--set", "seed=-1"], 2, "seed: -1; it must be 0 to 4,294,967,295"),
        (["--set", lesson("rates: [1, -1]")], 2, "lessons[0].rates: [1.0, -1.0]; it must be 0 or more"),
        (["--set", lesson("kinds: [hue]")], 2, "lessons[0].kinds: no such type 'hue'; there are color,"),
        (["--set", lesson("kinds: [reading]")], 2, "lessons[0].kinds: a scene may allow none of them; add one of"),
        (
            ["--set", lesson("paired: 0.9, stated: 0.9")],
            2,
            "lessons[0].paired, placed, counted, stated, retold, carded, related, reasoned, compared are",
        ),
        (["--set", "tokenizer=no/where"], 1, "no/where: no such folder, and not whole in the cache"),
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
