"""What watches a training run: its log, its progress bar, and whether it has been asked to stop."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lapilli.core.run import RunDir
from lapilli.core.terminal import Terminal
from lapilli.training.trainer import Seen

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BETWEEN_LINES = 30.0  # seconds


@dataclass
class Wish:
    """Whether the run has been asked to stop."""

    stop: bool = False


@contextmanager
def asked_to_stop() -> Iterator[Wish]:
    """A Wish that Ctrl-C and SIGTERM set, so that a run ends with a checkpoint; a second Ctrl-C ends it at once."""
    wish = Wish()
    if threading.current_thread() is not threading.main_thread():  # only there does Python handle signals
        yield wish
        return

    def note(*_: Any) -> None:
        wish.stop = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def training_bar(shown: bool) -> Progress:
    """A bar on stderr with the loss, the speed and the time left; for a terminal only."""
    console = Terminal(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epoch {task.fields[epoch]}"),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("{task.fields[speed]} samples/s"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
    )


def announce(bar: Progress, said: Sequence[str]) -> None:
    """Print lines above the bar, as they are, also where there is none."""
    for line in said:
        bar.console.print(line, soft_wrap=True)


def lines(shown: bool) -> Callable[[str], None] | None:
    """What prints a line of progress on stderr where that is no terminal, such as a log file; there the bar does."""
    console = Terminal(stderr=True, soft_wrap=True)
    return console.print if shown and not console.is_terminal else None


class Watcher(TrainerCallback):
    """Keeps the run's log and the bar up to date, evaluates after every epoch, and passes on the wish to stop.

    `tell` gets a line of progress every half a minute, where there is no bar.
    """

    def __init__(
        self,
        run: RunDir,
        seen: Seen,
        bar: Progress,
        wish: Wish,
        on_eval: Callable[[], Mapping[str, float]] | None,
        tell: Callable[[str], None] | None,
    ) -> None:
        self._run, self._seen, self._bar, self._wish, self._on_eval, self._tell = run, seen, bar, wish, on_eval, tell
        self._told = time.perf_counter()
        self._task = bar.add_task("training", total=None, epoch="-", loss="-", speed="-")
        self._start_measuring()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The Trainer knows by now how many steps there will be; a resumed run may have ended before an evaluation."""
        self._bar.update(self._task, total=state.max_steps, completed=state.global_step)
        is_end = state.global_step >= state.max_steps or float(state.epoch or 0).is_integer()
        if state.global_step and is_end and not self._is_evaluated(state.global_step):
            self._evaluate(state)
        self._start_measuring()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """After every step."""
        self._bar.update(self._task, completed=state.global_step, epoch=_epoch(state))
        if self._wish.stop:
            control.should_save = control.should_training_stop = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Every `log_every` steps, and once more with a summary that has no loss."""
        if logs is None or "loss" not in logs:
            return
        seconds = time.perf_counter() - self._since
        samples = (self._seen.samples - self._before.samples) / seconds
        tokens = (self._seen.tokens - self._before.tokens) / seconds
        kept = {name: logs[name] for name in ("epoch", "loss", "learning_rate", "grad_norm")}
        kept["loss"] = self._seen.mean_loss(state.global_step)  # the Trainer's leaves out what was before a resumption
        self._run.log(step=state.global_step, **kept, samples_per_second=samples, tokens_per_second=tokens)
        self._seen.end_line(state.global_step)
        loss, speed = f"{kept['loss']:.3f}", _speed(samples)
        self._bar.update(self._task, loss=loss, speed=speed)
        self._tell_now_and_then(
            f"step {state.global_step} of {state.max_steps}, epoch {_epoch(state)}, loss {loss}, {speed} samples/s"
        )
        self._start_measuring()

    def _tell_now_and_then(self, line: str) -> None:
        if self._tell and time.perf_counter() - self._told >= _BETWEEN_LINES:
            self._tell(line)
            self._told = time.perf_counter()

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Also after the last epoch, whole or not."""
        if not self._wish.stop:
            self._evaluate(state)

    def _evaluate(self, state: TrainerState) -> None:
        if self._on_eval is None:
            return
        with torch.random.fork_rng():  # an evaluation must not change the training
            figures = self._on_eval()
        self._run.log(step=state.global_step, epoch=state.epoch, **figures)
        self._start_measuring()

    def _is_evaluated(self, step: int) -> bool:
        return any(line["step"] == step and "loss" not in line for line in self._run.metrics())

    def _start_measuring(self) -> None:
        self._since = time.perf_counter()
        self._before = Seen(self._seen.samples, self._seen.tokens)


def _epoch(state: TrainerState) -> str:
    """How often the samples have been gone through."""
    return f"{state.epoch or 0:.2f}"


def _speed(samples: float) -> str:
    """Samples a second: 12.3 -> 12, 3.14 -> 3.1, 0.043 -> 0.043; never a 0 for what is slow."""
    return f"{samples:.0f}" if samples >= 9.95 else f"{samples:#.2g}"
