"""How long a run is: what its epochs and its `max_steps` come to, before anything is trained."""

import math
from dataclasses import dataclass

from lapilli.training.recipe import TrainRecipe


@dataclass(frozen=True)
class Length:
    """The steps of a run of a recipe over so many samples, counted as transformers' Trainer does.

    A pass that is not full counts as one, and so does a step of fewer passes than `accumulate` at the end of an epoch.
    """

    recipe: TrainRecipe
    samples: int

    @property
    def epoch(self) -> int:
        """Steps of one epoch."""
        return math.ceil(math.ceil(self.samples / self.recipe.batch_size) / self.recipe.accumulate)

    @property
    def asked(self) -> int | None:
        """Steps that the recipe's epochs would take; None where it names none."""
        return None if self.recipe.epochs is None else math.ceil(self.recipe.epochs * self.epoch)

    @property
    def cap(self) -> int | None:
        """The recipe's `max_steps`, where it ends the run before its epochs do."""
        most, asked = self.recipe.max_steps, self.asked
        return most if most is not None and (asked is None or most < asked) else None

    @property
    def steps(self) -> int:
        """Steps of the run."""
        return self.cap or self.asked or 0  # one of them there is

    @property
    def epochs(self) -> float:
        """How often the run goes through the samples."""
        return self.steps / self.epoch
