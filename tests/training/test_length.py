"""How long a run is, against what transformers' Trainer does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lapilli.training.feed import SimilarLengths
from lapilli.training.recipe import Data, Length, TrainRecipe
from lapilli.training.trainer import StageTrainer, Totals, training_arguments


class _Line(nn.Module):
    """As small as a model can be that a StageTrainer trains."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(1, 1)

    def forward(self, input_ids, attention_mask):
        return {"loss": self.line(input_ids).square().mean()}


def length_of(folder, samples, batch, accumulate, epochs, max_steps):
    recipe = TrainRecipe(
        "align", folder, Data(folder), folder / "run", epochs=epochs, max_steps=max_steps,
        batch_size=batch, accumulate=accumulate,
    )  # fmt: skip
    return Length(recipe, samples)


def trained(length):
    """The Trainer's state after the run of this length."""
    recipe, samples = length.recipe, length.samples
    arguments = training_arguments(recipe, recipe.out)
    arguments.max_steps = length.cap or -1
    rows = [{"input_ids": torch.ones(1), "attention_mask": torch.ones(1)} for _ in range(samples)]
    order = SimilarLengths(np.ones(samples, np.intp), recipe.batch_size * recipe.accumulate, recipe.seed)
    ways = {"before_seal": lambda: None, "evaluation": lambda state, control: {}}
    trainer = StageTrainer(Totals(), order, model=_Line(), args=arguments, train_dataset=rows, **ways)
    trainer.train()
    return trainer.state


@pytest.mark.parity
@pytest.mark.parametrize(
    ("samples", "batch", "accumulate", "epochs", "max_steps", "steps"),
    [
        (8, 4, 1, 1.0, None, 2),
        (9, 4, 1, 2.0, None, 6),  # a batch of one sample
        (9, 4, 2, 2.0, None, 4),  # three passes are a step of two and a step of one
        (17, 4, 3, 2.0, None, 4),
        (3, 4, 2, 3.0, None, 3),  # not one whole batch
        (16, 4, 1, 0.6, None, 3),  # of 2.4 steps
        (16, 4, 1, 1e-9, None, 1),
        (9, 4, 2, 2.0, 3, 3),  # the cap is smaller
        (9, 4, 2, 2.0, 4, 4),  # both say the same
        (9, 4, 2, 2.0, 9, 4),  # the epochs are
        (9, 4, 2, None, 7, 7),  # a cap alone
    ],
)
def test_steps_are_those_that_the_trainer_takes(tmp_path, samples, batch, accumulate, epochs, max_steps, steps):
    length = length_of(tmp_path, samples, batch, accumulate, epochs, max_steps)
    state = trained(length)
    assert length.steps == state.max_steps == state.global_step == steps


def test_the_first_stage_of_llava_goes_through_all_of_its_samples():
    """558,128 in batches of 256: 2,180 whole ones and the rest."""
    length = length_of(Path("x"), 558_128, 32, 8, 1.0, None)
    assert (length.steps, length.epochs) == (2181, 1.0)
