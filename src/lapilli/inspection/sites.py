"""The places inside a LLaVA that can be watched or changed, under one set of names.

    vision.layers.{i}             what layer i of the vision encoder puts out     (picture, token, d_vision)
    projector                     the rows that take the places of <image>        (picture, patch, d_model)
    llm.layers.{i}.resid_pre      the residual stream before layer i              (batch, token, d_model)
    llm.layers.{i}.attn_heads     its heads' outputs, side by side, before o_proj (batch, token, head * d_head)
    llm.layers.{i}.attn_out       what its attention adds to the stream           (batch, token, d_model)
    llm.layers.{i}.mlp_neurons    its MLP's neurons, before down_proj             (batch, token, d_mlp)
    llm.layers.{i}.mlp_out        what its MLP adds to the stream                 (batch, token, d_model)
    llm.layers.{i}.resid_post     the residual stream behind layer i              (batch, token, d_model)
    logits                        the logits                                      (batch, token, vocab)

Plain PyTorch hooks: nothing of transformers is patched, and nothing stays behind.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

from torch import Tensor

from lapilli.model.upstream import tensor_of

Watcher: TypeAlias = Callable[[Tensor], Tensor | None]
"""A function of the tensor at a site; the tensor that it returns, if any, takes its place."""

_LLM = r"llm\.layers\.(\d+)\."
_SITES: dict[str, tuple[str, bool]] = {  # a pattern; the module's path in the model, and whether its input is meant
    r"vision\.layers\.(\d+)": ("model.vision_tower.encoder.layers.{}", False),
    r"projector": ("model.multi_modal_projector", False),
    _LLM + "resid_pre": ("model.language_model.layers.{}", True),
    _LLM + "attn_heads": ("model.language_model.layers.{}.self_attn.o_proj", True),
    _LLM + "attn_out": ("model.language_model.layers.{}.self_attn.o_proj", False),
    _LLM + "mlp_neurons": ("model.language_model.layers.{}.mlp.down_proj", True),
    _LLM + "mlp_out": ("model.language_model.layers.{}.mlp", False),
    _LLM + "resid_post": ("model.language_model.layers.{}", False),
    r"logits": ("lm_head", False),
}


@contextmanager
def watching(model: Any, watchers: Mapping[str, Watcher]) -> Iterator[None]:
    """Call each watcher with the tensor at its site of `model`, a LlavaForConditionalGeneration, within the block.

    The hooks are removed however the block ends. Blocks may be nested: the inner one sees what the outer one has
    changed. Raises ValueError for a name that is no site of this model.
    """
    with ExitStack() as hooks:
        for site, watcher in watchers.items():
            module, is_input = _module(model, site)
            handle = module.register_forward_pre_hook(_entering(watcher)) if is_input else None
            handle = handle or module.register_forward_hook(_leaving(watcher))
            hooks.callback(handle.remove)
        yield


def _module(model: Any, site: str) -> tuple[Any, bool]:
    for pattern, (path, is_input) in _SITES.items():
        if match := re.fullmatch(pattern, site):
            try:
                return model.get_submodule(path.format(*match.groups())), is_input
            except AttributeError as error:
                raise ValueError(f"site {site!r}: this model has no {error}") from error
    raise ValueError(f"site {site!r}: unknown; choose one of {', '.join(_SITES)}")


def _entering(watcher: Watcher) -> Callable[..., Any]:
    def hook(module: Any, arguments: tuple[Any, ...]) -> Any:
        first = arguments[0] if arguments else None
        changed = watcher(tensor_of(first, f"the first argument of {type(module).__name__}"))
        return None if changed is None else (changed, *arguments[1:])

    return hook


def _leaving(watcher: Watcher) -> Callable[..., Any]:
    def hook(module: Any, arguments: Any, output: Any) -> Any:
        return watcher(tensor_of(output, f"the output of {type(module).__name__}"))

    return hook
