"""The optimizer of a run: AdamW, and Muon for the matrices of the language model's layers, at every part's own rate."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from lapilli.core.errors import UsageError
from lapilli.model.llava import Llava
from lapilli.training.muon import Muon, layer_matrices, muon_group
from lapilli.training.recipe import TrainRecipe
from lapilli.training.tuning import Part

_ORDER: tuple[Part, ...] = ("llm", "projector", "vision")
"""The order of the groups: the Trainer logs the rate of the first."""


def optimizer_of(recipe: TrainRecipe, learning: Mapping[Part, Sequence[nn.Parameter]], llava: Llava) -> Muon:
    """Return the optimizer of the parameters that learn, by part, at the recipe's rates.

    Without `llm.muon_learning_rate` it is AdamW. Raises UsageError where Muon has no matrices to move.
    """
    rates = {part: getattr(recipe, part).learning_rate or recipe.learning_rate for part in learning}
    decays = {part: _decay(recipe, part) for part in learning}
    matrices = _muon_matrices(recipe, learning, llava)
    moved = set(matrices)
    others = {part: [p for p in learning[part] if p not in moved] for part in _ORDER if part in learning}
    groups = parameter_groups(others, rates, decays)
    if matrices and recipe.llm.muon_learning_rate:
        groups.insert(0, muon_group(matrices, recipe.llm.muon_learning_rate, weight_decay=decays["llm"]))
    return Muon(groups, lr=recipe.learning_rate, fused=True)


def _decay(recipe: TrainRecipe, part: Part) -> float:
    own: float | None = getattr(recipe, part).weight_decay
    return recipe.weight_decay if own is None else own


def _muon_matrices(
    recipe: TrainRecipe, learning: Mapping[Part, Sequence[nn.Parameter]], llava: Llava
) -> list[nn.Parameter]:
    """Return the matrices that Muon moves. Raises UsageError where the recipe wants Muon and there are none."""
    if not recipe.llm.muon_learning_rate or "llm" not in learning:
        return []
    learned = set(learning["llm"])
    matrices = [matrix for matrix in layer_matrices(llava.model.model.language_model)[0] if matrix in learned]
    if not matrices:
        language: Any = llava.model.config.text_config
        raise UsageError(
            f"llm.muon_learning_rate: no matrix of a layer learns in this {language.model_type}; set it to null"
        )
    return matrices


def parameter_groups(
    parts: Mapping[Any, Sequence[nn.Parameter]], rates: Mapping[Any, float], decays: Mapping[Any, float]
) -> list[dict[str, Any]]:
    """Return groups for an optimizer, with rate and decay by part: matrices decay, biases and norms do not."""
    groups = []
    for part, parameters in parts.items():
        matrices = [p for p in parameters if p.ndim > 1]
        vectors = [p for p in parameters if p.ndim <= 1]
        for chosen, decay in ((matrices, decays[part]), (vectors, 0.0)):
            if chosen:
                groups.append({"params": chosen, "lr": rates[part], "weight_decay": decay})
    return groups
