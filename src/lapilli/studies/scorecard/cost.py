"""What a method costs beyond the answer itself: seconds, passes through the model, memory."""

import ctypes
import gc
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lapilli.studies.scorecard.case import Case
from lapilli.studies.scorecard.method import Method

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Passes:
    """Work done by the language model, in passes over the case's whole sequence.

    forwards    layers run times positions read, over those of one pass: half a pass where half the positions are run
    backwards   sequences that a gradient came back through
    """

    forwards: float = 0.0
    backwards: int = 0


@dataclass(frozen=True)
class Cost:
    """Of one map. `memory` is the most that was held beyond what was held before, in bytes; None if not to be known."""

    seconds: float
    forwards: float
    backwards: int
    memory: int | None


def cost(method: Method, cases: Sequence[Case]) -> list[Cost]:
    """Of every case; a first one is made and not counted, so that nothing is warmed up for the others."""
    method(cases[0].again())
    return [_cost(method, case) for case in cases]


def _cost(method: Method, case: Case) -> Cost:
    fresh = case.again()
    begun = time.perf_counter()
    method(fresh)
    seconds = time.perf_counter() - begun
    with counting(case) as passes, _peak(case) as memory:  # apart: hooks take time of their own
        method(case.again())
    return Cost(seconds, passes.forwards, passes.backwards, memory[0] if memory else None)


@contextmanager
def counting(case: Case) -> Iterator[Passes]:
    """Within it the language model's work is counted."""
    passes, model = Passes(), case.trace.decoder
    whole = model.depth * len(case.trace.ids)

    def read(module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        hidden = given[0] if given else named["hidden_states"]
        passes.forwards += hidden.shape[0] * hidden.shape[1] / whole

    def came_back(module: Any, given: Any, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        if states.requires_grad:
            states.register_hook(lambda gradient: _counted(gradient, passes))

    with ExitStack() as hooks:
        for block in model.blocks:
            hooks.callback(block.register_forward_pre_hook(read, with_kwargs=True).remove)
        hooks.callback(model.blocks[-1].register_forward_hook(came_back).remove)
        yield passes


def _counted(gradient: Tensor, passes: Passes) -> Tensor:
    made: Tensor = _Counted.apply(gradient, passes)  # type: ignore[no-untyped-call]
    return made


class _Counted(torch.autograd.Function):
    """A gradient as it is; its sequences are counted, also of rows that `torch.vmap` takes back together."""

    @staticmethod
    def forward(gradient: Tensor, passes: Passes) -> Tensor:
        passes.backwards += len(gradient)
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing is kept: no gradient is taken of a gradient."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], gradient: Tensor, passes: Passes) -> tuple[Tensor, int]:
        passes.backwards += gradient.numel() // gradient.movedim(in_dims[0], 0)[0, 0].numel()
        return gradient, in_dims[0]


@contextmanager
def _peak(case: Case) -> Iterator[list[int]]:
    """A list that holds, behind the block, the most memory that was in use within it beyond that before, if known."""
    found: list[int] = []
    if case.pixels.new_empty(0).to(case.llava.model.device).is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield found
        found.append(torch.cuda.max_memory_allocated() - before)
    elif os.access(_CLEAR, os.W_OK):
        _given_back()
        _CLEAR.write_text("5")  # the high-water mark begins anew
        before = _kilobytes("VmRSS")
        yield found
        found.append(1024 * max(0, _kilobytes("VmHWM") - before))
    else:
        yield found


def _given_back() -> None:
    """Hand memory that is free back to the system, so that what is taken again is seen."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _kilobytes(name: str) -> int:
    lines = _STATUS.read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])
