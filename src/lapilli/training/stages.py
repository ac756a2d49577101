"""The two stages of LLaVA's training: how samples are written in each, and what learns unless a recipe chooses.

First the connector alone learns, on pictures and captions, to map the vision encoder's features to the language model's
embeddings. Then connector and language model learn together to answer. The vision encoder never changes
(arXiv 2304.08485, section 4.2).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lapilli.core.errors import UsageError
from lapilli.core.prompt.codec import Codec
from lapilli.data.learnable import Requirements
from lapilli.model.checkpoints.read import llava_config
from lapilli.model.hub import model_folder
from lapilli.model.llava import codec_of
from lapilli.training.recipe import TrainRecipe
from lapilli.training.tuning import Mode, Part


@dataclass(frozen=True)
class Stage:
    """The parts that learn, in full, and the template in which the samples are written; None is the model's own."""

    name: str
    learning: tuple[Part, ...]
    template: str | None


ALIGN = Stage("align", ("projector",), "plain")
INSTRUCT = Stage("instruct", ("projector", "llm"), None)
STAGES = {stage.name: stage for stage in (ALIGN, INSTRUCT)}


def modes(recipe: TrainRecipe) -> Mapping[Part, Mode]:
    """How each part is tuned: as the recipe says or, where it says nothing, its stage. Raises UsageError for none."""
    learning = STAGES[recipe.stage].learning
    chosen: dict[Part, Mode | None] = {
        "vision": recipe.vision.mode,
        "projector": recipe.projector.mode,
        "llm": recipe.llm.mode,
    }
    resolved: dict[Part, Mode] = {
        part: mode or ("full" if part in learning else "frozen") for part, mode in chosen.items()
    }
    if set(resolved.values()) == {"frozen"}:
        raise UsageError("vision.mode, projector.mode, llm.mode: all frozen, so nothing would learn; set one to full")
    return resolved


def requirements(stage: Stage, codec: Codec, config: Any, llm: Mode | None = None) -> Requirements:
    """Return what the stage requires of its samples, for a model with this codec and this configuration.

    `llm` says how the language model is tuned, where it is not as the stage has it.
    """
    codec = replace(codec, template=stage.template or codec.template)
    llm_learns = "llm" in stage.learning if llm is None else llm != "frozen"
    return Requirements(codec, config.text_config.max_position_embeddings, not llm_learns)


def requirements_of(stage: Stage, model: Path) -> Requirements:
    """Return what the stage requires of its samples, for the model in a folder or on the hub; no weight is read."""
    folder = model_folder(model, weights="none")
    return requirements(stage, codec_of(folder), llava_config(folder))
