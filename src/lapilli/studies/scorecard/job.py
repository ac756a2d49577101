"""What a scorecard is made of: a model, data and a plan, and in its run folder the questions that were kept."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, get_args

from lapilli.core import spelling
from lapilli.core.errors import LapilliError
from lapilli.core.placement import AS_STORED, Placement
from lapilli.core.read import checked
from lapilli.core.run import RunDir
from lapilli.data.questions import PictureQuestion
from lapilli.data.scenes.facts import read_scenes
from lapilli.data.scenes.scene import Scene
from lapilli.studies.scorecard.plan import Plan

RESULT = "scorecard"
"""What the run calls all that comes of it."""

Need: TypeAlias = Literal["kept", "overall_color", "most_pictures", "no_picture"]
"""What a right answer needs: the picture, or less than that, for which its question is left out.

    overall_color    no word loses more than VISUAL when the picture is blurred, but one does in the place of others
    most_pictures    the key word does not, at the median, with other pictures in its picture's place
    no_picture       neither
"""


@dataclass(frozen=True)
class Kept:
    """A question that was answered rightly and needs its picture, and another one's picture."""

    question: PictureQuestion
    given: str
    other: str


class _Saved(TypedDict):
    """What a run holds of them."""

    counts: dict[str, int]
    kept: tuple[Kept, ...]


@dataclass(frozen=True)
class Job:
    """All that a process needs to measure cases in the run folder `folder`."""

    folder: Path
    model: Path
    data: Path
    plan: Plan
    placement: Placement = AS_STORED

    @cached_property
    def run(self) -> RunDir:
        """The run."""
        return RunDir.open(self.folder)

    @cached_property
    def kept(self) -> tuple[Kept, ...]:
        """The questions that were kept, once they have been; the numbers of the cases are their places."""
        return kept_of(self.run.load("kept"))

    @property
    def counts(self) -> dict[str, int]:
        """How many questions were asked, right, kept, and left out for what."""
        return _sifted(self.run.load("kept"))["counts"]

    @cached_property
    def scenes(self) -> dict[str, Scene]:
        """The scenes of the data's folder; none of a folder of other pictures."""
        return read_scenes(self.data) if (self.data / "scenes.jsonl").is_file() else {}


def result_of(run: RunDir) -> dict[str, Any]:
    """The result of a finished scorecard, with its counts and types of questions as they are spelled today."""
    card: dict[str, Any] = run.load(RESULT)
    settings = {name: spelling.keys(value) if name == "types" else value for name, value in card["settings"].items()}
    return card | {"counts": spelling.keys(card["counts"]), "settings": settings}


def kept_of(saved: Any) -> tuple[Kept, ...]:
    """The questions that were kept, as a run holds them.

    Raises LapilliError for what is something else, and for what an older version kept, which asked for less.
    """
    return _sifted(saved)["kept"]


def _sifted(saved: Any) -> _Saved:
    """What a run holds of its questions, checked, with counts and types as they are spelled today."""
    again = "remove the run's folder, and run it again"
    record = checked(_Saved, saved, "results/kept.json", again)
    counts = spelling.keys(record["counts"])
    if missing := [name for name in get_args(Need) if name not in counts]:
        raise LapilliError(f"results/kept.json: begun by an older version: no count of {', '.join(missing)}; {again}")
    return {"counts": counts, "kept": tuple(map(_respelled, record["kept"]))}


def _respelled(kept: Kept) -> Kept:
    return replace(kept, question=replace(kept.question, type=spelling.name(kept.question.type)))
