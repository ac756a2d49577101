"""Muon in full precision: `torch.optim.Muon` works in bfloat16, a hundred times slower where the processor has none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Muon(torch.optim.AdamW):
    """Muon for the groups that `muon_group` makes, AdamW for the others: one schedule and one checkpoint hold both.

    Muon is momentum whose update for each matrix is made orthogonal before it is taken (Jordan et al. 2024). The step
    of an (m, n) matrix is scaled by sqrt(max(1, m / n)), as `torch.optim.Muon` does by default.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move everything that has a gradient. `closure` is not called."""
        for group in self.param_groups:
            if "momentum" in group:
                for matrix in group["params"]:
                    self._move(matrix, group["lr"], group["momentum"], group["weight_decay"])
        super().step()

    def _move(self, matrix: Tensor, lr: float, momentum: float, weight_decay: float) -> None:
        gradient, matrix.grad = matrix.grad, None  # AdamW passes over what has none
        if gradient is None:
            return
        state = self.state[matrix]
        if not state:
            # AdamW asks for a step in every state that it loads.
            state.update(step=torch.zeros(()), average=torch.zeros_like(matrix))
        average = state["average"].lerp_(gradient, 1 - momentum)
        update = orthogonal(gradient.lerp(average, momentum))  # Nesterov's momentum
        matrix.mul_(1 - lr * weight_decay)
        matrix.add_(update, alpha=-lr * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5)


def muon_group(matrices: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> Any:
    """A group of matrices that Muon moves."""
    return {"params": list(matrices), "lr": lr, "momentum": momentum, "weight_decay": weight_decay}


def layer_matrices(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The matrices of a transformer's layers, which Muon is made for, and all its other parameters."""
    matrices = [p for name, p in model.named_parameters() if "layers" in name.split(".") and p.ndim == 2]
    chosen = set(matrices)
    return matrices, [p for p in model.parameters() if p not in chosen]


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """A matrix near the closest (semi-)orthogonal one: all singular values between about 0.7 and 1.2.

    Newton-Schulz iteration with the coefficients of the original, which trade exactness for few steps.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide: Tensor = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide
