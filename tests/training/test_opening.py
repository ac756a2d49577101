"""What a run says before its first step."""

from pathlib import Path

import pytest
from torch import nn

from lapilli.training.recipe import Data, Length, TrainRecipe
from lapilli.training.tuning import LlmTuning, Lora
from lapilli.training.watch import opening


def said(stage="align", samples=7_000, done=0, **changes):
    recipe = TrainRecipe(stage, Path("m"), Data(Path("d")), Path("runs/x"), batch_size=8, **changes)
    parts = {"projector": nn.Linear(100, 100), "llm": nn.Linear(1_000, 1_000)}
    learning = {part: list(parts[part].parameters()) for part in parts if stage == "instruct" or part == "projector"}
    return opening(learning, Length(recipe, samples), done, "cpu")


def test_it_says_what_learns_and_what_does_not():
    assert said()[0] == ("align: projector (10,100 parameters) learns; vision encoder and language model are frozen")
    assert said("instruct")[0] == (
        "instruct: projector (10,100 parameters) and language model (1,001,000 parameters) learn; "
        "vision encoder is frozen"
    )


def test_it_says_what_of_a_part_learns():
    tuning = LlmTuning(mode="lora", layers="0,3,5-7", modules=("attention", "down"))
    assert (
        "language model (LoRA of rank 8, layers 0,3,5-7, attention, down, 1,001,000 parameters)"
        in (said("instruct", llm=tuning, lora=Lora(8))[0])
    )
    assert "(layers 2, 1,001,000 parameters)" in said("instruct", llm=LlmTuning(layers="2"))[0]


@pytest.mark.parametrize(
    ("changes", "extent"),
    [
        ({"epochs": 3.0}, "3 epochs, 2,625 steps"),
        ({"epochs": 3.0, "max_steps": 500}, "500 steps: max_steps 500 ends it after 0.571 of 3 epochs"),
        ({"epochs": 1.0, "max_steps": 5_000}, "1 epoch, 875 steps, fewer than max_steps 5,000"),
        ({"epochs": 2.0, "max_steps": 5_000}, "2 epochs, 1,750 steps, fewer than max_steps 5,000"),
        ({"epochs": 1.0, "max_steps": 875}, "1 epoch, 875 steps"),
        ({"max_steps": 500}, "0.571 epochs, 500 steps"),
        ({"epochs": 0.001}, "0.00114 epochs, 1 step"),
        ({"epochs": 200.0, "done": 1_000}, "200 epochs, 175,000 steps, resumed after step 1,000"),
    ],
)
def test_it_says_for_how_long_and_which_limit_counts(changes, extent):
    assert said(**changes)[1] == f"7,000 samples, {extent}; batch_size 8; fp32 on cpu; into runs/x"


def test_it_says_how_large_a_step_is():
    line = said(accumulate=4, precision="bf16", samples=1)[1]
    assert line == "1 sample, 1 epoch, 1 step; batch_size 8 x accumulate 4; bf16 on cpu; into runs/x"
