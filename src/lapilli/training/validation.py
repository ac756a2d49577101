"""Evaluating a run while it trains: the loss of samples set aside, the caller's figures, the best weights, the end.

Which evaluation was the best, and how long ago, is read from the log of the run, and the weights of every best one are
kept as long as a checkpoint may need them. So a resumed run, which evaluates again what it lost, comes to the same.
"""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lapilli.core.files import new_folder
from lapilli.core.run import RunDir
from lapilli.model.llava import Llava
from lapilli.training.feed import Batcher, Examples
from lapilli.training.objective import AnswerLoss, passes_of, uncompiled
from lapilli.training.recipe import TrainRecipe, Validation
from lapilli.training.weights import FinalError, write_weights

LOSS = "validation_loss"
_BEST = "best-"  # folders among the checkpoints, by step: the weights of every lowest validation loss
SAMPLES = "samples"
"""The log of a run with sample answers; under this name the caller's figures have its rows for one evaluation."""

_RESERVED = {"step", "epoch", "loss", "learning_rate", LOSS}


@final
class Evaluator(TrainerCallback):
    """Evaluates where the Trainer asks for it, once a step, and logs the figures.

    `losses` computes the validation loss, `figures` what the caller wants to know of the model; either may be None.
    Rows that the latter has as `SAMPLES` are no figure: they go into a log of their own, which is written first.
    `best` is the folder of the checkpoints, beside which the best weights are kept, None where they are not.
    """

    def __init__(
        self,
        run: RunDir,
        llava: Llava,
        recipe: TrainRecipe,
        *,
        losses: Callable[[], float] | None,
        figures: Callable[[Llava], Mapping[str, Any]] | None,
        best: Path | None,
        done: Callable[[], None],
    ) -> None:
        self._run, self._llava, self._recipe, self._validation = run, llava, recipe, recipe.validation
        self._losses, self._figures, self._best, self._done = losses, figures, best, done

    def __call__(self, state: TrainerState, control: TrainerControl) -> dict[str, float]:
        """Evaluate, keep the best weights, and stop the run where its patience has come to an end."""
        if (self._losses is None and self._figures is None) or self._is_evaluated(state.global_step):
            return {}
        figures = self._evaluated()
        self._log_samples(state.global_step, figures.pop(SAMPLES, ()))
        if self._best and LOSS in figures and figures[LOSS] < min(self._logged(), default=float("inf")):
            self._keep_weights(self._best, state.global_step)
        self._run.log(step=state.global_step, epoch=state.epoch, **figures)
        if is_exhausted(self._run, self._validation):
            control.should_training_stop = True
        self._done()
        return figures

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Evaluate where a resumed run was stopped before its evaluation."""
        every, is_last = self._validation.every, state.global_step >= state.max_steps
        is_due = state.global_step % every == 0 if every else float(state.epoch or 0).is_integer()
        if state.global_step and (is_due or is_last):
            self(state, control)

    def _evaluated(self) -> dict[str, Any]:
        model: Any = self._llava.model
        rounding = passes_of(self._recipe, model.device)
        with torch.random.fork_rng(), rounding, uncompiled(self._recipe):  # it must not change the training
            model.eval()  # the Trainer's next step sets it back
            losses = {LOSS: self._losses()} if self._losses else {}
            figures = dict(self._figures(self._llava)) if self._figures else {}
        if odd := _RESERVED & figures.keys():
            names = ", ".join(sorted(odd))
            raise ValueError(f"on_eval returned {names}, names that the log has itself; take others")
        if not math.isfinite(losses.get(LOSS, 0.0)):
            raise FinalError(f"the validation loss is {losses[LOSS]}; lower the learning rates in a new run")
        return losses | figures

    def _log_samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            self._run.rewind(step - 1, SAMPLES)  # a process that was killed right here may have left them
            self._run.append(SAMPLES, ({"step": step, **row} for row in rows))

    def _keep_weights(self, folder: Path, step: int) -> None:
        """Keep the weights, and of the earlier ones those that the newest checkpoints would go back to."""
        shutil.rmtree(folder / f"{_BEST}{step}", ignore_errors=True)
        with new_folder(folder / f"{_BEST}{step}") as part:
            write_weights(self._llava.model, part)
        kept = [path for path in _bests(folder) if _step(path) <= step]
        oldest = min((_step(path) for path in folder.glob("checkpoint-*")), default=0)
        needed = [path for path in kept if _step(path) > oldest] + [path for path in kept if _step(path) <= oldest][-1:]
        for path in kept:
            if path not in needed:
                shutil.rmtree(path)

    def _logged(self) -> list[float]:
        return [line[LOSS] for line in self._run.metrics() if LOSS in line]

    def _is_evaluated(self, step: int) -> bool:
        return any(line["step"] == step and "learning_rate" not in line for line in self._run.metrics())


def best_weights(checkpoints: Path) -> Path:
    """The folder of the weights of the lowest validation loss."""
    return _bests(checkpoints)[-1]


def remove_newer_weights(checkpoints: Path, step: int) -> None:
    """Remove the best weights of evaluations after a step, which the run takes again."""
    for path in _bests(checkpoints):
        if _step(path) > step:
            shutil.rmtree(path)


def _bests(checkpoints: Path) -> list[Path]:
    """The folders of best weights, the oldest first; the loss of each is lower than those before."""
    return sorted((path for path in checkpoints.glob(f"{_BEST}*") if path.is_dir()), key=_step)


def _step(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def is_exhausted(run: RunDir, validation: Validation) -> bool:
    """Whether as many evaluations as the patience allows have passed without a lower validation loss."""
    losses = [line[LOSS] for line in run.metrics() if LOSS in line]
    if not losses or validation.patience is None:
        return False
    return len(losses) - 1 - losses.index(min(losses)) >= validation.patience


def best_of(run: RunDir) -> dict[str, float]:
    """The lowest validation loss of a run and its step; empty where it was not validated."""
    lines = [line for line in run.metrics() if LOSS in line]
    lowest = min(lines, key=lambda line: line[LOSS], default=None)
    return {} if lowest is None else {LOSS: lowest[LOSS], "validation_step": lowest["step"]}


def mean_loss(loss: AnswerLoss, examples: Examples, batcher: Batcher, size: int) -> float:
    """The mean cross-entropy of all learned tokens of the examples, in nats; batches are of `size` samples."""
    order = [int(index) for index in examples.lengths.argsort(kind="stable")]
    device = next(loss.parameters()).device
    total = 0.0
    with torch.no_grad():
        for batch in DataLoader(examples, size, sampler=order, collate_fn=batcher):
            moved = {name: value.to(device) for name, value in batch.items()}
            total += float(loss(**moved, num_items_in_batch=1)["loss"])
    return total / examples.learned_tokens
