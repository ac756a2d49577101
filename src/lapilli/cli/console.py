"""Where the command line prints: results to stdout, everything else to stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from lapilli.core.plain import json_text

results = Console()
"""For results: tables, answers, coloured rows."""

messages = Console(stderr=True)
"""For progress and notes, which must never mix with a result."""


_EVERY = 60  # seconds between lines of progress off a terminal


def print_json(value: Any) -> None:
    """Print `value` as one line of JSON on stdout, for `--json`: no colour, no wrapping."""
    sys.stdout.write(json_text(value) + "\n")


def note_hidden(name: str, share: float) -> None:
    """Say on stderr that a crop keeps a share of a picture from the model, if it does."""
    if share:
        note = f"{name}: {100 * share:.2g} % of the picture is not seen; the model's crop leaves it out"
        messages.print(note, markup=False, emoji=False, highlight=False, soft_wrap=True)


def note_finished(out: Path) -> None:
    """Say on stderr that a run has finished, and that its page alone is drawn again."""
    said = f"{out}: the run has finished; its page is drawn again, and nothing is measured"
    messages.print(said, markup=False, emoji=False, highlight=False, soft_wrap=True)


def progress_bar() -> Progress:
    """A display of progress on stderr, for a terminal only: a context manager; its last state stays."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=messages,
        disable=not messages.is_terminal,
    )


@contextmanager
def steps() -> Iterator[Callable[[str, int, int], None]]:
    """A display of the steps of something long, each with a bar of its own.

    What it yields is told what is being done, how much of it is, and of how much. Off a terminal that is a line a
    minute.
    """
    with progress_bar() as bar:
        tasks: dict[str, TaskID] = {}
        said = time.monotonic()

        def note(step: str, done: int, total: int) -> None:
            nonlocal said
            if bar.disable and time.monotonic() - said >= _EVERY:
                said = time.monotonic()
                messages.print(f"{step}: {done} of {total}", markup=False, emoji=False, highlight=False, soft_wrap=True)
            if step not in tasks:
                _finish(bar)
                tasks[step] = bar.add_task(step, total=total)
            bar.update(tasks[step], completed=done)

        yield note
        _finish(bar)


def _finish(bar: Progress) -> None:
    for task in bar.tasks:
        bar.update(task.id, completed=task.total)
