"""How large a run is, in its results from the first step on: what learns, from how much, in how many steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from lapilli.model.llava import Llava
from lapilli.training.feed import Examples
from lapilli.training.learning import module_of
from lapilli.training.recipe import Length, TrainRecipe
from lapilli.training.stages import modes
from lapilli.training.tuning import Part


@dataclass(frozen=True)
class TunedPart:
    """A part of the model, how it is tuned, and how many of its parameters there are and learn.

    Updates of low rank count in both; the head counts as the language model's.
    """

    part: Part
    mode: str
    parameters: int
    learned_parameters: int


@dataclass(frozen=True)
class Start:
    """The parts, the steps that are planned, the samples to learn from with their tokens, and those to validate on."""

    parts: Sequence[TunedPart]
    device: str
    steps: int
    steps_per_epoch: int
    samples: int
    tokens: int
    learned_tokens: int
    validation_samples: int
    validation_tokens: int


def start_of(
    recipe: TrainRecipe,
    llava: Llava,
    learning: Mapping[Part, Sequence[nn.Parameter]],
    examples: Examples,
    validation: Examples | None,
) -> Start:
    """What the run of a recipe begins with."""
    length = Length(recipe, len(examples))
    return Start(
        parts=[
            TunedPart(part, mode, _count(_parameters(part, llava)), _count(learning.get(part, ())))
            for part, mode in modes(recipe).items()
        ],
        device=str(llava.model.device.type),
        steps=length.steps,
        steps_per_epoch=length.steps_per_epoch,
        samples=len(examples),
        tokens=examples.tokens,
        learned_tokens=examples.learned_tokens,
        validation_samples=len(validation) if validation else 0,
        validation_tokens=validation.tokens if validation else 0,
    )


def _parameters(part: Part, llava: Llava) -> list[nn.Parameter]:
    """The parameters of a part, each once."""
    model: Any = llava.model
    modules = [module_of(part, llava), *([model.lm_head] if part == "llm" else [])]
    return list(dict.fromkeys(parameter for module in modules for parameter in module.parameters()))


def _count(parameters: Sequence[nn.Parameter]) -> int:
    shapes = [getattr(parameter, "quant_state", parameter).shape for parameter in parameters]  # two of 4 bits a byte
    return sum(shape.numel() for shape in shapes)
