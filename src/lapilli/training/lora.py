"""Low-rank updates (LoRA, arXiv 2106.09685; DoRA, arXiv 2402.09353) of the parts that a recipe tunes so, by peft."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lapilli.core.errors import UsageError
from lapilli.core.placement import AS_STORED, AUTO, Placement
from lapilli.model.card import BASE
from lapilli.model.checkpoints.adapter import is_adapter
from lapilli.model.hub import model_folder
from lapilli.model.llava import Llava, save_adapter
from lapilli.model.parts import origin
from lapilli.training.learning import chosen, module_of
from lapilli.training.recipe import TrainRecipe
from lapilli.training.stages import modes
from lapilli.training.tuning import Part

_HEAD = "lm_head"
_ROOTS: Mapping[Part, str] = {
    "vision": "model.vision_tower",
    "projector": "model.multi_modal_projector",
    "llm": "model.language_model",
}


def placement_of(recipe: TrainRecipe) -> Placement:
    """Where and how the model is read: as it is stored, or for QLoRA with a language model of 4 bits."""
    return Placement(AUTO, recipe.precision, recipe.lora.bits) if recipe.lora.bits else AS_STORED


def with_updates(recipe: TrainRecipe, llava: Llava) -> Any:
    """Put updates beside the matrices of the parts in mode lora, and return peft's model of them; None without any.

    `llava.model` is changed in place, and computes what it did: B begins at 0. `seed` draws A.
    Raises UsageError where a part has no matrices of the chosen layers and modules.
    """
    if "lora" in modes(recipe).values() and is_adapter(model_folder(recipe.model)):
        remedy = "merge it first (`lapilli model merge`), and tune what comes of it"
        raise UsageError(f"model: {recipe.model}: an adapter, which another one cannot be put on; {remedy}")
    targets = [name for part, mode in modes(recipe).items() if mode == "lora" for name in _targets(part, recipe, llava)]
    if not targets:
        return None
    from peft import LoraConfig, get_peft_model  # a second to import, and not needed without

    lora = recipe.lora
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha or 2 * lora.rank,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        use_dora=lora.dora,
        target_modules=targets,
        bias="none",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return get_peft_model(llava.model, config)


def _targets(part: Part, recipe: TrainRecipe, llava: Llava) -> list[str]:
    """The full names of the matrices of a part that get updates: those that would learn in mode full."""
    weights = {*chosen(part, recipe.llm, llava)}
    linear = {name: inner for name, inner in module_of(part, llava).named_modules() if isinstance(inner, nn.Linear)}
    names = [f"{_ROOTS[part]}.{name}" for name, inner in linear.items() if inner.weight in weights]
    if not names:
        raise UsageError(f"{part}.mode: lora, but no matrix of it is chosen; choose other layers or modules, or full")
    return names


def save_updates(recipe: TrainRecipe, updates: Any, llava: Llava, out: Path) -> None:
    """Write the updates, and what was trained in full beside them, into `out`, as `save_adapter` has it.

    `updates` is what `with_updates` returned for `llava`. Raises LapilliError as `save_adapter` does.
    """
    from peft import get_peft_model_state_dict

    tensors = _trained_whole(llava)
    config = deepcopy(updates.peft_config["default"])
    config.modules_to_save = sorted({name.rpartition(".")[0] for name in tensors}) or None
    base = model_folder(recipe.model)
    name = str(base.resolve()) if Path(recipe.model).is_dir() else str(recipe.model)
    card = replace(llava.card, parts={**llava.card.parts, BASE: origin(base)})
    vars(llava.model.config).pop("quantization_config", None)  # the base, which updates are merged into, is whole
    every = {**get_peft_model_state_dict(updates), **tensors}
    save_adapter(replace(llava, card=card), config, every, name, out)


def _trained_whole(llava: Llava) -> dict[str, Tensor]:
    """The tensors that were trained in full, by their names, with all others of the modules that hold them.

    peft loads whole modules. A head that is tied to the embeddings is there as well: peft puts another matrix in the
    place of the one, and would leave the other as it was.
    """
    named = {name: weight.detach() for name, weight in llava.model.named_parameters(remove_duplicate=False)}
    learned = [name for name, weight in llava.model.named_parameters() if weight.requires_grad and ".lora_" not in name]
    modules = {name.rpartition(".")[0] for name in learned}
    if llava.model.config.tie_word_embeddings and any(name.endswith("embed_tokens.weight") for name in learned):
        modules.add(_HEAD)
    return {
        name: weight.clone() if name.startswith(_HEAD) else weight  # a file holds no tensor twice
        for name, weight in named.items()
        if any(name.startswith(f"{module}.") for module in modules) and ".lora_" not in name
    }
