"""`lapilli train`: one stage, from a recipe."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from lapilli.cli.console import note, print_json, progress_bar, say
from lapilli.core.errors import UsageError

PARTS = ("vision", "language")
"""The stages that train a part from nothing."""


def register(app: typer.Typer) -> None:
    """Add `lapilli train` to the command line."""
    app.command("train")(_train)


def _train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as recipes/align.yaml.", show_default=False)],
    override: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field, such as data.file.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the unfinished run of this recipe.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a stage: `align` the connector, `instruct` it and the language model, or a part: `vision`, `language`."""
    from lapilli.core.recipe import read_recipe, stage_of
    from lapilli.training.place import MODEL, require_startable
    from lapilli.training.recipe import TrainRecipe

    overrides = override or []
    if stage_of(recipe) in PARTS:
        _train_part(recipe, overrides, resume, as_json)
        return
    resolved = read_recipe(recipe, overrides, TrainRecipe)
    require_startable(resolved, resume)
    from lapilli.training.loop import train  # last: what was refused should not have waited for torch

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


def _train_part(recipe: Path, overrides: list[str], resume: bool, as_json: bool) -> None:
    if resume:
        raise UsageError("a part is trained in one go: remove its folder and start again without --resume")
    from lapilli.core.files import refuse_occupied
    from lapilli.core.recipe import read_recipe, stage_of
    from lapilli.training.part_recipes import RECIPES
    from lapilli.training.place import MODEL

    resolved = read_recipe(recipe, overrides, RECIPES[stage_of(recipe)])
    refuse_occupied(resolved.out)
    from lapilli.training.parts import train_part  # last, as above

    with progress_bar() as bar:
        task = bar.add_task(f"training {resolved.stage}", total=resolved.steps)
        run = train_part(resolved, lambda step: bar.update(task, completed=step))
    if as_json:
        print_json({"run": run.path, "model": run.path / MODEL, **run.load("training")})
    else:
        say(f"{run.path / MODEL}")


def _command(recipe: Path, overrides: list[str]) -> str:
    sets = [part for override in overrides for part in ("--set", override)]
    return shlex.join(["lapilli", "train", str(recipe), *sets, "--resume"])
