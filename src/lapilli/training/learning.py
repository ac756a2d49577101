"""What learns: the parameters that a recipe chooses of every part, all others frozen."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from lapilli.core.errors import UsageError
from lapilli.model import architecture
from lapilli.model.llava import Llava
from lapilli.training.recipe import TrainRecipe
from lapilli.training.stages import modes
from lapilli.training.tuning import LlmTuning, Part

_UNREAD = ("post_layernorm", "head")  # of a vision encoder: a LLaVA reads what comes before them


def set_learning(recipe: TrainRecipe, llava: Llava) -> dict[Part, list[nn.Parameter]]:
    """Freeze all parameters but those that are to learn, and return these by part; a tied one is listed once.

    Parts in mode lora must have their updates already; these alone learn. Raises UsageError as `chosen` does.
    """
    learning: dict[Part, list[nn.Parameter]] = {}
    for part, mode in modes(recipe).items():
        if mode == "full":
            learning[part] = chosen(part, recipe.llm, llava)
        elif mode == "lora":
            learning[part] = [p for name, p in module_of(part, llava).named_parameters() if ".lora_" in name]
    for parameter in llava.model.parameters():
        parameter.requires_grad_(False)
    for parameters in learning.values():
        for parameter in parameters:
            parameter.requires_grad_(True)
    return learning


def chosen(part: Part, tuning: LlmTuning, llava: Llava) -> list[nn.Parameter]:
    """The parameters of a part that are to learn, or whose updates are, each once.

    Of the vision encoder they are those that decide what the projector reads, of the language model what `tuning` has.
    Raises UsageError for layers that it has not, for tied matrices of which one is to learn, and where none is left.
    """
    if part == "projector":
        return architecture.learning(module_of(part, llava), llava.card.connector)
    parameters = list(dict.fromkeys(_read(llava) if part == "vision" else _of_llm(tuning, llava)))
    if not parameters:
        raise UsageError(f"{part}: nothing of it would learn; choose other layers or modules, or mode frozen")
    return parameters


def module_of(part: Part, llava: Llava) -> nn.Module:
    """The module of a part; that of the language model is without its head."""
    inner: Any = llava.model.model
    modules: dict[Part, nn.Module] = {
        "vision": inner.vision_tower,
        "projector": inner.multi_modal_projector,
        "llm": inner.language_model,
    }
    return modules[part]


def _layers(tuning: LlmTuning, llava: Llava) -> list[int]:
    """The layers of the language model that a recipe chooses. Raises UsageError for one that it has not."""
    config: Any = llava.model.config.text_config
    depth = config.num_hidden_layers
    layers = range(depth) if tuning.layers is None else tuning.layers
    if isinstance(layers, str):  # resolved before, by `with_layers_read`
        raise UsageError(f"llm.layers: {layers}: give numbers")
    if layers[-1] >= depth:
        raise UsageError(f"llm.layers: {layers[-1]}: the language model has {depth}, numbered from 0")
    return list(layers)


def _of_llm(tuning: LlmTuning, llava: Llava) -> Iterator[nn.Parameter]:
    """The parameters of the language model that learn in full."""
    language, head = module_of("llm", llava), llava.model.lm_head
    whole, layers = tuning.is_whole, {*_layers(tuning, llava)}
    table = language.get_input_embeddings().weight  # type: ignore[operator]
    learns = {True: True, False: False, None: whole and tuning.mode != "lora"}
    if head.weight is table and learns[tuning.embeddings] != learns[tuning.head]:
        raise UsageError("llm.embeddings, llm.head: they are tied, one matrix; set both to true or both to false")
    for name, parameter in language.named_parameters():
        layer, kind = architecture.layer_and_kind(name)
        if parameter is table:
            learned = learns[tuning.embeddings]
        elif layer is None:  # the last norm goes with those of all layers
            learned = whole or (tuning.layers is None and kind is not None and kind in (tuning.modules or [kind]))
        else:
            learned = layer in layers and kind in (tuning.modules or [kind])
        if learned:
            yield parameter
    if learns[tuning.head]:
        yield from head.parameters()


def _read(llava: Llava) -> Iterator[nn.Parameter]:
    """The parameters of the vision encoder that decide what the projector reads."""
    tower: Any = module_of("vision", llava)
    depth = len(tower.encoder.layers)
    last = max(at if at >= 0 else depth + 1 + at for at in architecture.feature_layers(llava.model.config))
    for name, parameter in tower.named_parameters():
        layer, _ = architecture.layer_and_kind(name)
        if name.split(".")[0] not in _UNREAD and (layer is None or layer < last):
            yield parameter
