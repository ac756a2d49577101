"""The two stages of LLaVA's training, as data (arXiv 2304.08485, section 4.2).

First the connector alone learns, on pictures and captions, to say in the language model's embeddings what the vision
encoder sees. Then connector and language model learn together to answer. The vision encoder never changes.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from torch import nn

from lapilli.core.prompt.codec import Codec
from lapilli.data.learnable import Requirements
from lapilli.model import architecture
from lapilli.model.checkpoints.read import llava_config
from lapilli.model.hub import model_folder
from lapilli.model.llava import Llava, codec_of

Part: TypeAlias = Literal["projector", "language"]


@dataclass(frozen=True)
class Stage:
    """What learns, and in which template the samples are spoken; None is the model's own."""

    name: str
    trainable: tuple[Part, ...]
    template: str | None


ALIGN = Stage("align", ("projector",), "plain")
INSTRUCT = Stage("instruct", ("projector", "language"), None)
STAGES = {stage.name: stage for stage in (ALIGN, INSTRUCT)}


def requirements(stage: Stage, codec: Codec, config: Any) -> Requirements:
    """What the stage asks of its samples, of a model with this codec and this configuration."""
    spoken = replace(codec, template=stage.template or codec.template)
    return Requirements(spoken, config.text_config.max_position_embeddings, "language" not in stage.trainable)


def requirements_of(stage: Stage, model: Path) -> Requirements:
    """The same of the model in a folder or on the hub; no weight is read."""
    folder = model_folder(model, weights="none")
    return requirements(stage, codec_of(folder), llava_config(folder))


def set_trainable(stage: Stage, llava: Llava) -> dict[Part, list[nn.Parameter]]:
    """Freeze everything but the stage's parts, and return their parameters; a tied one is listed once."""
    for parameter in llava.model.parameters():
        parameter.requires_grad_(False)
    learning = {part: _parameters(part, llava) for part in stage.trainable}
    for parameters in learning.values():
        for parameter in parameters:
            parameter.requires_grad_(True)
    return learning


def _parameters(part: Part, llava: Llava) -> list[nn.Parameter]:
    if part == "projector":
        return architecture.learning(llava.model.model.multi_modal_projector, llava.card.connector)
    both = (llava.model.model.language_model, llava.model.lm_head)
    return list(dict.fromkeys(parameter for module in both for parameter in module.parameters()))
