"""A device beside the CPU, where there is none: its tensors lie in the CPU's memory, and refuse the CPU's company.

What runs on it puts everything where the model is, as a GPU demands. A process cannot take a backend back, so it has
one of its own: `python -m tests.inspection.elsewhere` prints, by names, how far explanations and a scorecard's maps,
operators and changed models are from those of the CPU, as a share of their largest value.
"""

import json
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

aten = torch.ops.aten
NAME = "elsewhere"
LIBRARY = torch.library.Library("aten", "IMPL")  # what it registers goes when it does
TAKES_CPU_INDICES = (aten.index.Tensor, aten.index_put_.default, aten._index_put_impl_.default)


class Away(Tensor):
    """A tensor that is on this device; `held` is what it is made of."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held):
        made = Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype,
            device=torch.device(NAME, 0), dispatch_device=True,
        )  # fmt: skip
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    def tolist(self):
        return self.held.tolist()

    def __repr__(self):
        return f"Away({self.held!r})"


class Elsewhere(TorchDispatchMode):
    """Within it tensors can be made on this device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _run(func, args, kwargs):
    """Do it on the CPU, with the device's rules; what it gives is where what it was given is, or where it is asked."""
    tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    away = {id(one.held): one for one in tensors if isinstance(one, Away)}
    if func is torch.ops.prim.device.default:
        return torch.device(NAME, 0) if away else args[0].device
    there = _goes_there(func, args, kwargs, tensors)
    if there and "device" in kwargs:
        kwargs = kwargs | {"device": torch.device("cpu")}
    found = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    return tree_map(lambda one: _placed(one, there, away) if isinstance(one, Tensor) else one, found)


def _goes_there(func, args, kwargs, tensors):
    """Whether what a call gives is on this device: as it is asked for, else where all that it is given is."""
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"]).type == NAME
    if func is aten.copy_.default:
        return isinstance(args[0], Away)
    _require_one_device(func, args, tensors)
    return any(isinstance(one, Away) for one in tensors)


def _placed(made, there, away):
    """What was made on the CPU, here or there; what was changed in place is the tensor that it was."""
    if there:
        return away[id(made)] if id(made) in away else Away(made)
    return made.clone() if id(made) in away else made


def _held(one):
    return one.held if isinstance(one, Away) else one


def _require_one_device(func, args, tensors):
    """Numbers without dimensions may come from the CPU, and so may the indices of what is here."""
    if func in TAKES_CPU_INDICES:
        indices = [] if isinstance(args[0], Away) else args[1]
        tensors = [args[0], *indices, *args[2:3]]
    shaped = [isinstance(one, Away) for one in tensors if one is not None and one.dim()]
    if any(shaped) and not all(shaped):
        raise RuntimeError(f"{func}: not all tensors are on the same device")


def start():
    """Make the device known to this process."""
    _setup_privateuseone_for_python_backend(NAME)
    for name, function in _UNWATCHED.items():
        LIBRARY.impl(name, function, "PrivateUse1")
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch.inference_mode = _without_gradients
    Elsewhere().__enter__()


def _empty_strided(size, stride, dtype=None, **_):
    return Away(torch.empty_strided(size, stride, dtype=dtype))


def _empty(size, dtype=None, **_):
    return Away(torch.empty(size, dtype=dtype))


def _copy_from(source, destination, _=False):
    _held(destination).copy_(_held(source))
    return destination


_UNWATCHED = {"empty_strided": _empty_strided, "empty.memory_format": _empty, "_copy_from": _copy_from}
"""What `torch.tensor` calls where no mode sees it."""


def _without_gradients(mode=True):
    """In the place of inference mode, in which no tensor can be made of another one."""
    if callable(mode):
        return torch.no_grad()(mode)
    return torch.no_grad() if mode else nullcontext()


def move(model):
    """Put a model's weights and buffers on this device."""
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            module._parameters[name] = nn.Parameter(Away(weight.detach()))
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = Away(buffer)


def everything(case):
    """What is compared, arrays by names: a scorecard's maps, operators and changed models, and an explanation."""
    from tests.parts import picture

    from lapilli.studies.explain.explanation import explanation
    from lapilli.studies.explain.findings import explain
    from lapilli.studies.scorecard.methods.registry import chosen
    from lapilli.studies.scorecard.operators import OPERATORS

    sets = [np.arange(0), np.arange(3), np.arange(len(case.patches))]
    found = {f"map {method.name}": method(case) for method in chosen(as_released=True)}
    found |= {f"operator {name}": operator(case, sets).log_prob for name, operator in OPERATORS.items()}
    arrays = explanation(explain(case.trace, picture(0), controls=4), picture(0)).arrays
    found |= {f"explanation {name}": array for name, array in arrays.items() if array.dtype.kind == "f"}
    return {name: array for name, array in (found | changed(case)).items() if array.size}


def changed(case):
    """The logits of the models that sanity tests change."""
    from lapilli.studies.scorecard.case import reshown
    from lapilli.studies.scorecard.sanity import half, randomised

    others = {"bfloat16": half(case.llava), "random": randomised(case.llava, "encoder", 0)}
    traces = {f"model {name}": reshown(case, case.view, other).trace for name, other in others.items()}
    return {name: trace.logits.cpu().numpy() for name, trace in traces.items()}


def refuses(weight):
    """Whether a weight is on this device, and whoever adds a tensor of the CPU is told."""
    try:
        weight + torch.ones(weight.shape)
    except RuntimeError:
        return weight.device.type == NAME
    return False


def main():
    """Print how far what is computed here is from what the CPU computes."""
    start()
    from tests.studies.scorecard import held

    case = held.case()
    here = everything(case)
    move(case.llava.model)
    held.case.cache_clear()
    case = held.case()
    assert all(refuses(weight) for weight in case.llava.model.parameters())
    there = everything(case)
    apart = {name: np.abs(there[name] - array).max() / np.abs(array).max() for name, array in here.items()}
    print(json.dumps({name: float(off) for name, off in apart.items()}))


if __name__ == "__main__":
    main()
