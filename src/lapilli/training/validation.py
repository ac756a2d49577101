"""Evaluating a run while it trains: the loss of samples set aside, the caller's figures, the best weights, the end.

The log of the run is the only memory: which evaluation was the best, and how long ago, is read from it. So a resumed
run, which evaluates again what it lost, comes to the same weights.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import torch
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lapilli.core.files import new_folder
from lapilli.core.run import RunDir
from lapilli.model.llava import Llava
from lapilli.training.feed import Batcher, Examples
from lapilli.training.objective import AnswerLoss
from lapilli.training.recipe import Validation
from lapilli.training.weights import write_weights

LOSS = "validation_loss"
BEST = "best"
"""The folder of the weights of the lowest validation loss so far, among the checkpoints."""


@final
class Evaluator(TrainerCallback):
    """Evaluates where the Trainer asks for it, once a step, and logs the figures.

    `losses` computes the validation loss, `figures` what the caller wants to know of the model; either may be None.
    `best` is the folder that the best weights are kept in, None where they are not.
    """

    def __init__(
        self,
        run: RunDir,
        llava: Llava,
        validation: Validation,
        *,
        losses: Callable[[], float] | None,
        figures: Callable[[Llava], Mapping[str, float]] | None,
        best: Path | None,
        done: Callable[[], None],
    ) -> None:
        self._run, self._llava, self._validation = run, llava, validation
        self._losses, self._figures, self._best, self._done = losses, figures, best, done

    def __call__(self, state: TrainerState, control: TrainerControl) -> dict[str, float]:
        """Evaluate, keep the best weights, and stop the run where its patience has come to an end."""
        if (self._losses is None and self._figures is None) or self._is_evaluated(state.global_step):
            return {}
        figures = self._evaluated()
        if self._best and LOSS in figures and figures[LOSS] < min(self._logged(), default=float("inf")):
            self._keep_weights(self._best)
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

    def _evaluated(self) -> dict[str, float]:
        model = self._llava.model
        with torch.random.fork_rng():  # an evaluation must not change the training
            model.eval()  # the Trainer's next step sets it back
            losses = {LOSS: self._losses()} if self._losses else {}
            return {**losses, **(self._figures(self._llava) if self._figures else {})}

    def _keep_weights(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        with new_folder(folder) as part:
            write_weights(self._llava.model, part)

    def _logged(self) -> list[float]:
        return [line[LOSS] for line in self._run.metrics() if LOSS in line]

    def _is_evaluated(self, step: int) -> bool:
        return any(line["step"] == step and "loss" not in line for line in self._run.metrics())


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


def mean_loss(loss: AnswerLoss, examples: Examples, batcher: Batcher, size: int, precision: str) -> float:
    """The mean cross-entropy of all learned tokens of the examples, in nats; batches are of `size` samples."""
    order = [int(index) for index in examples.lengths.argsort(kind="stable")]
    device = next(loss.parameters()).device
    total = 0.0
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        for batch in DataLoader(examples, size, sampler=order, collate_fn=batcher):
            moved = {name: value.to(device) for name, value in batch.items()}
            total += float(loss(**moved, num_items_in_batch=1)["loss"])
    return total / examples.learned_tokens
