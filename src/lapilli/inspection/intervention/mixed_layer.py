"""A layer of which a part is another model's: modules of some kinds, or all of them at some positions only."""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lapilli.model.architecture import layer_and_kind
from lapilli.model.llm_modules import LlmModule


@contextmanager
def mixed(
    own: nn.Module, other: nn.Module, kinds: Collection[LlmModule], positions: Tensor | None = None
) -> Iterator[None]:
    """Within it a layer's modules of these kinds are those of `other`, at `positions`, bool (batch, token), or at all.

    The weights of a layer act on one position each: norms, projections to queries, keys and values, that of attention's
    output, and the MLP. So at every position each of them is of one model, and a query of any position meets the keys
    and values that each token's own model made of it. Of all positions the numbers are those of `other`'s modules, to
    the bit.
    """
    with ExitStack() as parts:
        for name, module in list(own.named_modules()):
            if not _is_of(name, module, kinds):
                continue
            if positions is None:
                own.set_submodule(name, other.get_submodule(name))
                parts.callback(own.set_submodule, name, module)
            else:
                hook = _at(positions, other.get_submodule(name))
                parts.callback(module.register_forward_hook(hook).remove)
        yield


def _is_of(name: str, module: nn.Module, kinds: Collection[LlmModule]) -> bool:
    """Whether a module has weights itself, and is of one of these kinds."""
    return next(module.parameters(recurse=False), None) is not None and layer_and_kind(f"layers.0.{name}")[1] in kinds


def _at(positions: Tensor, other: nn.Module) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
    """What puts another module's output in the place of a module's own at some positions."""

    def put(module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
        here = positions.to(output.device).reshape(*positions.shape, *[1] * (output.ndim - positions.ndim))
        return torch.where(here, other(*arguments), output)

    return put
