"""The two stages of LLaVA's training: what learns in each, from which samples, by which optimizer.

First the connector alone learns, on pictures and captions, to map the vision encoder's features to the language model's
embeddings. Then connector and language model learn together to answer. The vision encoder never changes
(arXiv 2304.08485, section 4.2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from torch import nn

from lapilli.core.errors import UsageError
from lapilli.core.prompt.codec import Codec
from lapilli.data.learnable import Requirements
from lapilli.model import architecture
from lapilli.model.checkpoints.read import llava_config
from lapilli.model.hub import model_folder
from lapilli.model.llava import Llava, codec_of
from lapilli.training.muon import Muon, layer_matrices, muon_group
from lapilli.training.recipe import TrainRecipe

Part: TypeAlias = Literal["projector", "language"]


@dataclass(frozen=True)
class Stage:
    """The parts that learn, and the template in which the samples are written; None is the model's own."""

    name: str
    trainable: tuple[Part, ...]
    template: str | None


ALIGN = Stage("align", ("projector",), "plain")
INSTRUCT = Stage("instruct", ("projector", "language"), None)
STAGES = {stage.name: stage for stage in (ALIGN, INSTRUCT)}


def requirements(stage: Stage, codec: Codec, config: Any) -> Requirements:
    """Return what the stage requires of its samples, for a model with this codec and this configuration."""
    codec = replace(codec, template=stage.template or codec.template)
    return Requirements(codec, config.text_config.max_position_embeddings, "language" not in stage.trainable)


def requirements_of(stage: Stage, model: Path) -> Requirements:
    """Return what the stage requires of its samples, for the model in a folder or on the hub; no weight is read."""
    folder = model_folder(model, weights="none")
    return requirements(stage, codec_of(folder), llava_config(folder))


def set_trainable(stage: Stage, llava: Llava) -> dict[Part, list[nn.Parameter]]:
    """Freeze all parameters but those of the stage's parts, and return these; a tied one is listed once."""
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


def optimizer_of(recipe: TrainRecipe, learning: Mapping[Part, Sequence[nn.Parameter]], llava: Llava) -> Muon:
    """Return the optimizer of the parameters that `set_trainable` returned, at the recipe's rates.

    Without `muon_learning_rate` it is AdamW. Raises UsageError where Muon has no matrices to move.
    """
    matrices = _muon_matrices(recipe, llava)
    rates = {"language": recipe.learning_rate, "projector": recipe.projector_learning_rate or recipe.learning_rate}
    # The Trainer logs the first group's rate: the language model's, that of its layers, where there is one.
    chosen = set(matrices)
    others = {part: [p for p in learning[part] if p not in chosen] for part in sorted(learning)}
    groups = parameter_groups(others, rates, recipe.weight_decay)
    if recipe.muon_learning_rate and matrices:
        groups.insert(0, muon_group(matrices, recipe.muon_learning_rate, weight_decay=recipe.weight_decay))
    return Muon(groups, lr=recipe.learning_rate, fused=True)


def _muon_matrices(recipe: TrainRecipe, llava: Llava) -> list[nn.Parameter]:
    """Return the matrices that Muon moves. Raises UsageError where the recipe wants Muon and there are none."""
    if not recipe.muon_learning_rate or "language" not in STAGES[recipe.stage].trainable:
        return []
    matrices, _ = layer_matrices(llava.model.model.language_model)
    if not matrices:
        language: Any = llava.model.config.text_config
        raise UsageError(
            f"muon_learning_rate: a {language.model_type} has no matrices called layers; set it to null, for AdamW"
        )
    return matrices


def parameter_groups(
    parts: Mapping[Any, Sequence[nn.Parameter]], rates: Mapping[str, float], weight_decay: float
) -> list[dict[str, Any]]:
    """Return groups for an optimizer: every part's matrices decay, its biases and norms do not; `rates` by part."""
    groups = []
    for part, parameters in parts.items():
        matrices = [p for p in parameters if p.ndim > 1]
        vectors = [p for p in parameters if p.ndim <= 1]
        for chosen, decay in ((matrices, weight_decay), (vectors, 0.0)):
            if chosen:
                groups.append({"params": chosen, "lr": rates[part], "weight_decay": decay})
    return groups
