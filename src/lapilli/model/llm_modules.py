"""The kinds of modules in the layers of a language model, by their names: what recipes tune and patches exchange."""

from itertools import pairwise
from typing import Literal, TypeAlias, get_args

LlmModule: TypeAlias = Literal["attention", "gate_up", "down", "norms"]
"""Attention's matrices, gate and up of the MLP, its down, and the norms, those inside attention too."""

LLM_MODULES: tuple[LlmModule, ...] = get_args(LlmModule)
"""All kinds: together they are a layer."""

_ATTENTION = {"self_attn", "attention", "attn", "self_attention"}
_DOWN = {"down_proj", "fc2", "dense_4h_to_h", "c_proj", "w2"}


def layer_and_kind(name: str) -> tuple[int | None, LlmModule | None]:
    """The layer and the kind of module of a language model's parameter or module, by its name; None outside layers."""
    words = name.split(".")
    layer = next((int(word) for before, word in pairwise(words) if before == "layers"), None)
    if any("norm" in word or word.startswith("ln_") for word in words):
        return layer, "norms"
    if layer is None:
        return None, None
    if _ATTENTION & {*words}:
        return layer, "attention"
    return layer, "down" if _DOWN & {*words} else "gate_up"
