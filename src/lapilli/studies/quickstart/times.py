"""What the steps of a journey took, in a file that the page is drawn from."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict, cast

from lapilli.core.files import write_atomically
from lapilli.core.memory import peak_memory
from lapilli.core.read import checked, read_json


class _LoggedRequired(TypedDict):
    """A step as `timed` logs it; the class after it adds what it may lack."""

    name: str
    seconds: float
    finished: str
    peak_memory_bytes: int


class _Logged(_LoggedRequired, total=False):
    stage: str


@contextmanager
def timed(log: Path, name: str, stage: str | None = None) -> Iterator[None]:
    """A block that is a step, or an attempt at one.

    `log` keeps of every step its seconds, those of interrupted attempts included, when it ended, and the most memory
    that its process or one of that process's children ever held, in bytes.
    """
    started = time.monotonic()
    try:
        yield
    finally:
        _add_seconds(log, name, stage, time.monotonic() - started)


def times(log: Path) -> list[dict[str, Any]]:
    """Every step so far, as `timed` logs them."""
    again = "choose another --out"
    rows = checked(list[_Logged], read_json(log, again), str(log), again) if log.is_file() else []
    return cast(list[dict[str, Any]], rows)


def _add_seconds(log: Path, name: str, stage: str | None, seconds: float) -> None:
    rows = times(log)
    row = next((row for row in rows if row["name"] == name), None)
    if row is None:
        row = dict[str, Any](name=name, seconds=0.0) | ({"stage": stage} if stage else {})
        rows.append(row)
    row["seconds"] = round(row["seconds"] + seconds, 2)
    row["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    row["peak_memory_bytes"] = max(row.get("peak_memory_bytes", 0), peak_memory(children=True) or 0)
    write_atomically(log, json.dumps(rows, indent=2) + "\n")
