"""transformers' Trainer, set up from a recipe, with what it lacks: exact checkpoints and a stop at a loss of NaN.

Its own checkpoints cannot be used here: a Llava is saved under other names than it has in memory, and on resuming the
Trainer would load none of them and go on with a warning.
"""

import json
import math
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback  # type: ignore[attr-defined]  # public, but handed on lazily
from transformers.utils.import_utils import is_torch_bf16_gpu_available

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.manifest import changed, seal
from lapilli.model.upstream import require_overridden
from lapilli.training.recipe import TrainRecipe
from lapilli.training.totals import Counts, Totals
from lapilli.training.weights import FinalError, read_weights, write_weights

_STATE = "trainer_state.json"
_TOTALS = "seen.json"

_SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}

_DISK_ERRORS = (OSError, RuntimeError, SafetensorError, LapilliError)
"""The errors that libraries raise where a disk is full."""

_MOST_CHECKPOINTS = 2  # a disk may damage the newest


Evaluate: TypeAlias = Callable[[TrainerState, TrainerControl], dict[str, float]]
"""Evaluates a run, which it may ask to stop by its control, and returns the figures."""


def training_arguments(recipe: TrainRecipe, checkpoints: Path) -> TrainingArguments:
    """The Trainer's settings, but for `max_steps`, which depends on the number of samples; nothing is written.

    Raises UsageError for a precision that the device does not have.
    """
    _require_precision(recipe.precision)
    return TrainingArguments(
        output_dir=str(checkpoints),
        seed=recipe.seed,
        data_seed=recipe.seed,
        num_train_epochs=recipe.epochs or 1.0,  # without epochs, max_steps replace these
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulate,
        lr_scheduler_type=_SCHEDULES[recipe.schedule],
        warmup_steps=recipe.warmup,  # below 1, it is a share
        max_grad_norm=recipe.clip,
        bf16=recipe.precision == "bf16",
        use_cpu=not torch.accelerator.is_available(),  # or it refuses bf16 on a CPU
        save_strategy="steps" if recipe.save_every else "no",
        save_steps=recipe.save_every or 1,
        logging_steps=recipe.log_every,
        logging_nan_inf_filter=False,
        dataloader_num_workers=recipe.workers,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=True,
        report_to=[name for name in recipe.report_to if name != "tensorboard"] or "none",
        run_name=recipe.out.name,
    )


def tensorboard(recipe: TrainRecipe) -> list[TrainerCallback]:
    """What writes TensorBoard's files, if the run reports to it: into TENSORBOARD_LOGGING_DIR, else the run's folder.

    The Trainer's own would write among the checkpoints, which go when the run has finished.
    """
    if "tensorboard" not in recipe.report_to:
        return []
    callback = TensorBoardCallback()
    callback.logging_dir = callback.logging_dir or str(recipe.out / "tensorboard")
    return [callback]


def _require_precision(precision: str) -> None:
    if precision == "bf16" and torch.accelerator.is_available() and not is_torch_bf16_gpu_available():
        device = torch.accelerator.current_accelerator()
        raise UsageError(f"precision: bf16; this {device} does not compute in it; set precision to fp32")


class StageTrainer(Trainer):
    """A Trainer whose checkpoints hold the parameters that learn, and that counts samples and stops at a NaN.

    `sampler` gives the order of the samples in every epoch; `before_seal` is called before a checkpoint counts as
    whole; `evaluation` is called where a callback asks for one.
    """

    def __init__(
        self,
        totals: Totals,
        sampler: Sampler[int],
        *,
        before_seal: Callable[[], None],
        evaluation: Evaluate,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self._totals = totals
        self._sampler = sampler
        self._before_seal = before_seal
        self._evaluation = evaluation
        self._last_step = _LastStep(totals)
        self.add_callback(self._last_step)

    @classmethod
    def require_known(cls) -> None:
        """Raise LapilliError for a transformers whose Trainer no longer has the methods that are overridden here."""
        overridden = (cls.training_step, cls._get_train_sampler, cls._save_checkpoint, cls._save)
        require_overridden(Trainer, *overridden, cls._load_from_checkpoint, cls._load_optimizer_and_scheduler)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward of one batch. Raises LapilliError, before any weight moves, if the loss is no number."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not math.isfinite(loss.item()):
            step = self.state.global_step + 1
            remedy = "lower the learning rates in a new run, or look at the data"
            raise FinalError(f"step {step}: the loss is {loss.item()}; {remedy}")
        self._totals.add(_counts(inputs), loss.item())
        return loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:  # the Trainer's own arguments are not used
        """Return the figures of the evaluation, and hand them to the programs that the run reports to."""
        figures = self._evaluation(self.state, self.control)
        self.log({f"eval_{name}": value for name, value in figures.items()})
        return figures

    def restore(self, checkpoint: Path, steps: int) -> None:
        """Take over the weights and the state of a run's last checkpoint, for a run of so many steps."""
        self._load_from_checkpoint(str(checkpoint))
        self.state = TrainerState.load_from_json(str(checkpoint / _STATE))
        self.state.max_steps = steps
        self.callback_handler.on_train_begin(self.args, self.state, self.control)

    def end(self) -> None:
        """End a run that has nothing left to train, so that the programs that it reports to close their files."""
        self.callback_handler.on_train_end(self.args, self.state, self.control)

    def save_last_step(self) -> Path | None:
        """Save the last whole step after an error, if its weights are intact, and return the newest checkpoint."""
        if self._last_step.random is not None and not self._is_mid_step:
            with suppress(LapilliError):
                _set_random(self._last_step.random)
                self._save_checkpoint(self.model_wrapped, None)
        return last_checkpoint(Path(str(self.args.output_dir)))

    def keep_last_step(self) -> str:
        """Leave one checkpoint, that of the last step; return what is wrong where it cannot be written, else ""."""
        folder, step = Path(str(self.args.output_dir)), self.state.global_step
        newest = last_checkpoint(folder)
        if step_of(newest) < step:
            newest = self.save_last_step()
        if step_of(newest) < step:
            return f"{folder}: the checkpoint of step {step}, the last, cannot be written: is the disk full?"
        for path in _checkpoints(folder):
            if path != newest:
                shutil.rmtree(path)
        return ""

    @property
    def _learned(self) -> nn.Module:
        model: Any = self.model
        return cast(nn.Module, model.model)

    @property
    def _is_mid_step(self) -> bool:
        """Whether an update of the weights was under way, or a line of the log is missing."""
        step = self.state.global_step
        return self._last_step.moving or (step % self.args.logging_steps == 0 and self._totals.logged < step)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self._sampler

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
            self._totals.save(folder / _TOTALS)
            self._before_seal()
            seal(folder)
        except _DISK_ERRORS as error:
            shutil.rmtree(folder, ignore_errors=True)
            cause = error.__cause__ if isinstance(error, LapilliError) else error
            reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else "is the disk full?"
            place = f"{self.args.output_dir}: the checkpoint cannot be written: {reason}"
            raise LapilliError(f"{place}; make room, then go on with --resume") from error
        for old in _checkpoints(folder.parent)[:-_MOST_CHECKPOINTS]:
            shutil.rmtree(old)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        write_weights(self._learned, folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        read_weights(self._learned, Path(resume_from_checkpoint))
        self._totals.load(Path(resume_from_checkpoint) / _TOTALS)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            schedule: Any = self.lr_scheduler  # an extended run's is not the one that set the checkpoint's rates
            schedule.last_epoch -= 1
            schedule.step()


def _counts(inputs: dict[str, Any]) -> Counts:
    """What a batch holds."""
    mask, pixels = inputs["attention_mask"], inputs.get("pixel_values")
    tokens = int(mask.sum())
    return Counts(len(mask), tokens, mask.numel() - tokens, 0 if pixels is None else len(pixels))


class _LastStep(TrainerCallback):
    """The state of the random numbers after the last whole step, which a checkpoint after an error needs."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self.moving = False  # whether an update has begun and not ended
        self.random: Any = None

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Note that the update of the weights begins."""
        self.moving = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Note that it has ended."""
        self._totals.end_step()
        self.moving, self.random = False, _get_random()


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint: one that was being written when its run was killed does not count."""
    return next((path for path in reversed(_checkpoints(folder)) if not changed(path)), None)


def remove_newer(folder: Path, checkpoint: Path | None) -> None:
    """Remove the checkpoints that are newer than the newest whole one: they were never finished."""
    for path in _checkpoints(folder):
        if checkpoint is None or _number(path) > _number(checkpoint):
            shutil.rmtree(path)


def step_of(checkpoint: Path | None) -> int:
    """The number of steps before a checkpoint was written; 0 without one."""
    if checkpoint is None:
        return 0
    return int(json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))["global_step"])


def _checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, whole or not, the oldest first."""
    return sorted((path for path in folder.glob("checkpoint-*") if path.is_dir()), key=_number)


def _number(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _get_random() -> tuple[Any, ...]:
    """The states of all generators that the Trainer saves in a checkpoint."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda


def _set_random(states: tuple[Any, ...]) -> None:
    python, numpy, cpu, cuda = states
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(cpu)
    if cuda:
        torch.cuda.set_rng_state_all(cuda)
