"""Every whole number that a user can give is held between two others, before anything is begun."""

from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest

from lapilli.cli import app, run
from lapilli.cli.options import MOST_SEED
from lapilli.core.errors import UsageError
from lapilli.core.fields import list_fields
from lapilli.core.recipe import read_recipe
from lapilli.training.recipe import RECIPES

STAGES = {"align": "align", "instruct": "instruct", "vision": "pebble-vision", "language": "pebble-lm"}


def _numbers(commands):
    """Name, and what typer is told, of every option that is a whole number."""
    for command in commands.registered_commands:
        for name, hint in get_type_hints(command.callback, include_extras=True).items():
            if get_origin(hint) is Annotated and get_args(hint)[0] in (int, int | None) and name != "bits":  # 8 or 4
                yield f"{command.callback.__name__} {name}", get_args(hint)[1]
    for group in commands.registered_groups:
        yield from _numbers(group.typer_instance)


OPTIONS = dict(_numbers(app))


def test_there_are_options_to_look_at():
    assert {"quickstart seed", "scorecard processes", "color questions", "_scenes count", "_explain seed"} <= set(
        OPTIONS
    )


@pytest.mark.parametrize("name", list(OPTIONS))
def test_an_option_has_a_least_and_a_most(name):
    least, most = OPTIONS[name].min, OPTIONS[name].max
    assert least is not None
    assert most is not None
    if name.endswith(" seed"):
        assert (least, most) == (0, MOST_SEED)


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("scorecard nowhere nowhere --out {} --processes 100000", "--processes"),
        ("scorecard nowhere nowhere --out {} --questions 1000000000000", "--questions"),
        ("study hallucination nowhere --data nowhere --out {} --seed 4294967296", "--seed"),
        ("compare nowhere nowhere nowhere --out {} --samples 1000000000000", "--samples"),
        ("patch nowhere nowhere nowhere --out {} --samples 1000000000000", "--samples"),
        ("judge nowhere --answers n --references n --model m --out {} --samples 1000", "--samples"),
        ("quickstart --out {} --seed -1", "--seed"),
        ("data scenes {} --count 100000000000000000000000000000", "--count"),
    ],
)
def test_a_number_without_bound_is_refused_before_anything_is_written(line, option, tmp_path, capsys):
    assert run(line.format(tmp_path / "out").split()) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"lapilli: Invalid value for '{option}': ")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [10**30, -(10**30), 2**63])
@pytest.mark.parametrize("stage", list(STAGES))
def test_a_recipe_holds_no_number_without_bound(stage, value):
    given = ["model=m", "data.file=f", "out=o"] if stage in ("align", "instruct") else ["out=o"]
    fields = [info for info in list_fields(RECIPES[stage]) if "whole number" in info.type and "[]" not in info.field]
    assert len(fields) > 4
    for info in fields:
        with pytest.raises(UsageError, match=f"{info.field}: {value}; it must be "):
            read_recipe(Path(f"recipes/{STAGES[stage]}.yaml"), [*given, f"{info.field}={value}"], RECIPES[stage])
