"""Muon in full precision: `torch.optim.Muon` works in bfloat16, a hundred times slower where the processor has none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

_STACKED = 1 << 22  # elements that are made orthogonal at once, 16 MB


class Muon(torch.optim.AdamW):
    """Muon for the groups that `muon_group` makes, AdamW for the others: one schedule and one checkpoint hold both.

    Muon is momentum whose update of each matrix is made orthogonal (Jordan et al. 2024). The step of an (m, n) matrix
    is scaled by sqrt(max(1, m / n)), as `torch.optim.Muon` does by default.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient. `closure` is not called."""
        for group in self.param_groups:
            if "momentum" in group:
                moving = [matrix for matrix in group["params"] if matrix.grad is not None]
                for matrices in _stacks(moving):
                    self._update(matrices, group)
        super().step()

    def _update(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        """Update matrices of the same shape."""
        updates = torch.stack([self._nesterov(matrix, group["momentum"]) for matrix in matrices])
        rows, columns = matrices[0].shape
        step = -group["lr"] * max(1.0, rows / columns) ** 0.5
        for matrix, update in zip(matrices, orthogonal(updates), strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"])
            matrix.add_(update, alpha=step)
            matrix.grad = None  # AdamW passes over what has none

    def _nesterov(self, matrix: Tensor, momentum: float) -> Tensor:
        """Return the gradient with Nesterov's momentum."""
        state = self.state[matrix]
        if not state:
            # AdamW asks for a step in every state that it loads.
            state.update(step=torch.zeros(()), average=torch.zeros_like(matrix))
        gradient: Any = matrix.grad
        average = state["average"].lerp_(gradient, 1 - momentum)
        return torch.lerp(gradient, average, momentum)


def _stacks(matrices: list[Tensor]) -> Iterator[list[Tensor]]:
    """Yield matrices of the same shape together, which is faster where they are small, in stacks of bounded memory."""
    for shape in dict.fromkeys(matrix.shape for matrix in matrices):
        alike = [matrix for matrix in matrices if matrix.shape == shape]
        most = max(1, _STACKED // shape.numel())
        yield from (alike[start : start + most] for start in range(0, len(alike), most))


def muon_group(matrices: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> Any:
    """Return a parameter group of matrices that Muon updates."""
    return {"params": list(matrices), "lr": lr, "momentum": momentum, "weight_decay": weight_decay}


def layer_matrices(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the matrices of a transformer's layers, which Muon is made for, and all its other parameters."""
    matrices = [p for name, p in model.named_parameters() if "layers" in name.split(".") and p.ndim == 2]
    chosen = set(matrices)
    return matrices, [p for p in model.parameters() if p not in chosen]


def orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """Return matrices near the closest (semi-)orthogonal ones: all singular values between about 0.7 and 1.2.

    Newton-Schulz iteration with the coefficients of the original, which trade exactness for few steps.
    Shapes: (matrix, m, n), in and out.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    wide = matrices.mT if tall else matrices
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.mT if tall else wide
