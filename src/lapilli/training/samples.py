"""The samples of a run, read and checked as far as that needs no model: rows, paths and, where asked for, pictures.

Nothing here imports torch. What is left out for its pictures is settled before the first step and kept with the run, so
that a resumed run leaves out the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.progress import Progress
from lapilli.core.read import checked
from lapilli.core.run import RunDir
from lapilli.data.checked import check_paths, check_pictures
from lapilli.data.faults import Fault
from lapilli.data.sample import Sample, read_samples
from lapilli.training.recipe import TrainRecipe

SKIPPED = "skipped"
"""The result of a run that holds what was left out."""


@dataclass(frozen=True)
class Skipped:
    """A sample that is left out: its row in the file, its id, and what is wrong with one of its pictures."""

    row: int
    id: str
    reason: str


@dataclass(frozen=True)
class RunSamples:
    """The samples to learn from, their rows in the file, and those that are left out."""

    samples: tuple[Sample, ...]
    rows: tuple[int, ...]
    skipped: tuple[Skipped, ...]


def run_samples(recipe: TrainRecipe, check: bool = False, progress: Progress | None = None) -> RunSamples:
    """The samples of the recipe's file.

    The paths of all pictures are looked at; with `check`, and where bad pictures are to be skipped, all are decoded. A
    run that has begun skips what it skipped then, and nothing more. Raises LapilliError for a bad row, for no samples,
    for a bad picture unless it is to be skipped, where nothing is left, and where what was skipped has moved in its
    file; UsageError where pictures are shown and their folder is not named.
    """
    samples = read_samples(recipe.data.file)
    if not samples:
        raise LapilliError(f"{recipe.data.file}: no samples; a training needs at least one")
    settled = _skipped_before(recipe, samples) if recipe.on_bad_picture == "skip" else []  # None: it is settled now
    kept = _without(samples, settled or [])
    bad = _bad_pictures(recipe, kept.samples, check or settled is None, progress)
    if settled is not None:
        if bad:
            raise _refusal(recipe, kept, bad)
        return kept
    found = _without(samples, _skipped(samples, bad))
    if not found.samples:
        raise LapilliError(
            f"{recipe.data.images}: no sample is left whose pictures can be read: {found.skipped[0].reason}"
        )
    return found


def _bad_pictures(
    recipe: TrainRecipe, samples: Sequence[Sample], decode: bool, progress: Progress | None
) -> dict[str, Fault]:
    names = dict.fromkeys(name for sample in samples for name in sample.images)
    if not names:
        return {}
    if recipe.data.images is None:
        raise UsageError(f"data.images: missing, but {recipe.data.file} shows pictures; name their folder")
    if decode:
        return check_pictures(recipe.data.images, names, progress)
    return check_paths(recipe.data.images, names)


def _refusal(recipe: TrainRecipe, kept: RunSamples, bad: dict[str, Fault]) -> LapilliError:
    named = [(row, name) for row, sample in zip(kept.rows, kept.samples, strict=True) for name in sample.images]
    row, name = next((row, name) for row, name in named if name in bad)
    where, what = f"row {row}, {bad[name].message}", bad[name].remedy
    if len(bad) == 1:
        return LapilliError(f"{recipe.data.file}, {where}; {what}")
    count = len({name for _, name in named})
    first = f"{recipe.data.images}: {len(bad)} of {count} pictures cannot be read, such as that of {where}"
    return LapilliError(f"{first}; correct data.images, or {what}; `lapilli data validate` lists all")


def _skipped(samples: Sequence[Sample], bad: dict[str, Fault]) -> list[Skipped]:
    firsts = ((row, sample, [bad[name] for name in sample.images if name in bad]) for row, sample in enumerate(samples))
    return [Skipped(row, sample.id, found[0].message) for row, sample, found in firsts if found]


def _skipped_before(recipe: TrainRecipe, samples: Sequence[Sample]) -> list[Skipped] | None:
    """What the run that is there has left out, if it came as far as to say so; the file may have been changed since."""
    if not (recipe.out / "recipe.yaml").is_file():
        return None
    run = RunDir.open(recipe.out)
    if not run.has(SKIPPED):
        return None
    skipped = checked(list[Skipped], run.load(SKIPPED), f"{run.path}: results/{SKIPPED}.json", "start a new run")
    for one in skipped:
        if not (0 <= one.row < len(samples) and samples[one.row].id == one.id):
            what = f"row {one.row} is no longer the sample {one.id!r}, which the run skipped"
            raise LapilliError(f"{recipe.data.file}: {what}; put it back there, or start a new run")
    return skipped


def _without(samples: Sequence[Sample], skipped: Sequence[Skipped]) -> RunSamples:
    left_out = {one.row for one in skipped}
    rows = tuple(row for row in range(len(samples)) if row not in left_out)
    return RunSamples(tuple(samples[row] for row in rows), rows, tuple(skipped))
