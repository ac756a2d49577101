"""All that is checked of a run before torch is imported: its folder, its files, its samples and their pictures.

A refusal takes no longer than reading a recipe. Samples that are left out for their pictures are settled here, before
the first step, and saved with the run, so that a resumed run leaves out the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.files import refuse_occupied
from lapilli.core.progress import Progress
from lapilli.core.read import checked
from lapilli.core.recipe import read_recipe
from lapilli.core.run import RunDir
from lapilli.data.faults import Fault
from lapilli.data.pictures import check_paths, check_pictures
from lapilli.data.sample import Sample, read_samples
from lapilli.data.split import rows_aside, with_other_pictures
from lapilli.model.hub import pinned
from lapilli.training.recipe import Length, TrainRecipe
from lapilli.training.tuning import LlmTuning, with_layers_read

MODEL = "model"
"""The folder of the trained model or part, inside the run's."""

CHECKPOINTS = "checkpoints"
"""The folder of a run's checkpoints, while it has any."""

ASIDE = "validation_rows"
"""The result of a run that lists the samples that were set aside for validation."""

SKIPPED = "skipped"
"""The result of a run that lists the samples that were left out."""

START = "start"
"""The result of a run that says how large it is."""

_LENGTH = ("epochs", "max_steps")
_FREE_ON_RESUME = ("out", "save_every", "keep_checkpoint", "log_every", "workers", "report_to")
"""What changes no figure; `out` is another name of the folder in which the run was found."""


def startable(recipe: TrainRecipe, resume: bool, extend: bool = False) -> TrainRecipe:
    """Return the recipe, with the commit of a model of the hub and the layers of a file in it.

    So the run's recipe names the very weights. With `resume` and `extend`, the run may be of fewer steps than the
    recipe, and finished.

    Raises LapilliError for a run that exists already, a resumption of one that does not, and a missing file;
    UsageError for a model that is neither a folder nor an id, and where a resumed run began with another recipe.
    """
    recipe = replace(recipe, model=pinned(recipe.model), llm=_llm(recipe, resume))
    _require_trackers(recipe)
    _require_place(recipe, resume, extend)
    if not is_trained(recipe):
        _require_data(recipe)
    return recipe


def _llm(recipe: TrainRecipe, resume: bool) -> LlmTuning:
    """How the language model is tuned, with the layers of a file: those that a resumed run read, if it is gone."""
    if resume and isinstance(recipe.llm.layers, str) and not Path(recipe.llm.layers).is_file():
        recipe = replace(recipe, llm=replace(recipe.llm, layers=_begun(recipe).llm.layers))
    return with_layers_read(recipe.llm)


def _require_trackers(recipe: TrainRecipe) -> None:
    """Refuse a program that is not installed: the run would end at its first line."""
    packages = {"tensorboard": ("tensorboard", "tensorboardX")}
    for tracker in recipe.report_to:
        names = packages.get(tracker, (tracker,))
        if not any(find_spec(name) for name in names):
            raise UsageError(f"report_to: {tracker}: not installed; pip install {names[0]}, or leave it out")


def is_trained(recipe: TrainRecipe) -> bool:
    """Whether nothing is left to train: the model is written after all else, and appears as a whole."""
    return (recipe.out / MODEL).exists() and not is_extended(recipe)


def is_extended(recipe: TrainRecipe) -> bool:
    """Whether the run at the recipe's folder has another end than the recipe."""
    return any(getattr(_begun(recipe), name) != getattr(recipe, name) for name in _LENGTH)


def _begun(recipe: TrainRecipe) -> TrainRecipe:
    """The recipe of the run in the recipe's folder; itself where there is none."""
    file = recipe.out / "recipe.yaml"
    return read_recipe(file, [], TrainRecipe) if file.is_file() else recipe


def _require_data(recipe: TrainRecipe) -> None:
    if not recipe.data.file.exists():
        raise LapilliError(f"{recipe.data.file}: cannot be read: no such file; correct data.file")
    if recipe.data.images is not None and not recipe.data.images.is_dir():
        raise LapilliError(f"{recipe.data.images}: no such folder; correct data.images")
    if recipe.data.validation is not None and not recipe.data.validation.exists():
        raise LapilliError(f"{recipe.data.validation}: cannot be read: no such file; correct data.validation")


def _require_place(recipe: TrainRecipe, resume: bool, extend: bool) -> None:
    if not (recipe.out / "recipe.yaml").is_file():
        if resume:
            raise LapilliError(f"{recipe.out}: no run to resume; start it without --resume")
        refuse_occupied(recipe.out)
        return
    finished = RunDir.open(recipe.out).is_complete
    if finished and not extend:
        raise LapilliError(f"{recipe.out}: the run there has finished; name another out, or remove the folder")
    if not resume:
        raise LapilliError(f"{recipe.out}: an unfinished run is there; go on with --resume, or remove the folder")
    begun = _begun(recipe)
    _require_same(recipe, begun, _FREE_ON_RESUME + (_LENGTH if extend else ()))
    if extend:
        _require_longer(recipe, begun, finished)


def _require_same(recipe: TrainRecipe, begun: TrainRecipe, free: Sequence[str]) -> None:
    for field in fields(TrainRecipe):
        old, new = getattr(begun, field.name), getattr(recipe, field.name)
        if old != new and field.name not in free:
            raise UsageError(f"{field.name}: {new}, but the run at {recipe.out} began with {old}; change it back")


def _require_longer(recipe: TrainRecipe, begun: TrainRecipe, finished: bool) -> None:
    """Refuse an end that is not later than the run's, and a trained run without a checkpoint to go on from."""
    trained = finished or ((recipe.out / MODEL).exists() and is_extended(recipe))  # else it lacks its manifest alone
    if trained and not (recipe.out / CHECKPOINTS).is_dir():
        what = "the run has finished without a checkpoint to go on from, as keep_checkpoint leaves one"
        raise LapilliError(f"{recipe.out}: {what}; train its model in a new run")
    if not (size := size_of(RunDir.open(recipe.out))):  # killed before its first step
        return
    before, after = Length(begun, size.samples).steps, Length(recipe, size.samples).steps
    if after < before or (trained and after == before):
        raise UsageError(f"--extend: {after:,} steps, but the run at {recipe.out} has {before:,}; name a later end")


@dataclass(frozen=True)
class RunSize:
    """The samples that a run learns from, and its steps, as its `START` has them."""

    samples: int
    steps: int


def size_of(run: RunDir) -> RunSize | None:
    """How large the run is; None where that was not saved. Raises LapilliError for a damaged file."""
    if not run.has(START):
        return None
    return checked(RunSize, run.load(START), f"{run.path}: results/{START}.json", "start a new run")


@dataclass(frozen=True)
class Skipped:
    """A sample that is left out: its row in the file, its id, and the fault of one of its pictures."""

    row: int
    id: str
    reason: str


@dataclass(frozen=True)
class Aside:
    """A sample that is set aside for validation: its row in the file, and its id."""

    row: int
    id: str


@dataclass(frozen=True)
class RunSamples:
    """The samples to learn from, their rows in the file, those that are left out, and those to validate on.

    `validation_rows` are the rows of the last, in their own file where the recipe names one.
    """

    samples: tuple[Sample, ...]
    rows: tuple[int, ...]
    skipped: tuple[Skipped, ...]
    validation: tuple[Sample, ...] = ()
    validation_rows: tuple[int, ...] = ()

    @property
    def aside(self) -> list[Aside]:
        """The samples to validate on, as a run lists them."""
        return [Aside(row, sample.id) for row, sample in zip(self.validation_rows, self.validation, strict=True)]


def run_samples(recipe: TrainRecipe, check: bool = False, progress: Progress | None = None) -> RunSamples:
    """Read the samples of the recipe's file, and those to validate on.

    The paths of all pictures are checked; with `check`, and where bad pictures are to be skipped, all are decoded. A
    resumed run skips the samples that it skipped when it began, and no more. Raises LapilliError for a bad row, for no
    samples, for a bad picture unless it is to be skipped, where no sample is left, and where a skipped sample has moved
    in its file; UsageError where samples name pictures and the recipe no folder.
    """
    own = _own_samples(recipe, check, progress)
    if not recipe.data.shuffle_pictures:
        return own
    try:
        return replace(own, samples=with_other_pictures(own.samples, recipe.seed))
    except LapilliError as error:
        raise LapilliError(f"{recipe.data.file}: {error}; leave data.shuffle_pictures out") from error


def _own_samples(recipe: TrainRecipe, check: bool, progress: Progress | None) -> RunSamples:
    """Samples with their own pictures."""
    samples = read_samples(recipe.data.file)
    if not samples:
        raise LapilliError(f"{recipe.data.file}: no samples; a training needs at least one")
    settled = _skipped_before(recipe, samples) if recipe.on_bad_picture == "skip" else []
    candidates = _without(samples, settled or [])
    bad = _bad_pictures(recipe, candidates.samples, check or settled is None, progress)
    if settled is not None:
        if bad:
            raise _refusal(recipe, candidates, bad)
        return _with_validation(recipe, candidates, check, progress)
    chosen = _without(samples, _skipped(samples, bad))  # a new run: what it skips is settled now
    if not chosen.samples:
        raise LapilliError(
            f"{recipe.data.images}: no sample is left whose pictures can be read: {chosen.skipped[0].reason}"
        )
    return _with_validation(recipe, chosen, check, progress)


def _with_validation(recipe: TrainRecipe, samples: RunSamples, check: bool, progress: Progress | None) -> RunSamples:
    """Set the recipe's share of the samples aside, or read its file of others.

    Raises LapilliError where nothing can be set aside, or a picture of that file cannot be read.
    """
    if recipe.data.validation:
        others = read_samples(recipe.data.validation)
        if not others:
            raise LapilliError(f"{recipe.data.validation}: no samples; name others, or leave data.validation out")
        candidates, decode = _without(others, []), check or recipe.on_bad_picture == "skip"
        if bad := _bad_pictures(recipe, others, decode, progress):
            raise _refusal(recipe, candidates, bad, recipe.data.validation)
        return replace(samples, validation=candidates.samples, validation_rows=candidates.rows)
    if not recipe.data.validation_share:
        return samples
    aside = _rows_aside(recipe, samples)
    numbered = list(zip(samples.rows, samples.samples, strict=True))
    rows, learned = zip(*(pair for pair in numbered if pair[0] not in aside), strict=True)
    aside_rows, kept = zip(*(pair for pair in numbered if pair[0] in aside), strict=True)
    return RunSamples(learned, rows, samples.skipped, kept, aside_rows)


def _rows_aside(recipe: TrainRecipe, samples: RunSamples) -> set[int]:
    """The rows to set aside: those that the unfinished run did, or about as many as the recipe's share."""
    share = recipe.data.validation_share or 0.0
    if (recipe.out / "recipe.yaml").is_file() and (run := RunDir.open(recipe.out)).has(ASIDE):
        where = f"{run.path}: results/{ASIDE}.json"
        settled = checked(list[Aside], run.load(ASIDE), where, "start a new run")
        ids = dict(zip(samples.rows, (sample.id for sample in samples.samples), strict=True))
        if moved := next((one for one in settled if ids.get(one.row) != one.id), None):
            what = f"row {moved.row} is no longer the sample {moved.id!r}, which the run set aside"
            raise LapilliError(f"{recipe.data.file}: {what}; put it back there, or start a new run")
        return {one.row for one in settled}
    chosen = rows_aside(samples.samples, share, recipe.seed)
    if not chosen or len(chosen) > max(2 * share * len(samples.samples), 1):
        least = f"{len(chosen)} of {len(samples.samples)} are the fewest" if chosen else "all share pictures"
        what = f"no share of about {share:g} can be set aside by picture ({least})"
        raise LapilliError(f"{recipe.data.file}: {what}; name a file in data.validation")
    return {samples.rows[index] for index in chosen}


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


def _refusal(
    recipe: TrainRecipe, candidates: RunSamples, bad: dict[str, Fault], file: Path | None = None
) -> LapilliError:
    rows = zip(candidates.rows, candidates.samples, strict=True)
    pictures = [(row, name) for row, sample in rows for name in sample.images]
    row, name = next((row, name) for row, name in pictures if name in bad)
    where, what = f"row {row}, {bad[name].message}", bad[name].remedy
    if len(bad) == 1:
        return LapilliError(f"{file or recipe.data.file}, {where}; {what}")
    count = len({name for _, name in pictures})
    first = f"{recipe.data.images}: {len(bad)} of {count} pictures cannot be read, such as that of {where}"
    return LapilliError(f"{first}; correct data.images, or {what}; `lapilli data validate` lists all")


def _skipped(samples: Sequence[Sample], bad: dict[str, Fault]) -> list[Skipped]:
    rows = ((row, sample, [bad[name] for name in sample.images if name in bad]) for row, sample in enumerate(samples))
    return [Skipped(row, sample.id, faults[0].message) for row, sample, faults in rows if faults]


def _skipped_before(recipe: TrainRecipe, samples: Sequence[Sample]) -> list[Skipped] | None:
    """Return the samples that the unfinished run skips; None where none began, or it was killed at once."""
    if not (recipe.out / "recipe.yaml").is_file():
        return None
    run = RunDir.open(recipe.out)
    if not run.has(SKIPPED):
        return None
    skipped = checked(list[Skipped], run.load(SKIPPED), f"{run.path}: results/{SKIPPED}.json", "start a new run")
    for sample in skipped:  # the file may have been changed since
        if not (0 <= sample.row < len(samples) and samples[sample.row].id == sample.id):
            what = f"row {sample.row} is no longer the sample {sample.id!r}, which the run skipped"
            raise LapilliError(f"{recipe.data.file}: {what}; put it back there, or start a new run")
    return skipped


def _without(samples: Sequence[Sample], skipped: Sequence[Skipped]) -> RunSamples:
    left_out = {sample.row for sample in skipped}
    rows = tuple(row for row in range(len(samples)) if row not in left_out)
    return RunSamples(tuple(samples[row] for row in rows), rows, tuple(skipped))
