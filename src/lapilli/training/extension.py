"""A later end of a run: whether it can have one, what of it goes first, and the record of its ends."""

from pathlib import Path
from typing import TypedDict

from lapilli.core.errors import LapilliError
from lapilli.core.files import discard
from lapilli.core.read import checked
from lapilli.core.run import RunDir
from lapilli.training.preflight import CHECKPOINTS, MODEL
from lapilli.training.recipe import Length, TrainRecipe
from lapilli.training.validation import is_exhausted

EXTENDED = "extended"
"""The result of a run whose end was made later: after which step, and both numbers of steps."""

Extension = TypedDict("Extension", {"after_step": int, "from": int, "to": int})
"""One later end of a run, in steps."""


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
