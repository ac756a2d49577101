"""What a run has gone through so far, and at which speed; saved in every checkpoint, so that a resumed run goes on."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import torch

from lapilli.core.memory import peak_memory
from lapilli.core.read import checked, read_json


@dataclass(frozen=True)
class Counts:
    """Samples, tokens without padding, padding, and pictures."""

    samples: int = 0
    tokens: int = 0
    padding: int = 0
    images: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, name.name) + getattr(other, name.name) for name in fields(self)))

    def __sub__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, name.name) - getattr(other, name.name) for name in fields(self)))

    def rates(self, seconds: float) -> dict[str, float]:
        """Samples, tokens and images a second, and the share of the batches' tokens that is padding."""
        per_second = {name: getattr(self, name) / seconds for name in ("samples", "tokens", "images")}
        share = self.padding / max(self.tokens + self.padding, 1)
        return {**{f"{name}_per_second": rate for name, rate in per_second.items()}, "padding_share": share}


@dataclass(frozen=True)
class _Saved:
    """What the file of a checkpoint holds."""

    counts: Counts
    loss: float
    logged: int
    seconds: float


@dataclass
class Totals:
    """The counts and seconds of a training run so far, in whole steps.

    `loss` is the sum over all passes since the last line of the log, at step `logged`.
    """

    counts: Counts = field(default_factory=Counts)
    loss: float = 0.0
    logged: int = 0
    _before: float = 0.0  # seconds of training by earlier processes
    _began: float = field(default_factory=time.perf_counter)
    _passes: list[tuple[Counts, float]] = field(default_factory=list)  # of the current step

    @property
    def seconds(self) -> float:
        """Seconds of training, without those after the last checkpoint of a killed process."""
        return self._before + time.perf_counter() - self._began

    def add(self, counts: Counts, loss: float) -> None:
        """Note a pass of the current step."""
        self._passes.append((counts, loss))

    def end_step(self) -> None:
        """Add the passes of the step that has ended."""
        for counts, loss in self._passes:
            self.counts += counts
            self.loss = float(np.float32(self.loss) + np.float32(loss))  # as the Trainer adds them
        self._passes.clear()

    def mean_loss(self, step: int) -> float:
        """Return the mean loss of the steps after the last line of the log, up to this one."""
        return self.loss / (step - self.logged)

    def end_line(self, step: int) -> None:
        """Begin a new mean loss: the line of this step is in the log."""
        self.loss, self.logged = 0.0, step

    def save(self, file: Path) -> None:
        """Write the totals to a file of a checkpoint."""
        numbers = {name: getattr(self, name) for name in ("loss", "logged", "seconds")}
        file.write_text(json.dumps({"counts": self.counts.__dict__, **numbers}), encoding="utf-8")

    def load(self, file: Path) -> None:
        """Replace the totals by those that were saved. Raises LapilliError for a file of another form."""
        remedy = "another version of lapilli wrote it: go on with that one, or start a new run"
        saved = checked(_Saved, read_json(file, remedy), str(file), remedy)
        self.counts, self.loss, self.logged = saved.counts, saved.loss, saved.logged
        self._before, self._began = saved.seconds, time.perf_counter()


def peak_memory_gb() -> float | None:
    """The most memory that the training has held so far: of the GPU, where there is one, or else of the process."""
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_memory()
    return None if peak is None else peak / 1e9
