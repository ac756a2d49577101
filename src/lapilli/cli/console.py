"""Where the command line prints: results to stdout, everything else to stderr."""

import io
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as ProgressBar

from lapilli.core.plain import plain
from lapilli.core.progress import Progress
from lapilli.core.terminal import Terminal

if TYPE_CHECKING:
    from lapilli.core.run import RunDir

results = Terminal()
"""For results: tables, answers, colored rows."""

messages = Terminal(stderr=True)
"""For progress and notes, which must never mix with a result."""


_EVERY = 60  # seconds between lines of progress off a terminal


def prepare_streams() -> None:
    """Let both streams write out what their encoding does not have, such as \\xf6 on one of ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_json(value: Any) -> None:
    """Print `value` as one line of JSON on stdout, for `--json`: all in ASCII, which any terminal and locale takes."""
    sys.stdout.write(json.dumps(plain(value), allow_nan=False) + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> None:
    """Print a table; the cells of its first column may break, those of the others stay whole."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    first, *others = columns
    table = Table(
        Column(first, overflow="fold"),
        *(Column(title, no_wrap=True) for title in others),
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        caption=note,
    )
    for row in rows:
        table.add_row(*row)
    results.print(table)


def say(line: str) -> None:
    """Print a result as it is, whatever is in it, without breaks."""
    results.print(line, soft_wrap=True)


def note(line: str) -> None:
    """The same of a note, on stderr."""
    messages.print(line, soft_wrap=True)


def note_hidden(name: str, share: float) -> None:
    """Say on stderr that a crop keeps a share of a picture from the model, if it does."""
    if share:
        note(f"{name}: {100 * share:.2g} % of the picture is not seen; the model's crop leaves it out")


def progress_bar() -> ProgressBar:
    """A display of progress on stderr, for a terminal only: a context manager; its last state stays."""
    return ProgressBar(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=messages,
        disable=not messages.is_terminal,
    )


def go_on(run: "RunDir", measure: Callable[[Progress], object]) -> None:
    """Measure what a run lacks, with its steps on display, and finish it; of one that has finished, say so.

    Interrupted before its first result, the run was never begun; after it, the same command goes on, as is said.
    Raises LapilliError for one that is not what it was when it finished: no page is drawn of that.
    """
    if run.is_complete:
        run.verify(pages=False)
        note(f"{run.path}: the run has finished; nothing is measured again")
        return
    try:
        with run.or_nothing(), steps() as progress:
            measure(progress)
        run.finish()
    except KeyboardInterrupt:
        if (run.path / "recipe.yaml").is_file():
            note(f"{run.path}: stopped; the same command goes on")
        raise


@contextmanager
def steps() -> Iterator[Progress]:
    """A display of the steps of something long, each with a bar of its own.

    What it yields is told what is being done, how much of it is, and of how much. Off a terminal that is a line a
    minute.
    """
    with progress_bar() as bar:
        tasks: dict[str, TaskID] = {}
        last_printed = time.monotonic()

        def tell(step: str, done: int, total: int) -> None:
            nonlocal last_printed
            if bar.disable and time.monotonic() - last_printed >= _EVERY:
                last_printed = time.monotonic()
                note(f"{step}: {done} of {total}")
            if step not in tasks:
                _finish(bar)
                tasks[step] = bar.add_task(step, total=total)
            bar.update(tasks[step], completed=done, total=total)

        yield tell
        _finish(bar)


@contextmanager
def bars() -> Iterator[Progress]:
    """A display of one step's progress at a time, there while that is under way: what comes between may have its own.

    Nothing off a terminal.
    """
    with ExitStack() as shown:
        tasks: dict[str, tuple[ProgressBar, TaskID]] = {}

        def tell(step: str, done: int, total: int) -> None:
            if step not in tasks:
                bar = shown.enter_context(progress_bar())
                tasks[step] = bar, bar.add_task(step, total=total)
            bar, task = tasks[step]
            bar.update(task, completed=done)
            if done == total:
                shown.close()

        yield tell


def _finish(bar: ProgressBar) -> None:
    for task in bar.tasks:
        bar.update(task.id, completed=task.total)
