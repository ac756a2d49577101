"""The kinds of modules in the layers of a language model, by their names: what recipes tune and patches exchange."""

from typing import Literal, TypeAlias, get_args

LlmModule: TypeAlias = Literal["attention", "gate_up", "down", "norms"]
"""Attention's matrices, gate and up of the MLP, its down, and the norms, those inside attention too."""

LLM_MODULES: tuple[LlmModule, ...] = get_args(LlmModule)
"""All kinds: together they are a layer."""
