"""Recipes: what comes with the package can be read, and a number out of its range is named."""

from pathlib import Path

import pytest

from lapilli.core.errors import UsageError
from lapilli.core.recipe import read_recipe
from lapilli.training.recipe import TrainRecipe


@pytest.mark.parametrize("stage", ["align", "instruct"])
def test_the_recipes_that_come_with_lapilli(stage):
    recipe = read_recipe(Path(f"recipes/{stage}.yaml"), [], TrainRecipe)
    assert recipe.stage == stage


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batch_size=0", "batch_size: 0; it must be 1 or more"),
        ("learning_rate=0", "learning_rate: 0.0; it must be more than 0"),
        ("warmup=1", "warmup: 1.0; it must be a share of the steps"),
        ("workers=-1", "workers: -1; it must be 0 or more"),
        ("schedule=cosin", "one of cosine, linear, constant expected, cosin found"),
        ("muon_learning_rate=-1", "muon_learning_rate: -1.0; it must be more than 0"),
        ("learningrate=1", "did you mean learning_rate?"),
    ],
)
def test_a_number_out_of_range_is_named(override, message):
    with pytest.raises(UsageError) as caught:
        read_recipe(Path("recipes/align.yaml"), [override], TrainRecipe)
    assert message in str(caught.value)
