"""Steps that leave a file or a folder behind, so that an interrupted journey goes on where it was."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict, cast

from lapilli.core.files import write_atomically
from lapilli.core.read import checked, read_json


@dataclass(frozen=True)
class Step:
    """`run` makes `product`, whole or not at all; where `product` exists the step is done."""

    name: str
    product: Path
    run: Callable[[], None]
    stage: str | None = None


class _LoggedRequired(TypedDict):
    """A step as `walk` logs it; the class after it adds what it may lack."""

    name: str
    seconds: float
    finished: str
    peak_memory_bytes: int


class _Logged(_LoggedRequired, total=False):
    stage: str


def walk(steps: Sequence[Step], log: Path, tell: Callable[[str], None]) -> None:
    """Take the steps in order, leaving out those that are done.

    `log` keeps of every step its seconds, those of interrupted attempts included, when it ended, and the most memory
    that its process or one of that process's children ever held, in bytes; `tell` announces each one.
    """
    for number, step in enumerate(steps, start=1):
        if step.product.exists():
            tell(f"[{number}/{len(steps)}] {step.name}: done already")
            continue
        tell(f"[{number}/{len(steps)}] {step.name}")
        started = time.monotonic()
        try:
            step.run()
        finally:
            _add_seconds(log, step, time.monotonic() - started)


def times(log: Path) -> list[dict[str, Any]]:
    """Every step so far, as `walk` logs them."""
    again = "choose another --out"
    rows = checked(list[_Logged], read_json(log, again), str(log), again) if log.is_file() else []
    return cast(list[dict[str, Any]], rows)


def _add_seconds(log: Path, step: Step, seconds: float) -> None:
    found = times(log)
    row = next((row for row in found if row["name"] == step.name), None)
    if row is None:
        row = dict[str, Any](name=step.name, seconds=0.0) | ({"stage": step.stage} if step.stage else {})
        found.append(row)
    row["seconds"] = round(row["seconds"] + seconds, 2)
    row["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    row["peak_memory_bytes"] = max(row.get("peak_memory_bytes", 0), _peak_memory())
    write_atomically(log, json.dumps(found, indent=2) + "\n")


def _peak_memory() -> int:
    held = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return held if sys.platform == "darwin" else held * 1024
