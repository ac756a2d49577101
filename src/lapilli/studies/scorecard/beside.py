"""Another scorecard that has finished, to be drawn on the same page."""

from pathlib import Path
from typing import Any

from lapilli.core.errors import UsageError
from lapilli.core.run import RunDir
from lapilli.studies.scorecard.job import RESULT, result_of


def finished(folder: Path, out: Path) -> RunDir:
    """The finished scorecard in a folder other than `out`. Raises LapilliError where there is none."""
    if folder.resolve() == out.resolve():
        raise UsageError(f"--beside {folder}: that is --out itself; give the folder of another scorecard")
    run = RunDir.open(folder)
    if not (run.is_complete and run.has(RESULT)):
        raise UsageError(f"--beside {folder}: no scorecard that has finished is there")
    run.verify(pages=False)
    return run


def told_apart(other: RunDir, model: str) -> dict[str, Any]:
    """Another scorecard's result; its folder stands beside its model's name where that is `model`, too."""
    card = result_of(other)
    return card | {"model": f"{model} ({other.path.resolve().name})"} if card["model"] == model else card
