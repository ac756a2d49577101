"""Rules under which a model's backward pass is linear in what the forward pass carried.

With its gates frozen at their values, a transformer is a linear map, and a logit is a sum over its inputs:

    norms        the scale is frozen; the centring of a LayerNorm is linear as it is
    attention    the weights are frozen: credit goes through values, none through queries and keys
    activations  act(z) = z * (act(z) / z), and that ratio is frozen (the identity rule)
    gate * up    each of the two gets half of the credit for the product (the half rule)
    matrices     what goes in is credited in proportion to what it adds, of either sign (the zero rule of LRP)

Then the sum of x * gradient over a tensor is what went through it, and only biases are lost. The rules for norms
and attention are those of CP-LRP (Ali et al., arXiv 2202.07304), those for activations and products are in AttnLRP
(Achtibat et al., arXiv 2402.05602), and all of them together in RelP (Rezaei Jafari et al., arXiv 2508.21258).

AttnLRP goes further in two ways. It credits queries and keys for the attention weights, which are frozen here. And in
vision transformers, where the zero rule is known to be noisy, it favours positive contributions (the gamma rule), so
that less of a map cancels. A map's condition number says how much cancels (sources.py).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from lapilli.inspection.attribution.frozen_attention import FrozenAttention
from lapilli.inspection.decoder import decoder

_ACTIVATIONS = ("act_fn", "activation_fn", "act")  # of the language model, the vision encoder and the projector
_ELEMENTWISE = (nn.GELU, nn.SiLU, nn.ReLU, nn.Tanh)  # of any other connector, whatever they are called there
_UNDER: WeakSet[Any] = WeakSet()  # the models that are under the rules now


@contextmanager
def linear_rules(model: Any) -> Iterator[None]:
    """Apply the rules above to the gradients of `model`, a LlavaForConditionalGeneration, within the block.

    Outputs stay the same to the bit, and attention stays fused. Plain PyTorch hooks are set, and removed however the
    block ends. Nested blocks change nothing more. Raises LapilliError for language models that are not built like
    LLaMA.
    """
    decoder(model)  # for its refusals
    if model in _UNDER:
        yield
        return
    with ExitStack() as undo:
        _UNDER.add(model)
        undo.callback(_UNDER.discard, model)
        undo.enter_context(FrozenAttention())
        for name, module in model.model.named_modules():
            if handle := _ruled(name.rpartition(".")[2], module):
                undo.callback(handle.remove)
        yield


@contextmanager
def tracking(model: nn.Module, parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Follow gradients to these parameters of the model alone, within the block; afterwards as before.

    Nothing is stored for the others: a linear layer whose weight needs no gradient stores no input.
    """
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.requires_grad_(False)
        for parameter in parameters:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, flag in before:
            parameter.requires_grad_(flag)


def _ruled(name: str, module: Any) -> Any:
    """Put a module of this name under its rule; return the hook's handle, or None for a module without a rule."""
    if isinstance(module, nn.LayerNorm):
        return module.register_forward_hook(_layer_norm)
    if hasattr(module, "variance_epsilon"):
        return module.register_forward_hook(_rms_norm)
    if name in ("q_proj", "k_proj"):
        return module.register_forward_hook(lambda module, inputs, output: output.detach())
    if name in _ACTIVATIONS or isinstance(module, _ELEMENTWISE):
        return module.register_forward_hook(partial(_activation, slope=_slope(module.forward)))
    if name == "down_proj":
        return module.register_forward_pre_hook(_half)
    return None


def _rms_norm(norm: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    x = inputs[0].float()
    scale = torch.rsqrt(x.detach().pow(2).mean(-1, keepdim=True) + norm.variance_epsilon)
    return _as_if(x * scale * norm.weight.float(), output)


def _layer_norm(norm: nn.LayerNorm, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    x = inputs[0].float()
    centred = x - x.mean(-1, keepdim=True)
    scale = torch.rsqrt(centred.detach().pow(2).mean(-1, keepdim=True) + norm.eps)
    return _as_if(centred * scale * norm.weight.float() + norm.bias.float(), output)


def _activation(module: Any, inputs: tuple[Tensor, ...], output: Tensor, slope: float) -> Tensor:
    z = inputs[0]
    ratio = torch.where(z == 0, slope, output / z).detach()
    return _as_if(z * ratio, output)


def _half(module: Any, inputs: tuple[Tensor, ...]) -> None:
    if inputs[0].requires_grad:
        inputs[0].register_hook(lambda gradient: gradient / 2)


def _slope(activation: Callable[[Tensor], Tensor]) -> float:
    """The limit of act(z) / z at 0."""
    with torch.inference_mode(False), torch.enable_grad():
        zero = torch.zeros((), requires_grad=True)
        (slope,) = torch.autograd.grad(activation(zero), zero)
    return float(slope)


def _as_if(linear: Tensor, output: Tensor) -> Tensor:
    """Return the output with the gradient of `linear`, which equals it up to rounding."""
    output_as_if: Tensor = _AsIf.apply(linear.to(output.dtype), output.detach())  # type: ignore[no-untyped-call]
    return output_as_if


class _AsIf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, linear: Tensor, output: Tensor) -> Tensor:
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
