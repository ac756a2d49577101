"""What a run starts from: checksums of its model and data, and the changes of the data that a resumed run accepted."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from lapilli.core.errors import LapilliError
from lapilli.core.read import checked
from lapilli.core.run import RunDir
from lapilli.model.parts import origin
from lapilli.training.recipe import TrainRecipe

SOURCES = "sources"
"""The result of a run that has the checksums."""

CHANGED = "changed_data"
"""The result of a run that was resumed after its file of samples was changed: the step, and both checksums."""

Change = TypedDict("Change", {"after_step": int, "from": str, "to": str})
"""One change of the file of samples."""


def sources_of(recipe: TrainRecipe, model: Path, samples: int) -> dict[str, str]:
    """The checksums of the model's folder and of the recipe's files, and how many samples are learned from."""
    sources = {"model": origin(model).sha256, "data": _sha256(recipe.data.file), "number of samples": str(samples)}
    if recipe.data.validation:
        sources["validation data"] = _sha256(recipe.data.validation)
    return sources


def require_same_sources(run: RunDir, sources: Mapping[str, str], changed_data: bool) -> None:
    """Refuse to resume with another model or other samples, but for a change of the file that is allowed."""
    before = checked(dict[str, str], run.load(SOURCES), f"{run.path}: results/sources.json", "start a new run")
    if before.keys() != sources.keys():
        raise LapilliError(f"{run.path}: results/sources.json: not {', '.join(sources)}; start a new run")
    for name in before:
        if before[name] != sources[name] and not (name == "data" and changed_data):
            way = ", or go on with --changed-data" if name == "data" else ""
            raise LapilliError(f"{run.path}: the {name} it began with has changed since; start a new run{way}")


def note_change(run: RunDir, sources: Mapping[str, str], step: int) -> None:
    """Save that the file of samples has changed, if it has."""
    before = run.load(SOURCES)
    if before["data"] != sources["data"]:
        run.save(CHANGED, [*changes(run), {"after_step": step, "from": before["data"], "to": sources["data"]}])
        run.save(SOURCES, sources)


def changes(run: RunDir) -> list[Change]:
    """The changes of the file of samples before the run was resumed, in their order."""
    if not run.has(CHANGED):
        return []
    return checked(list[Change], run.load(CHANGED), f"{run.path}: results/{CHANGED}.json", "start a new run")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
