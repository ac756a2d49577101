"""Steps that leave a file or a folder behind, so that an interrupted journey goes on where it was."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lapilli.core.files import write_atomically


@dataclass(frozen=True)
class Step:
    """`run` makes `product`, whole or not at all; where `product` exists the step is done."""

    name: str
    product: Path
    run: Callable[[], None]
    stage: str | None = None


def walk(steps: Sequence[Step], log: Path, tell: Callable[[str], None]) -> None:
    """Take the steps in order, leaving out those that are done.

    `log` keeps the seconds of every step, those of interrupted attempts included; `tell` announces each one.
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


def times(log: Path) -> list[dict[str, object]]:
    """Every step so far with its seconds."""
    return json.loads(log.read_text(encoding="utf-8")) if log.is_file() else []


def _add_seconds(log: Path, step: Step, seconds: float) -> None:
    found = times(log)
    row = next((row for row in found if row["name"] == step.name), None)
    if row is None:
        row = {"name": step.name, "seconds": 0.0} | ({"stage": step.stage} if step.stage else {})
        found.append(row)
    row["seconds"] = round(float(str(row["seconds"])) + seconds, 2)
    write_atomically(log, json.dumps(found, indent=2) + "\n")
