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
    away = [one for one in tensors if isinstance(one, Away)]
    if func is torch.ops.prim.device.default:
        return torch.device(NAME, 0) if away else args[0].device
    target, there = kwargs.get("device"), bool(away)
    if target is not None:
        there = torch.device(target).type == NAME
        kwargs = kwargs | {"device": torch.device("cpu") if there else target}
    elif func is aten.copy_.default:
        there = isinstance(args[0], Away)
    else:
        _require_one_device(func, args, tensors)
    found = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    mine = {id(one.held): one for one in away}

    def placed(one):
        if not isinstance(one, Tensor):
            return one
        if not there:
            return one.clone() if id(one) in mine else one
        return mine[id(one)] if id(one) in mine else Away(one)

    return tree_map(placed, found)


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
    """Make the device known to this process; also to calls that make tensors where no mode can watch them.

    What is given back has to be held as long as the device is used.
    """
    _setup_privateuseone_for_python_backend(NAME)
    library = torch.library.Library("aten", "IMPL")

    def empty_strided(size, stride, dtype=None, **_):
        return Away(torch.empty_strided(size, stride, dtype=dtype))

    def empty(size, dtype=None, **_):
        return Away(torch.empty(size, dtype=dtype))

    def copy_from(source, destination, _=False):
        _held(destination).copy_(_held(source))
        return destination

    made = {"empty_strided": empty_strided, "empty.memory_format": empty, "_copy_from": copy_from}
    for name, function in made.items():
        library.impl(name, function, "PrivateUse1")
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch.inference_mode = _without_gradients
    Elsewhere().__enter__()
    return library


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


def everything():
    """What is compared, arrays by names: a scorecard's maps, operators and changed models, and an explanation."""
    from tests.inspection.scorecard import held
    from tests.parts import picture

    from lapilli.inspection.explain import explain
    from lapilli.inspection.explanation import explanation
    from lapilli.inspection.scorecard.case import reshown
    from lapilli.inspection.scorecard.methods.listed import chosen
    from lapilli.inspection.scorecard.operators import OPERATORS
    from lapilli.inspection.scorecard.sanity import half, randomised

    held.case.cache_clear()
    case = held.case()
    sets = [np.arange(0), np.arange(3), np.arange(len(case.patches))]
    others = {"bfloat16": half(case.llava), "random": randomised(case.llava, "encoder", 0)}
    found = {f"map {method.name}": method(case) for method in chosen(as_released=True)}
    found |= {f"operator {name}": operator(case, sets).log_prob for name, operator in OPERATORS.items()}
    for name, other in others.items():
        found[f"model {name}"] = reshown(case, case.view, other).trace.logits.cpu().numpy()
    arrays = explanation(explain(case.trace, picture(0), controls=4), picture(0)).arrays
    numbers = {f"explanation {name}": array for name, array in arrays.items() if array.dtype.kind == "f"}
    return {name: array for name, array in (found | numbers).items() if array.size}


def main():
    """Print how far what is computed here is from what the CPU computes."""
    library = start()
    from tests.inspection.runs import llava_of

    here = everything()
    move(llava_of("deep").model)
    there = everything()
    apart = {name: np.abs(there[name] - array).max() / np.abs(array).max() for name, array in here.items()}
    print(json.dumps({name: float(off) for name, off in apart.items()}))
    del library


if __name__ == "__main__":
    main()
