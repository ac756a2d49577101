"""Recipes: what comes with the package can be read, and every field has a meaning and, if it is a number, a range."""

import math
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from lapilli.cli import run
from lapilli.core.errors import UsageError
from lapilli.core.fields import list_fields
from lapilli.core.recipe import read_recipe, shipped_recipes
from lapilli.training.recipe import RECIPES, TrainRecipe, recipe_type
from lapilli.training.stages import modes

FIELDS = list_fields(TrainRecipe)
ALIGN = read_recipe(Path("recipes/align.yaml"), [], TrainRecipe)


PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def test_the_page_s_example_runs_and_says_what_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    *commands, training = [line.strip() for line in PAGE.splitlines() if line.startswith("    lapilli ")][:4]
    for command in commands:
        words, _, file = command.partition(" > ")
        assert run(shlex.split(words)[1:]) == 0
        said = capsys.readouterr().out
        if file:
            Path(file).write_text(said)
    assert run(shlex.split(training)[1:]) == 0
    said = capsys.readouterr()
    assert all(f"    {line}\n" in PAGE for line in said.err.splitlines()[:2])
    assert said.out == "align/model\n"


def test_the_recipes_that_come_with_lapilli():
    found = {name: read_recipe(Path(name), [], recipe_type(Path(name))) for name in shipped_recipes()}
    assert {recipe.stage for recipe in found.values()} == set(RECIPES)
    for recipe in found.values():  # data of any size is gone through as often as the recipe says
        assert not isinstance(recipe, TrainRecipe) or (recipe.max_steps is None and recipe.epochs >= 1)


@pytest.mark.parametrize("kind", dict.fromkeys(RECIPES.values()), ids=lambda kind: kind.__name__)
def test_every_field_says_what_it_means_and_every_number_has_a_range(kind):
    for info in list_fields(kind):
        assert info.meaning.endswith("."), info.field
        assert "number" not in info.type or any(mark in info.type for mark in (" to ", "more")), info.field


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch_size=0", "batch_size: 0; it must be 1 to 1,000,000"),
        ("accumulate=0", "accumulate: 0; it must be 1 to 1,000,000"),
        ("learning_rate=0", "learning_rate: 0.0; it must be more than 0"),
        ("warmup=1", "warmup: 1.0; it must be 0 to less than 1"),
        ("workers=-1", "workers: -1; it must be 0 to 64"),
        ("workers=65", "workers: 65; it must be 0 to 64"),
        ("seed=-1", "seed: -1; it must be 0 to 4,294,967,295"),
        ("seed=4294967296", "seed: 4294967296; it must be 0 to 4,294,967,295"),
        ("epochs=0", "epochs: 0.0; it must be more than 0, at most 1,000,000"),
        ("epochs=-2", "epochs: -2.0; it must be more than 0, at most 1,000,000"),
        ("epochs=1e9", "epochs: 1000000000.0; it must be more than 0, at most 1,000,000"),
        ("max_steps=0", "max_steps: 0; it must be 1 to 1,000,000,000"),
        ("save_every=0", "save_every: 0; it must be 1 to 1,000,000,000"),
        ("clip=-1", "clip: -1.0; it must be 0 or more"),
        ("weight_decay=-1", "weight_decay: -1.0; it must be 0 or more"),
        ("learning_rate=.inf", "learning_rate: a number expected, .inf found"),
        (f"learning_rate=1{'0' * 400}", f"learning_rate: a number expected, 1{'0' * 400} found"),
        ("schedule=cosin", "one of cosine, linear, constant expected, cosin found"),
        ("llm.muon_learning_rate=-1", "llm.muon_learning_rate: -1.0; it must be more than 0"),
        ("learningrate=1", "did you mean learning_rate?"),
    ],
)
def test_a_number_out_of_range_is_named(override, message):
    with pytest.raises(UsageError) as caught:
        read_recipe(Path("recipes/align.yaml"), [override], TrainRecipe)
    assert message in str(caught.value)


@pytest.mark.parametrize("field", ["epochs", "learning_rate", "clip", "warmup", "weight_decay"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_program_s_recipe_is_held_to_the_ranges_too(field, value):
    with pytest.raises(ValueError, match=f"^{field}: {value}; it must be "):
        replace(ALIGN, **{field: value})


def test_the_ends_of_the_ranges_are_good():
    widest = replace(ALIGN, seed=2**32 - 1, workers=64, warmup=0.0, clip=0.0, epochs=1e-9, max_steps=1)
    assert (widest.seed, widest.workers) == (4294967295, 64)


def test_without_a_length_a_recipe_goes_through_the_samples_once():
    assert replace(ALIGN, epochs=None).epochs == 1
    assert replace(ALIGN, epochs=None, max_steps=9).epochs is None


PUBLISHED = {
    # recipe: samples a step, epochs, rate, the connector's rate, how the language model is tuned
    "llava-v1-align": (128, 1, 2e-3, None, "frozen"),
    "llava-v1-instruct": (32, 3, 2e-5, None, "full"),
    "llava-v1.5-align": (256, 1, 1e-3, None, "frozen"),
    "llava-v1.5-instruct": (128, 1, 2e-5, None, "full"),
    "llava-v1.5-lora": (128, 1, 2e-4, 2e-5, "lora"),
}
"""What arXiv 2304.08485 (appendix C), arXiv 2310.03744 (table 9) and the scripts beside them say of each training."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_presets_are_as_published(name):
    resolved = read_recipe(Path(f"recipes/{name}.yaml"), [], TrainRecipe)
    samples, epochs, rate, projector_rate, llm = PUBLISHED[name]
    assert resolved.batch_size * resolved.accumulate == samples
    assert (resolved.epochs, resolved.max_steps) == (epochs, None)
    assert (resolved.learning_rate, resolved.projector.learning_rate) == (rate, projector_rate)
    assert (resolved.llm.learning_rate, resolved.llm.muon_learning_rate) == (None, None)
    assert modes(resolved) == {"vision": "frozen", "projector": "full", "llm": llm}
    assert (resolved.weight_decay, resolved.warmup, resolved.schedule) == (0, 0.03, "cosine")
    assert (resolved.precision, resolved.image_position) == ("bf16", "first")
    assert (resolved.lora.rank, resolved.lora.alpha, resolved.lora.dropout) == (
        (128, 256, 0.05) if llm == "lora" else (16, None, 0)
    )
