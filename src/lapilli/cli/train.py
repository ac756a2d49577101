"""`lapilli train`: one stage, from a recipe."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lapilli.cli.console import note, print_json, progress_bar, say
from lapilli.cli.options import decoded
from lapilli.cli.recipes import list_recipes, print_fields, print_recipe
from lapilli.core.errors import UsageError

if TYPE_CHECKING:
    from lapilli.training.part_recipe import LanguageRecipe, VisionRecipe
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
    resolved = read_recipe(recipe, overrides, recipe_type(recipe))
    if show:
        print_recipe(resolved, as_json)
    elif isinstance(resolved, TrainRecipe):
        _train_stage(resolved, recipe, overrides, resume, as_json)
    else:
        _train_part(resolved, resume, as_json)


def _train_stage(resolved: "TrainRecipe", recipe: Path, overrides: list[str], resume: bool, as_json: bool) -> None:
    from lapilli.training.place import MODEL, startable

    resolved = startable(resolved, resume)
    from lapilli.training.loop import train  # last: what is refused should not wait for torch

    try:
        run = train(resolved, resume)
    except KeyboardInterrupt:
        if (resolved.out / "recipe.yaml").is_file():
            note(f"stopped; go on with: {_command(recipe, overrides)}")
        raise
    figures = run.load("training")
    if as_json:
        print_json({"run": run.path, "model": run.path / MODEL, **figures})
        return
    note(f"{figures['steps']} steps, {figures['trainable_parameters']} parameters learned, {figures['seconds']:.0f} s")
    say(f"{run.path / MODEL}")


def _train_part(resolved: "VisionRecipe | LanguageRecipe", resume: bool, as_json: bool) -> None:
    if resume:
        raise UsageError("a part is trained in one go: remove its folder and start again without --resume")
    from lapilli.core.files import refuse_occupied
    from lapilli.training.place import MODEL

    refuse_occupied(resolved.out)
    from lapilli.training.parts import train_part  # last, as above

    with progress_bar() as bar:
        task = bar.add_task(f"training {resolved.stage}", total=resolved.steps)
        run = train_part(resolved, lambda step: bar.update(task, completed=step), note)
    if as_json:
        print_json({"run": run.path, "model": run.path / MODEL, **run.load("training")})
    else:
        say(f"{run.path / MODEL}")


def _command(recipe: Path, overrides: list[str]) -> str:
    sets = [part for override in overrides for part in ("--set", override)]
    return shlex.join(["lapilli", "train", str(recipe), *sets, "--resume"])
