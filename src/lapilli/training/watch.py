"""Watching a training run: its opening lines, progress bar and log, its evaluations, and requests to stop it."""

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lapilli.core.run import RunDir
from lapilli.core.terminal import Terminal
from lapilli.data.sample import Sample
from lapilli.training.recipe import Length, TrainRecipe
from lapilli.training.stages import modes
from lapilli.training.totals import Totals, peak_memory_gb
from lapilli.training.tuning import Part, ranges_of

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BETWEEN_LINES = 30.0  # seconds


_NAMES: dict[Part, str] = {"projector": "projector", "llm": "language model", "vision": "vision encoder"}


@dataclass
class StopRequest:
    """Whether the run is to stop after its current step."""

    stop: bool = False


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """A request that Ctrl-C and SIGTERM set, so that a run ends with a checkpoint; a second Ctrl-C ends it at once."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():  # only there does Python handle signals
        yield request
        return

    def note(*_: Any) -> None:
        request.stop = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def encoding_bar(samples: Sequence[Sample], visible: bool) -> Iterable[Sample]:
    """The samples, with a bar on stderr that says how many were taken; for a terminal only."""
    console = Terminal(stderr=True)
    return track(samples, "encoding", console=console, transient=True, disable=not (visible and console.is_terminal))


def training_bar(visible: bool) -> Progress:
    """A bar on stderr with the loss, the speed and the time left; for a terminal only."""
    console = Terminal(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epoch {task.fields[epoch]}"),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("{task.fields[speed]} samples/s"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not (visible and console.is_terminal))


def line_printer(visible: bool) -> Callable[[str], None] | None:
    """A function that prints a line of progress on stderr where that is no terminal, such as a log file; else None."""
    console = Terminal(stderr=True, soft_wrap=True)
    return console.print if visible and not console.is_terminal else None


def announce(bar: Progress, lines: Sequence[str]) -> None:
    """Print lines above the bar, as they are, also where the bar is hidden."""
    for line in lines:
        bar.console.print(line, soft_wrap=True)


def opening(learning: Mapping[Part, Sequence[nn.Parameter]], length: Length, done: int, device: str) -> list[str]:
    """Return two lines: which parts learn, and from how much; a resumed run has taken `done` steps before."""
    return [_parts(learning, length.recipe), _course(length, done, device)]


def _parts(learning: Mapping[Part, Sequence[nn.Parameter]], recipe: TrainRecipe) -> str:
    sizes = {part: sum(weight.numel() for weight in learning[part]) for part in _NAMES if part in learning}
    learn = [f"{_NAMES[part]} ({_way(part, recipe)}{size:,} parameters)" for part, size in sizes.items()]
    frozen = [_NAMES[part] for part in ("vision", "projector", "llm") if part not in learning]
    line = f"{recipe.stage}: {' and '.join(learn)} {'learns' if len(learn) == 1 else 'learn'}"
    return f"{line}; {' and '.join(frozen)} {'is' if len(frozen) == 1 else 'are'} frozen" if frozen else line


def _way(part: Part, recipe: TrainRecipe) -> str:
    """What of a part learns, where it is not all of it."""
    kind = "DoRA" if recipe.lora.dora else "LoRA"
    ways = [f"{kind} of rank {recipe.lora.rank}"] if modes(recipe)[part] == "lora" else []
    if part == "llm" and recipe.llm.layers is not None:
        ways.append(f"layers {ranges_of(recipe.llm.layers)}")
    if part == "llm" and recipe.llm.modules is not None:
        ways.append(", ".join(recipe.llm.modules))
    return "".join(f"{way}, " for way in ways)


def _course(length: Length, done: int, device: str) -> str:
    recipe = length.recipe
    batch = f"batch_size {recipe.batch_size:,}" + (
        f" x accumulate {recipe.accumulate:,}" if recipe.accumulate > 1 else ""
    )
    resumed = f", resumed after step {done:,}" if done else ""
    return (
        f"{_count(length.samples, 'sample')}, {_extent(length)}{resumed}; {batch}; {recipe.precision} on {device}; "
        f"into {recipe.out}"
    )


def _extent(length: Length) -> str:
    """Return steps and epochs; for a recipe that limits both, which limit ends the run, and how much sooner."""
    recipe, steps, epochs = length.recipe, _count(length.steps, "step"), _times(length.epochs)
    if recipe.max_steps is None or recipe.epochs is None or length.steps_of_epochs == recipe.max_steps:
        return f"{epochs}, {steps}"
    if length.cap:
        return (
            f"{steps}: max_steps {recipe.max_steps:,} ends it after {_short(length.epochs)} of {_times(recipe.epochs)}"
        )
    return f"{epochs}, {steps}, fewer than max_steps {recipe.max_steps:,}"


def _times(epochs: float) -> str:
    return f"{_short(epochs)} epoch{'' if epochs == 1 else 's'}"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"


class Watcher(TrainerCallback):
    """Keeps the run's log and the bar up to date, asks for evaluations, and passes on the request to stop.

    `every` steps there is an evaluation, or after every epoch. `report` gets a line of progress every half a minute,
    where there is no bar.
    """

    def __init__(
        self,
        run: RunDir,
        totals: Totals,
        *,
        bar: Progress,
        request: StopRequest,
        every: int | None,
        report: Callable[[str], None] | None,
    ) -> None:
        self._run, self._totals, self._bar, self._request = run, totals, bar, request
        self._every, self._report = every, report
        self._last_report = time.perf_counter()
        self._task = bar.add_task("training", total=None, epoch="-", loss="-", speed="-")
        self.start_measuring()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Set the bar's total."""
        self._bar.update(self._task, total=state.max_steps, completed=state.global_step)
        self.start_measuring()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Advance the bar, ask for an evaluation if one is due, and stop after this step if that was requested."""
        self._bar.update(self._task, completed=state.global_step, epoch=_epoch(state))
        if self._request.stop:
            control.should_save = control.should_training_stop = True
        elif self._every and state.global_step % self._every == 0:
            control.should_evaluate = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Log a line every `log_every` steps; the Trainer calls once more, with a summary that has no loss."""
        if logs is None or "loss" not in logs:
            return
        rates = (self._totals.counts - self._before).rates(time.perf_counter() - self._since)
        figures = {name: logs[name] for name in ("epoch", "loss", "learning_rate", "grad_norm")}
        figures["loss"] = self._totals.mean_loss(state.global_step)  # the Trainer's forgets a resumed run's
        self._run.log(step=state.global_step, **figures, **rates, peak_memory_gb=peak_memory_gb())
        self._totals.end_line(state.global_step)
        loss, speed = f"{figures['loss']:.3f}", _speed(rates["samples_per_second"])
        self._bar.update(self._task, loss=loss, speed=speed)
        self._report_now_and_then(
            f"step {state.global_step} of {state.max_steps}, epoch {_epoch(state)}, loss {loss}, {speed} samples/s"
        )
        self.start_measuring()

    def _report_now_and_then(self, line: str) -> None:
        if self._report and time.perf_counter() - self._last_report >= _BETWEEN_LINES:
            self._report(line)
            self._last_report = time.perf_counter()

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Ask for an evaluation, also after a last epoch that is not whole."""
        is_last = state.global_step >= state.max_steps
        if not self._request.stop and (is_last or not self._every):
            control.should_evaluate = True

    def start_measuring(self) -> None:
        """Count and measure time from here for the next line of the log."""
        self._since, self._before = time.perf_counter(), self._totals.counts


def _epoch(state: TrainerState) -> str:
    """The number of passes through the samples so far, in text."""
    return f"{state.epoch or 0:.2f}"


def _speed(samples: float) -> str:
    """Samples a second, in text: 12.3 -> 12, 3.14 -> 3.1, 0.043 -> 0.043; never a 0 for a slow run."""
    return f"{samples:.0f}" if samples >= 9.95 else f"{samples:#.2g}"
