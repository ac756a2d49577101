"""Recipes on the command line: which there are, what fields they have, and what one comes to."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Column, Table

from lapilli.cli.console import note, print_json, results, say
from lapilli.core.plain import json_text

if TYPE_CHECKING:
    from lapilli.core.fields import FieldInfo


def list_recipes() -> None:
    """Name the recipes that come with the package on stderr, each with its first line."""
    from lapilli.core.recipe import shipped_recipes

    shipped = shipped_recipes()
    for name, line in shipped.items():
        note(f"{name:{max(map(len, shipped))}}  {line}")


def print_recipe(resolved: Any, as_json: bool) -> None:
    """Print a recipe with all its fields: YAML that is read back to an equal recipe, or one JSON object."""
    from lapilli.core.recipe import as_dict, dump

    if as_json:
        print_json(as_dict(resolved))
    else:
        say(dump(resolved).rstrip("\n"))


def print_fields(recipe: Path | None, as_json: bool) -> None:
    """List the fields of the recipes of this one's stage; without one, those of LLaVA's two stages."""
    from lapilli.core.fields import list_fields
    from lapilli.training.recipe import RECIPES, TrainRecipe, recipe_type

    kind = TrainRecipe if recipe is None else recipe_type(recipe)
    stages, infos = [name for name, one in RECIPES.items() if one is kind], list_fields(kind)
    if as_json:
        print_json({"stages": stages, "fields": infos})
        return
    results.print(_table(stages, infos))
    if recipe is None:
        note("the parts have other fields: lapilli train recipes/pebble-lm.yaml --fields, recipes/pebble-vision.yaml")


def _table(stages: list[str], infos: "list[FieldInfo]") -> Table:
    title = f"fields of the recipes of {' and '.join(stages)}"
    table = Table(Column("field", no_wrap=True), "type", "default", "meaning", title=title)
    for info in infos:
        default = "required" if info.required else json_text(info.default).strip('"')
        table.add_row(info.field, info.type, default, info.meaning)
    return table
