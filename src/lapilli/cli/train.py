"""`lapilli train`: one stage, from a recipe."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from lapilli.cli.console import note, print_json, progress_bar, say, steps
from lapilli.cli.options import decoded
from lapilli.cli.recipes import list_recipes, print_fields, print_recipe
from lapilli.core.errors import LapilliError, UsageError

if TYPE_CHECKING:
    from lapilli.core.run import RunDir
    from lapilli.studies.training import Questions
    from lapilli.training.part_recipe import LanguageRecipe, VisionRecipe
    from lapilli.training.preflight import RunSamples
    from lapilli.training.recipe import TrainRecipe


def register(app: typer.Typer) -> None:
    """Add `lapilli train` to the command line."""
    app.command("train")(_train)


def _train(
    recipe: Annotated[
        Path | None,
        typer.Argument(help="A recipe, such as recipes/align.yaml; without one, lapilli's own are listed."),
    ] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field, such as data.file.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the unfinished run of this recipe.")] = False,
    extend: Annotated[
        str | None,
        typer.Option(
            "--extend",
            metavar="FIELD=N",
            help="Go on with the run of this recipe, finished or not, to a later end: epochs=N or max_steps=N.",
        ),
    ] = None,
    check_pictures: Annotated[
        bool, typer.Option("--check-pictures", help="Decode every picture before the first step.")
    ] = False,
    changed_data: Annotated[
        bool, typer.Option("--changed-data", help="With --resume: go on although the file of samples was changed.")
    ] = False,
    fields: Annotated[bool, typer.Option("--fields", help="List every field of a recipe, and train nothing.")] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Print the recipe with all its fields as YAML, and train nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a stage: `align` the connector, `instruct` it and the language model, or a part: `vision`, `language`."""
    from lapilli.core.recipe import read_recipe
    from lapilli.training.recipe import TrainRecipe, recipe_type

    if fields:
        print_fields(recipe, as_json)
        return
    if recipe is None:
        list_recipes()
        raise UsageError("train: name a recipe, one of these or a file of your own")
    overrides = [decoded("--set", one) for one in override or ()]
    end = [] if extend is None else _end(decoded("--extend", extend))
    resolved = read_recipe(recipe, [*overrides, *end], recipe_type(recipe))
    if show:
        print_recipe(resolved, as_json)
    elif isinstance(resolved, TrainRecipe):
        started = _Started(resume or bool(end), check_pictures, changed_data, extend=bool(end))
        go_on = _command(recipe, overrides, extend)
        _train_stage(resolved, started, go_on, as_json)
    elif check_pictures or changed_data or end:
        options = "--check-pictures, --changed-data and --extend"
        raise UsageError(f"{resolved.stage}: draws its own pictures, in one go; leave {options} out")
    else:
        _train_part(resolved, resume, as_json)


@dataclass(frozen=True)
class _Started:
    """How a run is started."""

    resume: bool
    check_pictures: bool
    changed_data: bool
    extend: bool

    @property
    def allowed(self) -> dict[str, bool]:
        """What a resumed run may have changed since it began, as `train` takes it."""
        return {"changed_data": self.changed_data, "extend": self.extend}


def _end(extension: str) -> list[str]:
    """The overrides that make an extension the only end of a run."""
    field, _, value = extension.partition("=")
    other = {"epochs": "max_steps", "max_steps": "epochs"}.get(field)
    if other is None or not _is_number(value):
        raise UsageError(f"--extend: {extension}; write epochs=N or max_steps=N")
    return [extension, f"{other}=null"]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _train_stage(resolved: "TrainRecipe", started: _Started, go_on: str, as_json: bool) -> None:
    from lapilli.core.run import RunDir
    from lapilli.training.preflight import startable

    with RunDir.alone(resolved.out), TemporaryDirectory() as drawn:
        resolved = startable(resolved, started.resume, started.extend)
        samples = _samples(resolved, started)
        on_eval = _questions(resolved, samples, Path(drawn))
        from lapilli.model.placement import warn_of_slow_precision
        from lapilli.training.loop import StoppedError, train  # last: what is refused should not wait for torch

        warn_of_slow_precision(resolved.precision)
        if on_eval:
            on_eval.require_room()
        try:
            run = train(resolved, started.resume, on_eval=on_eval, samples=samples, **started.allowed)
        except StoppedError as error:
            raise LapilliError(f"{error.reason}; mend that, and go on from step {error.step} with: {go_on}") from error
        except KeyboardInterrupt:
            if (resolved.out / "recipe.yaml").is_file():
                note(f"stopped; go on with: {go_on}")
            raise
    _print_result(run, as_json)


def _print_result(run: "RunDir", as_json: bool) -> None:
    from lapilli.training.preflight import MODEL

    figures = run.load("training")
    if as_json:
        print_json({"run": run.path, "model": run.path / MODEL, **figures})
        return
    if skipped := figures.get("skipped_samples"):
        note(f"{skipped:,} sample{'s were' if skipped > 1 else ' was'} skipped: {run.path / 'results/skipped.json'}")
    note(f"{figures['steps']} steps, {figures['trainable_parameters']} parameters learned, {figures['seconds']:.0f} s")
    _name_report(run.path)
    say(f"{run.path / MODEL}")


def _samples(recipe: "TrainRecipe", started: _Started) -> "RunSamples | None":
    from lapilli.training.preflight import is_trained, run_samples

    if started.changed_data and not started.resume:
        raise UsageError("--changed-data: only with --resume, of a run that has begun")
    if started.resume and is_trained(recipe):  # nothing is read any more
        return None
    with steps() as progress:
        samples = run_samples(recipe, started.check_pictures, progress)
    if samples.skipped:
        first = samples.skipped[0]
        many = len(samples.skipped)
        what = "1 sample is skipped for its picture" if many == 1 else f"{many:,} samples are skipped, the first"
        note(f"{what}: row {first.row}, {first.reason}")
    return samples


def _questions(recipe: "TrainRecipe", samples: "RunSamples | None", drawn: Path) -> "Questions | None":
    """What the model is asked at every evaluation; scenes to ask about are drawn into a folder."""
    if samples is None:
        return None
    from lapilli.studies.training import questions_of

    with steps() as progress:
        return questions_of(recipe, samples, drawn, progress)


def _train_part(resolved: "VisionRecipe | LanguageRecipe", resume: bool, as_json: bool) -> None:
    if resume:
        raise UsageError("a part is trained in one go: remove its folder and start again without --resume")
    from lapilli.core.files import refuse_occupied
    from lapilli.core.run import RunDir
    from lapilli.training.preflight import MODEL

    with RunDir.alone(resolved.out), progress_bar() as bar:
        refuse_occupied(resolved.out)
        from lapilli.training.pebble.parts import train_part  # last, as above

        task = bar.add_task(f"training {resolved.stage}", total=resolved.steps)
        run = train_part(resolved, lambda step: bar.update(task, completed=step), note)
    if as_json:
        print_json({"run": run.path, "model": run.path / MODEL, **run.load("training")})
    else:
        _name_report(run.path)
        say(f"{run.path / MODEL}")


def _name_report(run: Path) -> None:
    note(f"a page of how it went: {shlex.join(['lapilli', 'report', str(run)])}")


def _command(recipe: Path, overrides: list[str], extend: str | None) -> str:
    """What goes on with a run that is stopped, also before it had its later end."""
    sets = [part for override in overrides for part in ("--set", override)]
    return shlex.join(["lapilli", "train", str(recipe), *sets, *(["--extend", extend] if extend else ["--resume"])])
