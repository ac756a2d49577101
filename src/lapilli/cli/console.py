"""Where the command line prints: results to stdout, everything else to stderr."""

import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lapilli.core.plain import json_text

results = Console()
"""For results: tables, answers, coloured rows."""

messages = Console(stderr=True)
"""For progress and notes, which must never mix with a result."""


def print_json(value: Any) -> None:
    """Print `value` as one line of JSON on stdout, for `--json`: no colour, no wrapping."""
    sys.stdout.write(json_text(value) + "\n")


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
