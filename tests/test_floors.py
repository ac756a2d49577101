"""Imports point strictly downwards, and rooms on one floor do not know each other (CONTRIBUTING.md)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lapilli

FLOORS = (
    {"core"},
    {"data", "model", "report"},
    {"training", "inference", "evaluation", "inspection"},
    {"quickstart", "selftest", "studio"},
    {"cli"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
PACKAGE = Path(lapilli.__file__).parent


def rooms_imported(node, here):
    """The rooms that one import statement, in the module with dotted path `here` below the package, reaches."""
    if isinstance(node, ast.Import):
        paths = [alias.name.split(".") for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = ["lapilli", *here[: len(here) - node.level]] if node.level else []
        base += node.module.split(".") if node.module else []
        paths = [[*base, alias.name] for alias in node.names]
    else:
        paths = []
    return [path[1] for path in paths if path[0] == "lapilli" and len(path) > 1]


def violations(package):
    """Every import, lazy ones too, that does not point strictly downwards, as 'file:line: room -> room'."""
    found = []
    for file in sorted(package.rglob("*.py")):
        here = file.relative_to(package).with_suffix("").parts
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for room in rooms_imported(node, here):
                if room != here[0] and FLOOR_OF.get(room, -1) >= FLOOR_OF.get(here[0], len(FLOORS)):
                    found.append(f"{'/'.join(here)}.py:{node.lineno}: {here[0]} -> {room}")
    return found


def test_imports_point_downwards():
    assert violations(PACKAGE) == []


def test_every_room_has_a_floor():
    rooms = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in PACKAGE.rglob("*.py")} - {"__init__"}
    assert rooms <= set(FLOOR_OF)


@pytest.mark.parametrize(
    ("file", "line", "found"),
    [
        ("core/run.py", "import lapilli.data.sample", "core -> data"),
        ("core/run.py", "from lapilli import model", "core -> model"),
        ("data/encode.py", "from lapilli.model.llava import load", "data -> model"),
        ("data/encode.py", "def f():\n    from ..model import llava", "data -> model"),
        ("data/scenes/draw.py", "from ...training import loop", "data -> training"),
        ("inference/answer.py", "from lapilli.evaluation import scenes", "inference -> evaluation"),
        ("quickstart.py", "from lapilli import cli", "quickstart -> cli"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, file, line, found):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(line)
    assert [violation.split(": ", 1)[1] for violation in violations(tmp_path)] == [found]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("cli/train.py", "from lapilli.training import loop"),
        ("data/encode.py", "from lapilli.core.layout import Role"),
        ("data/scenes/draw.py", "from . import scene\nfrom ..sample import Sample"),
        ("core/run.py", "from lapilli import __version__"),
    ],
)
def test_what_is_allowed_is_not_reported(tmp_path, file, line):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(line)
    assert violations(tmp_path) == []


def test_core_and_the_command_line_start_without_torch():
    """Imported in a fresh process: whatever the test session has loaded does not count."""
    modules = [f"lapilli.core.{file.stem}" for file in (PACKAGE / "core").glob("*.py") if file.stem != "__init__"]
    program = f"import sys, lapilli.cli, {', '.join(modules)}; print(*{{'torch', 'transformers'}} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).split() == []
