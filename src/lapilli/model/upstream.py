"""What is read of transformers' insides, in one place: they change between releases without a word.

Public classes and `from_pretrained` are used wherever they are needed. Names of arguments, what a cache holds, which
attention runs, which private methods are called: those are asked for here, and checked at the moment of use. The
releases that this file knows are those that pyproject.toml allows; the tests run with the first and the last of them.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache as memoised
from typing import Any, TypeAlias

from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.integrations.ggml import GGUF_CONFIG_MAPPING
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
from transformers.modeling_gguf_pytorch_utils import TensorProcessor, get_gguf_hf_weights_map
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector as LlavaMultiModalProjector

from lapilli.core.dependencies import dependency
from lapilli.core.errors import LapilliError

KeysValues: TypeAlias = tuple[Tensor, Tensor]
"""The keys and the values of one layer, (batch, kv_head, token, d_head) both, rotated as the model does."""

_NO_NETWORKS = ("general", "tokenizer")  # in transformers' table of architectures, beside these
_CACHE_ARGUMENTS = ("cache", "past_key_values")  # from 5.24 on; before


def new_cache() -> DynamicCache:
    """An empty cache in which every layer keeps all that it has read.

    Made without the model's configuration: with it, layers with a sliding window would drop what the window has passed.
    The attention's mask is the model's own all the same.
    """
    return DynamicCache()


def cache_argument(module: Any, cache: Any) -> dict[str, Any]:
    """The cache under the name by which this module's forward, or `generate`, takes one.

    Raises LapilliError for a release that calls it otherwise.
    """
    return {_cache_name(type(module).forward): cache}


def cache_in(values: Iterable[Any]) -> Any:
    """The cache among the arguments of a call, or in its output, by whatever name; None where there is none."""
    return next((value for value in values if isinstance(value, Cache)), None)


def cache_length(cache: Any) -> int:
    """The number of positions that have been read into a cache, of which a sliding window may have dropped some."""
    return 0 if cache is None else int(cache.get_seq_length())


def cache_layers(cache: Any) -> list[KeysValues]:
    """Keys and values of every layer, as views.

    Raises LapilliError where the cache does not hold them as plain tensors.
    """
    layers = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in getattr(cache, "layers", ())]
    tensors = [(keys, values) for keys, values in layers if isinstance(keys, Tensor) and isinstance(values, Tensor)]
    if not tensors or len(tensors) < len(layers):
        raise unknown(f"a {type(cache).__name__} does not hold keys and values layer by layer")
    return tensors


def cut_cache(cache: Any, length: int) -> None:
    """Keep the first positions of a cache of `new_cache` alone; of layers that hold fewer, all.

    Not by its own `crop`, which takes the same number off every layer: after a call that was broken off, they differ.
    """
    cache_layers(cache)
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys[..., :length, :], layer.values[..., :length, :]


def pick_samples(cache: Any, samples: Sequence[int]) -> None:
    """Make the samples of a cache of `new_cache` those of these numbers, in this order; one may come several times."""
    cache_layers(cache)
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys[list(samples)], layer.values[list(samples)]


@memoised
def require_arguments(function: Any, *names: str) -> None:
    """Refuse a release whose function has no arguments of these names: many would swallow them without a word.

    Raises LapilliError.
    """
    missing = [name for name in names if name not in _arguments(function)]
    if missing:
        raise unknown(f"{function.__qualname__} takes no {' and no '.join(missing)}")


def require_overridden(base: type, *methods: Any) -> None:
    """Refuse a release in which `base` no longer has, and so no longer calls, the methods that these stand for.

    Raises LapilliError for a method that is gone or takes other arguments.
    """
    for method in methods:
        known = getattr(base, method.__name__, None)
        if known is None or _arguments(known) != _arguments(method):
            raise unknown(f"{base.__name__}.{method.__name__} is gone, or takes other arguments")


def require_spacing(tokenizer: Any) -> None:
    """Refuse a release in which text behind a special token is cut otherwise than this Llama's tokenizer says.

    Of `</s>USER` a `legacy` one makes </s> and pieces of " USER", the others </s> and pieces of "USER", as LLaVA's
    training did. The labels of every answer but the first begin there. Raises LapilliError.
    """
    if tokenizer.eos_token is None:
        return
    _, first, *_ = tokenizer.convert_ids_to_tokens(
        tokenizer.encode(f"{tokenizer.eos_token}it", add_special_tokens=False)
    )
    legacy = bool(getattr(tokenizer, "legacy", False))
    if first.startswith("▁") != legacy:
        raise unknown(f"of '</s>it', a tokenizer whose legacy is {legacy} makes {first!r} behind </s>")


def shows_encoded_pictures(keywords: Mapping[str, Any]) -> bool:
    """Whether a call of the model, with these keyword arguments, shows pictures that were encoded before it.

    So does the first call of `generate`, which encodes them itself.
    """
    return bool(keywords.get("mm_encoder_outputs"))


def tensor_of(value: Any, where: str) -> Tensor:
    """The value, which must be a tensor. Raises LapilliError for a release in which something else passes there."""
    if not isinstance(value, Tensor):
        raise unknown(f"{where} is a {type(value).__name__}, not a tensor")
    return value


def attention_of(language: Any) -> str:
    """The name of the implementation of attention that a language model runs: sdpa, eager, flash_attention_2, ..."""
    name = getattr(language.config, "_attn_implementation", None)
    if not isinstance(name, str):
        raise unknown("a configuration does not say which attention is run")
    return name


@contextmanager
def eager_attention(language: Any) -> Iterator[None]:
    """Within it the language model makes its attention matrices; a fused implementation has none to hand out."""
    before = attention_of(language)
    try:
        language.set_attn_implementation("eager")
        yield
    finally:
        language.set_attn_implementation(before)


def recomputed_layers(module: Any) -> list[Any]:
    """The layers inside a module whose activations are recomputed on the way back, as transformers was told to."""
    return [layer for layer in layers_of(module) if layer.gradient_checkpointing]


def layers_of(module: Any) -> list[Any]:
    """The transformer layers inside a module, in order."""
    return [layer for layer in module.modules() if isinstance(layer, GradientCheckpointingLayer)]


def rotated(vectors: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Queries or keys, rotated by the cosines and sines of their positions as LLaMA does it (RoFormer, 2104.09864).

    With axes between them, the heads are the second one: (batch, head, token, d_head) and (batch, token, d_head), or
    (token, head, d_head) and (token, d_head).
    """
    result: Tensor = apply_rotary_pos_emb(vectors, vectors, *rotary)[0]
    return result


def gguf_pre_tokenizers() -> set[str]:
    """The rules of cutting text, by llama.cpp's names, that transformers applies to what it reads of a GGUF file."""
    return set(GGUF_PRE_TOKENIZER_SPLITS)


def gguf_architectures() -> dict[str, set[str]]:
    """The networks that transformers reads from GGUF by a table of settings, with the settings that it heeds."""
    table: Mapping[str, Any] = GGUF_CONFIG_MAPPING
    return {name: set(settings) for name, settings in table.items() if name not in _NO_NETWORKS}


def gguf_tensors(model: Any) -> set[str]:
    """The names of the tensors in a GGUF file that transformers makes this model of."""
    return set(get_gguf_hf_weights_map(model, TensorProcessor(config={})))


def rotary_frequencies(config: Any) -> Tensor:
    """The angle by which each pair of numbers of a head is turned from one position to the next, as `config` has it."""
    frequencies: Tensor = ROPE_INIT_FUNCTIONS[config.rope_parameters["rope_type"]](config, "cpu")[0]
    return frequencies


def unknown(what: str) -> LapilliError:
    """The error for what is otherwise in the installed release than in those that are known."""
    known = dependency("transformers")
    tested = f"lapilli has been tested with {known.oldest} to {known.newest}"
    return LapilliError(f"transformers {known.installed}: {what}; {tested}: {known.remedy}")


@memoised
def _cache_name(function: Any) -> str:
    known = [name for name in _CACHE_ARGUMENTS if name in _arguments(function)]
    if not known:
        raise unknown(f"{function.__qualname__} takes no {' or '.join(_CACHE_ARGUMENTS)}")
    return known[0]


def _arguments(function: Any) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)
