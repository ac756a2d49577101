"""The cost of a method beyond the answer itself: seconds, passes through the model, memory."""

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

    forwards    layers times positions, as a share of one pass: 0.5 where half the positions are run
    backwards   sequences that a gradient was propagated through
    """

    forwards: float = 0.0
    backwards: int = 0


@dataclass(frozen=True)
class Cost:
    """The cost of one map. `memory` is the peak beyond the memory in use before, in bytes; None if unknown."""

    seconds: float
    forwards: float
    backwards: int
    memory: int | None


def cost(method: Method, cases: Sequence[Case]) -> list[Cost]:
    """The costs of a method, by case, after one uncounted run to warm up."""
    method(cases[0].again())
    return [_cost(method, case) for case in cases]


def _cost(method: Method, case: Case) -> Cost:
    fresh = case.again()
    start = time.perf_counter()
    method(fresh)
    seconds = time.perf_counter() - start
    with counting(case) as passes, _peak(case) as memory:  # apart: hooks take time of their own
        method(case.again())
    return Cost(seconds, passes.forwards, passes.backwards, memory[0] if memory else None)


@contextmanager
def counting(case: Case) -> Iterator[Passes]:
    """Count the language model's work within the block."""
    passes, model = Passes(), case.trace.decoder
    whole = model.depth * len(case.trace.ids)

    def read(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        hidden = arguments[0] if arguments else keywords["hidden_states"]
        passes.forwards += hidden.shape[0] * hidden.shape[1] / whole

    def count_backward(module: Any, arguments: Any, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        if states.requires_grad:
            states.register_hook(lambda gradient: _counted(gradient, passes))

    with ExitStack() as hooks:
        for block in model.blocks:
            hooks.callback(block.register_forward_pre_hook(read, with_kwargs=True).remove)
        hooks.callback(model.blocks[-1].register_forward_hook(count_backward).remove)
        yield passes


def _counted(gradient: Tensor, passes: Passes) -> Tensor:
    counted: Tensor = _Counted.apply(gradient, passes)  # type: ignore[no-untyped-call]
    return counted


class _Counted(torch.autograd.Function):
    """The identity on a gradient; it counts the gradient's sequences, also those batched by `torch.vmap`."""

    @staticmethod
    def forward(gradient: Tensor, passes: Passes) -> Tensor:
        passes.backwards += len(gradient)
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Store nothing: gradients are not differentiated."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], gradient: Tensor, passes: Passes) -> tuple[Tensor, int]:
        passes.backwards += gradient.numel() // gradient.movedim(in_dims[0], 0)[0, 0].numel()
        return gradient, in_dims[0]


@contextmanager
def _peak(case: Case) -> Iterator[list[int]]:
    """Yield a list that gets, after the block, the block's peak memory beyond that before, in bytes, if known."""
    peak: list[int] = []
    if case.pixels.new_empty(0).to(case.llava.model.device).is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield peak
        peak.append(torch.cuda.max_memory_allocated() - before)
    elif os.access(_CLEAR, os.W_OK):
        _release_free_memory()
        _CLEAR.write_text("5")  # resets the high-water mark
        before = _kilobytes("VmRSS")
        yield peak
        peak.append(1024 * max(0, _kilobytes("VmHWM") - before))
    else:
        yield peak


def _release_free_memory() -> None:
    """Release free memory to the system, so that new allocations show."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _kilobytes(name: str) -> int:
    lines = _STATUS.read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])
