"""Imports point strictly downwards, between rooms and inside them (CONTRIBUTING.md)."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import lapilli

FLOORS = (
    {"core"},
    {"data", "model", "report"},
    {"training", "inference", "evaluation", "inspection"},
    {"studies"},
    {"selftest", "api"},
    {"cli"},
)
"""The floors of the package, the lowest first. Rooms on one floor do not know each other."""

SUB_FLOORS = {
    "data": ({"scenes", "plain"}, {"generation"}),
    "evaluation": ({"published"}, {"judging"}),
    "inspection": ({"attribution", "measures"}, {"intervention"}),
    "report": (
        {"kit"},
        {"quickstart", "explanation", "scorecard", "color", "hallucination", "compare", "patch", "claims"}
        | {"evaluation", "training", "scoring", "judging"},
    ),
}
"""The floors inside a room, above the room's own files. Where none are stated the rooms inside are on one floor."""

ON_TOP = {"model/llava", "studies/scorecard/run", "studies/scorecard/assemble"}
"""Files that stand above the rooms beside them, as they join what these hold."""

PACKAGE = Path(lapilli.__file__).parent


def imported(node, here):
    """The paths below the package, as tuples, that one import statement in the module `here` reaches."""
    if isinstance(node, ast.Import):
        paths = [alias.name.split(".") for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = ["lapilli", *here[: len(here) - node.level]] if node.level else []
        base += node.module.split(".") if node.module else []
        paths = [[*base, alias.name] for alias in node.names]
    else:
        paths = []
    return [tuple(path[1:]) for path in paths if path[0] == "lapilli" and len(path) > 1]


def floor_of(room, floors):
    return next((number for number, rooms in enumerate(floors) if room in rooms), None)


def fault(here, there, package):
    """What is wrong with an import of `there` in the module `here`, or nothing."""
    level = next((n for n, (one, other) in enumerate(zip(here, there, strict=False)) if one != other), None)
    if level is None:
        return None
    inside, ours, theirs = "/".join(here[:level]), here[level], there[level]
    from_file, to_room = level == len(here) - 1, (package / inside / theirs).is_dir() or not inside
    if not inside:
        above, below = floor_of(ours, FLOORS), floor_of(theirs, FLOORS)
        fine = here == ("__init__",) or below is None or (above is not None and above > below)
    elif not to_room:
        fine = f"{inside}/{theirs}" not in ON_TOP or "/".join(here) in ON_TOP
    elif from_file:
        fine = ours == "__init__" or "/".join(here) in ON_TOP
    else:
        above, below = (floor_of(room, SUB_FLOORS.get(inside, ())) for room in (ours, theirs))
        fine = above is not None and below is not None and above > below
    return None if fine else f"{'/'.join((*here[:level], ours))} -> {'/'.join((*here[:level], theirs))}"


def violations(package):
    """Every import, lazy ones too, that does not point strictly downwards, as 'file:line: room -> room'."""
    found = []
    for file in sorted(package.rglob("*.py")):
        here = file.relative_to(package).with_suffix("").parts
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            faults = {fault(here, there, package) for there in imported(node, here)} - {None}
            found += [f"{'/'.join(here)}.py:{node.lineno}: {one}" for one in sorted(faults)]
    return found


def test_imports_point_downwards():
    assert violations(PACKAGE) == []


def test_every_room_has_a_floor():
    rooms = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in PACKAGE.rglob("*.py")} - {"__init__"}
    assert rooms == set().union(*FLOORS)
    for room, floors in SUB_FLOORS.items():
        assert {path.parent.name for path in (PACKAGE / room).glob("*/__init__.py")} == set().union(*floors)
    assert all((PACKAGE / f"{name}.py").is_file() for name in ON_TOP)


@pytest.mark.parametrize(
    ("file", "line", "found"),
    [
        ("core/run.py", "import lapilli.data.sample", "core -> data"),
        ("core/run.py", "from lapilli import model", "core -> model"),
        ("data/encode.py", "from lapilli.model.llava import load", "data -> model"),
        ("data/encode.py", "def f():\n    from ..model import llava", "data -> model"),
        ("data/scenes/draw.py", "from ...training import loop", "data -> training"),
        ("inference/answer.py", "from lapilli.evaluation import scenes", "inference -> evaluation"),
        ("training/loop.py", "from lapilli.studies import steps", "training -> studies"),
        ("studies/steps.py", "from lapilli import cli", "studies -> cli"),
        ("data/encode.py", "from lapilli.data.scenes.draw import draw", "data/encode -> data/scenes"),
        ("model/parts.py", "from lapilli.model import llava", "model/parts -> model/llava"),
        ("model/checkpoints/read.py", "from lapilli.model.llava import join", "model/checkpoints -> model/llava"),
        (
            *("inspection/attribution/direct.py", "from lapilli.inspection.intervention import removal"),
            "inspection/attribution -> inspection/intervention",
        ),
        (
            *("studies/color/study.py", "from lapilli.studies.explain.findings import explain"),
            "studies/color -> studies/explain",
        ),
        ("report/kit/svg.py", "from lapilli.report.color import page", "report/kit -> report/color"),
        ("report/color/page.py", "from ..scorecard import page", "report/color -> report/scorecard"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, file, line, found):
    for room in ("data/scenes", "inspection/intervention", "studies/explain", "report/color", "report/scorecard"):
        (tmp_path / room).mkdir(parents=True, exist_ok=True)
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
        ("model/llava.py", "from lapilli.model.checkpoints.read import read"),
        ("inspection/intervention/image_routes.py", "from lapilli.inspection.attribution.direct import decompose"),
        ("inspection/attribution/direct.py", "from lapilli.inspection import trace"),
        ("studies/color/study.py", "from lapilli.studies.steps import walk"),
    ],
)
def test_what_is_allowed_is_not_reported(tmp_path, file, line):
    for room in ("model/checkpoints", "inspection/attribution"):
        (tmp_path / room).mkdir(parents=True)
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(line)
    assert violations(tmp_path) == []


def modules():
    """Every module's path below the package, as a tuple, with its tree."""
    files = {file.relative_to(PACKAGE).with_suffix("").parts: file for file in PACKAGE.rglob("*.py")}
    return {here: ast.parse(file.read_text(encoding="utf-8")) for here, file in files.items()}


def for_types_alone(tree):
    """The statements that only the type checker reads."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return {inner for block in blocks for inner in ast.walk(block)}


def test_no_module_imports_itself_by_way_of_others():
    trees, graph = modules(), {}
    for here, tree in trees.items():
        nodes = set(ast.walk(tree)) - for_types_alone(tree)
        paths = {path for node in nodes for path in imported(node, here)}
        graph[here] = {path if path in trees else path[:-1] for path in paths} & trees.keys() - {here}
    TopologicalSorter(graph).prepare()


def test_no_folder_holds_more_than_its_share():
    """A folder's own files: what is in rooms inside it is theirs."""
    lines = {file: file.read_text(encoding="utf-8").count("\n") for file in PACKAGE.rglob("*.py")}
    folders = {file.parent for file in lines}
    held = {folder: sum(count for file, count in lines.items() if file.parent == folder) for folder in folders}
    assert max(held.values()) < 0.15 * sum(lines.values())


def test_core_and_the_command_line_start_without_torch():
    """Imported in a fresh process: whatever the test session has loaded does not count."""
    names = [".".join(("lapilli", *here)) for here in modules() if here[0] == "core" and here[-1] != "__init__"]
    program = f"import sys, lapilli.cli, {', '.join(names)}; print(*{{'torch', 'transformers'}} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).split() == []
