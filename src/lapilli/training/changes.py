"""What may change between two processes of a run, and the record of it: its sources, and its end.

The sources are the model and the data that the run starts from; only the file of samples may change, where that is
allowed. The end may become later: whether it can, and what of the run goes first.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

from lapilli.core.errors import LapilliError
from lapilli.core.files import discard, sha256
from lapilli.core.read import checked
from lapilli.core.run import RunDir
from lapilli.model.parts import origin
from lapilli.training.preflight import CHECKPOINTS, MODEL
from lapilli.training.recipe import Length, TrainRecipe
from lapilli.training.validation import is_exhausted

SOURCES = "sources"
"""The result of a run that has the checksums."""

CHANGED = "changed_data"
"""The result of a run that was resumed after its file of samples was changed: the step, and both checksums."""

Change = TypedDict("Change", {"after_step": int, "from": str, "to": str})
"""One change of the file of samples."""

EXTENDED = "extended"
"""The result of a run whose end was made later: after which step, and both numbers of steps."""

Extension = TypedDict("Extension", {"after_step": int, "from": int, "to": int})
"""One later end of a run, in steps."""


def sources_of(recipe: TrainRecipe, model: Path, samples: int) -> dict[str, str]:
    """The checksums of the model's folder and of the recipe's files, and how many samples are learned from."""
    sources = {"model": origin(model).sha256, "data": sha256(recipe.data.file), "number of samples": str(samples)}
    if recipe.data.validation:
        sources["validation data"] = sha256(recipe.data.validation)
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


def require_extendable(run: RunDir, begun: TrainRecipe, checkpoint: Path | None) -> None:
    """Refuse a later end where the run would begin again at its first step, or end where it did."""
    trained = (run.path / MODEL).exists()
    if trained and checkpoint is None:
        raise LapilliError(f"{run.path / CHECKPOINTS}: no whole checkpoint to go on from; train its model in a new run")
    if is_exhausted(run, begun.validation):
        remedy = "train its model in a new run" if trained else "finish it with --resume"
        raise LapilliError(f"{run.path}: its patience ended it, and would again; {remedy}")


def remove_model(run: RunDir) -> None:
    """Make the run one that is not trained; killed in between, it lacks its manifest alone."""
    run.reopen()
    discard(run.path / MODEL)
    run.product("training").unlink(missing_ok=True)


def note_extension(run: RunDir, before: Length, after: Length, step: int) -> None:
    """Save that the run's end is later from this step on, if it is.

    Ends that are later than `before` are forgotten: a process that saved them was killed before the recipe had them.
    """
    saved = extensions(run)
    ends = [end for end in saved if end["to"] <= before.steps]
    if after.steps > before.steps:
        ends.append({"after_step": step, "from": before.steps, "to": after.steps})
    if ends and ends != saved:
        run.save(EXTENDED, ends)
    elif not ends:
        run.product(EXTENDED).unlink(missing_ok=True)


def extensions(run: RunDir) -> list[Extension]:
    """The later ends of the run, in their order."""
    if not run.has(EXTENDED):
        return []
    return checked(list[Extension], run.load(EXTENDED), f"{run.path}: results/{EXTENDED}.json", "start a new run")
