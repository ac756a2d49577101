"""transformers' Trainer, with what it leaves open: parameter groups, exact checkpoints, losses that must be numbers.

Its own checkpoints cannot be used here: a Llava is saved under other names than it has in memory, and on resuming the
Trainer would load none of them and go on with a warning.
"""

import json
import math
import random
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lapilli.core.errors import LapilliError
from lapilli.core.manifest import changed, seal
from lapilli.model.upstream import require_overridden

_WEIGHTS = "learned.safetensors"
_STATE = "trainer_state.json"
_SEEN = "seen.json"

_FULL = (OSError, RuntimeError, SafetensorError, LapilliError)
"""What libraries raise where a disk is full: every one has its own word for it."""

_KEPT = 2  # checkpoints; a disk may damage the newest


class FinalError(LapilliError):
    """A run that went on from its checkpoint would only come to this again."""


@dataclass
class Seen:
    """What a training run has been through, in whole steps; kept in every checkpoint.

    `tokens` has no padding; `loss` is the sum over all passes since the last line of the log, at step `logged`.
    """

    samples: int = 0
    tokens: int = 0
    loss: float = 0.0
    logged: int = 0
    _before: float = 0.0  # seconds of training before this process took part
    _began: float = field(default_factory=time.perf_counter)
    _passes: list[tuple[int, int, float]] = field(default_factory=list)  # of the step under way

    @property
    def seconds(self) -> float:
        """Of training, without what was lost to being killed."""
        return self._before + time.perf_counter() - self._began

    def add(self, samples: int, tokens: int, loss: float) -> None:
        """A pass of the step under way."""
        self._passes.append((samples, tokens, loss))

    def end_step(self) -> None:
        """Count the passes of the step that is done."""
        for samples, tokens, loss in self._passes:
            self.samples += samples
            self.tokens += tokens
            self.loss = float(np.float32(self.loss) + np.float32(loss))  # as the Trainer adds them
        self._passes.clear()

    def mean_loss(self, step: int) -> float:
        """Of the steps since the last line, up to this one."""
        return self.loss / (step - self.logged)

    def end_line(self, step: int) -> None:
        """The line of this step is in the log."""
        self.loss, self.logged = 0.0, step

    def save(self, file: Path) -> None:
        """Write it to a checkpoint."""
        names = ("samples", "tokens", "loss", "logged", "seconds")
        file.write_text(json.dumps({name: getattr(self, name) for name in names}), encoding="utf-8")

    def load(self, file: Path) -> None:
        """Become what was saved."""
        saved = json.loads(file.read_text(encoding="utf-8"))
        self._before, self._began = saved.pop("seconds"), time.perf_counter()
        for name, value in saved.items():
            setattr(self, name, value)


class StageTrainer(Trainer):
    """A Trainer whose checkpoints hold what learns, and that counts what it has seen and stops at a NaN.

    `order` is that of the samples in every epoch; `before_kept` is called before a checkpoint counts.
    """

    def __init__(self, seen: Seen, order: Sampler[int], before_kept: Callable[[], None], **settings: Any) -> None:
        super().__init__(**settings)
        self._seen = seen
        self._order = order
        self._before_kept = before_kept
        self._steps = _Steps(seen)
        self.add_callback(self._steps)

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
            remedy = "lower the learning rates in a new run, or look at the data"
            raise FinalError(f"step {step}: the loss is {loss.item()}; {remedy}")
        self._seen.add(len(inputs["input_ids"]), int(inputs["attention_mask"].sum()), loss.item())
        return loss

    def restore(self, checkpoint: Path) -> None:
        """Become what a checkpoint holds, with nothing more to be trained."""
        self._load_from_checkpoint(str(checkpoint))
        self.state = TrainerState.load_from_json(str(checkpoint / _STATE))
        self.callback_handler.on_train_begin(self.args, self.state, self.control)

    def keep(self) -> Path | None:
        """The newest checkpoint after an error: of the last whole step, if the error let it be written."""
        if self._steps.random is not None and not self._is_halfway:
            with suppress(LapilliError):
                _set_random(self._steps.random)
                self._save_checkpoint(self.model_wrapped, None)
        return last_checkpoint(Path(str(self.args.output_dir)))

    @property
    def _is_halfway(self) -> bool:
        """Whether weights were being moved, or a line of the log is missing."""
        step = self.state.global_step
        return self._steps.moving or (step % self.args.logging_steps == 0 and self._seen.logged < step)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self._order

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
            self._seen.save(folder / _SEEN)
            self._before_kept()
            seal(folder)
        except _FULL as error:
            shutil.rmtree(folder, ignore_errors=True)
            cause = error.__cause__ if isinstance(error, LapilliError) else error
            reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else "is the disk full?"
            place = f"{self.args.output_dir}: the checkpoint cannot be written: {reason}"
            raise LapilliError(f"{place}; make room, then go on with --resume") from error
        for old in _checkpoints(folder.parent)[:-_KEPT]:
            shutil.rmtree(old)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.detach().contiguous() for name, value in self._learned()}, folder / _WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        saved, learned = load_file(Path(resume_from_checkpoint) / _WEIGHTS), dict(self._learned())
        if saved.keys() != learned.keys():
            raise FinalError(f"{resume_from_checkpoint}: holds other weights than this stage trains; start a new run")
        with torch.no_grad():
            for name, parameter in learned.items():
                parameter.copy_(saved[name])
        self._seen.load(Path(resume_from_checkpoint) / _SEEN)

    def _learned(self) -> list[tuple[str, nn.Parameter]]:
        model: Any = self.model
        return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


class _Steps(TrainerCallback):
    """What a checkpoint after an error needs to know: where the random numbers were when the last step ended."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self.moving = False  # whether an update has begun and not ended
        self.random: Any = None

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Before weights move."""
        self.moving = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """After they have."""
        self._seen.end_step()
        self.moving, self.random = False, _get_random()


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint: one that was being written when its run was killed does not count."""
    return next((path for path in reversed(_checkpoints(folder)) if not changed(path)), None)


def drop_others(folder: Path, checkpoint: Path | None) -> None:
    """Remove the checkpoints that are newer than this one, which are none."""
    for path in _checkpoints(folder):
        if checkpoint is None or _number(path) > _number(checkpoint):
            shutil.rmtree(path)


def is_last(checkpoint: Path) -> bool:
    """Whether all steps were done when a checkpoint was written."""
    state = TrainerState.load_from_json(str(checkpoint / _STATE))
    return bool(state.global_step >= state.max_steps)


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


def _checkpoints(folder: Path) -> list[Path]:
    """Those in a folder, whole or not, the oldest first."""
    return sorted((path for path in folder.glob("checkpoint-*") if path.is_dir()), key=_number)


def _number(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _get_random() -> tuple[Any, ...]:
    """The states of all generators that the Trainer keeps in a checkpoint."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda


def _set_random(states: tuple[Any, ...]) -> None:
    python, numpy, cpu, cuda = states
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(cpu)
    if cuda:
        torch.cuda.set_rng_state_all(cuda)
