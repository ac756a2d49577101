"""The recipe of one training stage."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Data:
    """Samples in LLaVA's format, and the folder their pictures are in."""

    file: Path
    images: Path | None = None


@dataclass(frozen=True)
class TrainRecipe:
    """Everything that decides a training run, apart from the contents of the files it names.

    `batch_size` is that of one pass and `accumulate` the passes of one step; `warmup` is a share of all steps. Without
    a `projector_learning_rate` the projector learns at the general one. With a `muon_learning_rate` Muon moves the
    two-dimensional weights of the language model's layers, where they learn, and AdamW all the rest. Without a
    `save_every`, checkpoints are written on interruption alone.
    """

    stage: Literal["align", "instruct"]
    model: Path
    data: Data
    out: Path
    seed: int = 0
    epochs: float = 1.0
    max_steps: int | None = None
    batch_size: int = 32
    accumulate: int = 1
    learning_rate: float = 1e-3
    projector_learning_rate: float | None = None
    muon_learning_rate: float | None = None
    weight_decay: float = 0.0
    warmup: float = 0.03
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip: float = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    save_every: int | None = None
    log_every: int = 10
    workers: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError, which the reader of recipes reports, for a number out of its range."""
        at_least_one = ("max_steps", "batch_size", "accumulate", "save_every", "log_every")
        for name in at_least_one:
            _require(getattr(self, name) is None or getattr(self, name) >= 1, name, self, "1 or more")
        for name in ("learning_rate", "projector_learning_rate", "muon_learning_rate", "epochs"):
            _require(getattr(self, name) is None or getattr(self, name) > 0, name, self, "more than 0")
        for name in ("weight_decay", "clip", "workers", "seed"):
            _require(getattr(self, name) >= 0, name, self, "0 or more")
        _require(0 <= self.warmup < 1, "warmup", self, "a share of the steps, from 0 to below 1")


def _require(holds: bool, name: str, recipe: TrainRecipe, range_: str) -> None:
    if not holds:
        raise ValueError(f"{name}: {getattr(recipe, name)}; it must be {range_}")
