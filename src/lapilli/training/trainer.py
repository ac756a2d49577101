"""transformers' Trainer, with what it leaves open: parameter groups, exact checkpoints, losses that must be numbers.

Its own checkpoints cannot be used here: a Llava is saved under other names than it has in memory, and on resuming the
Trainer would load none of them and go on with a warning.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers import Trainer

from lapilli.core.errors import LapilliError
from lapilli.model.upstream import require_overridden

_WEIGHTS = "learned.safetensors"
_STATE = "trainer_state.json"  # the last file that the Trainer writes into a checkpoint


@dataclass
class Seen:
    """What a training run has been through since it was started or resumed."""

    samples: int = 0
    tokens: int = 0  # padding not counted


class StageTrainer(Trainer):
    """A Trainer whose checkpoints hold what learns, and that counts what it has seen and stops at a NaN.

    `order` is that of the samples in every epoch.
    """

    def __init__(self, seen: Seen, order: Sampler[int], **settings: Any) -> None:
        super().__init__(**settings)
        self._seen = seen
        self._order = order

    @classmethod
    def require_known(cls) -> None:
        """Refuse a transformers whose Trainer no longer calls what is overridden here. Raises LapilliError."""
        overridden = (cls.training_step, cls._get_train_sampler, cls._save_checkpoint, cls._save)
        require_overridden(Trainer, *overridden, cls._load_from_checkpoint)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward of one batch. Raises LapilliError, before any weight moves, if the loss is no number."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not math.isfinite(loss.item()):
            step = self.state.global_step + 1
            raise LapilliError(f"step {step}: the loss is {loss.item()}; lower the learning rates, or look at the data")
        self._seen.samples += len(inputs["input_ids"])
        self._seen.tokens += int(inputs["attention_mask"].sum())
        return loss

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self._order

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:  # every library has its own word for a full disk
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "is the disk full?"
            place = f"{self.args.output_dir}: the checkpoint cannot be written: {reason}"
            raise LapilliError(f"{place}; make room, then go on with --resume") from error

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.detach().contiguous() for name, value in self._learned()}, folder / _WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        saved, learned = load_file(Path(resume_from_checkpoint) / _WEIGHTS), dict(self._learned())
        if saved.keys() != learned.keys():
            raise LapilliError(f"{resume_from_checkpoint}: holds other weights than this stage trains; start a new run")
        with torch.no_grad():
            for name, parameter in learned.items():
                parameter.copy_(saved[name])

    def _learned(self) -> list[tuple[str, nn.Parameter]]:
        model: Any = self.model
        return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint: one that was being written when its run was killed does not count."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    whole = [path for path in found if _is_whole(path / _STATE)]
    return whole[-1] if whole else None


def step_of(checkpoint: Path) -> int:
    """The number of steps that were done when a checkpoint was written."""
    return int(json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))["global_step"])


def parameter_groups(
    parts: Mapping[Any, Sequence[nn.Parameter]], rates: Mapping[str, float], weight_decay: float
) -> list[dict[str, Any]]:
    """Groups for an optimizer: every part's matrices decay, its biases and norms do not; `rates` by part."""
    groups = []
    for part, parameters in parts.items():
        for decay, chosen in (
            (weight_decay, [p for p in parameters if p.ndim > 1]),
            (0.0, [p for p in parameters if p.ndim <= 1]),
        ):
            if chosen:
                groups.append({"params": chosen, "lr": rates[part], "weight_decay": decay})
    return groups


def _is_whole(state: Path) -> bool:
    try:
        json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
