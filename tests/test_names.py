"""Names that say what they hold, and calls that a reader can follow (CONTRIBUTING.md)."""

import ast
from pathlib import Path

import pytest

import lapilli

PACKAGE = Path(lapilli.__file__).parent

BANNED = {"eye", "voice", "told", "given", "asked", "held", "seen", "found", "said", "looks"}
"""Names that hide a standard term (vision, language, attention), or say nothing of what they hold."""

KEPT_IN_FILES = {("studies/scorecard/job.py", "given")}
"""Keys of saved results, whose files an earlier release has written."""

ROOT = Path(__file__).parent.parent

SPELLED = ("src", "docs", "benchmarks", "tests", "README.md", "CONTRIBUTING.md", "pyproject.toml")
"""Where `color` has one spelling. The change log and the log tell the past in its own words."""

SPELLED_OTHERWISE = {
    "src/lapilli/core/spelling.py": "what earlier versions wrote",
    "src/lapilli/cli/study.py": "the command's earlier name, which still runs it",
    "src/lapilli/studies/color/conditions.py": "seeds, which hold a type as it was spelled",
    "benchmarks/parts.py": "seeds, which hold a type as it was spelled",
    "benchmarks/same_numbers.py": "commands and files of earlier commits",
    "tests/test_names.py": "this list",
    "tests/test_spelling.py": "files of earlier versions",
    "tests/studies/quickstart/test_journey.py": "files of earlier versions",
    "tests/cli/test_study_color.py": "the command's earlier name",
}
"""The files that have another spelling, with the reason."""

POSITIONAL = 5
"""The most that a call passes by position."""


def names(tree):
    """Every name that a module gives: of functions, classes, arguments, variables and attributes, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr, node.lineno


def banned(tree):
    return [f"{line}: {name}" for name, line in names(tree) if name.strip("_") in BANNED]


def crowded(tree):
    """Calls with more positional arguments than are allowed."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) > POSITIONAL]
    return [f"{call.lineno}: {ast.unparse(call.func)} passes {len(call.args)} by position" for call in calls]


def faults(check):
    return [
        f"{file.relative_to(PACKAGE)}:{fault}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for fault in check(ast.parse(file.read_text(encoding="utf-8")))
    ]


def test_every_name_says_what_it_holds():
    kept = {(fault.split(":")[0], fault.rpartition(" ")[2]) for fault in faults(banned)}
    assert kept - KEPT_IN_FILES == set()


def test_no_call_passes_more_than_five_things_by_position():
    assert faults(crowded) == []


def texts(root):
    """Every file of the project's text, by its path from the root."""
    for name in SPELLED:
        for file in sorted((root / name).rglob("*") if (root / name).is_dir() else [root / name]):
            if file.is_file() and "__pycache__" not in file.parts:
                yield file.relative_to(root).as_posix(), file.read_bytes().lower()


def spelled_otherwise(root):
    return [name for name, content in texts(root) if b"colour" in content or "colour" in name]


@pytest.mark.skipif(not (ROOT / "src").is_dir(), reason="the tests lie beside the sources in a checkout")
def test_color_has_one_spelling():
    assert sorted(spelled_otherwise(ROOT)) == sorted(SPELLED_OTHERWISE)


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("src/a.py", "thing.colour", 1),
        ("docs/a.md", "Colours", 1),
        ("benchmarks/b/a.jinja", "COLOUR", 1),
        ("tests/colour.json", "", 1),
        ("src/a.css", "color: red", 0),
        ("LOG.md", "the colour", 0),
    ],
)
def test_another_spelling_is_found(tmp_path, name, text, count):
    for other in SPELLED:
        (tmp_path / other).touch() if "." in other else (tmp_path / other).mkdir()
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)
    assert len(spelled_otherwise(tmp_path)) == count


@pytest.mark.parametrize(
    "line",
    [
        "found = 1",
        "def told(): ...",
        "class Said: ...",
        "def f(given): ...",
        "self.seen = 2",
        "for asked in x: ...",
        "_held = 1",
    ],
)
def test_a_banned_name_is_found(line):
    assert len(banned(ast.parse(line.replace("Said", "said")))) == 1


def test_a_crowded_call_is_found():
    assert crowded(ast.parse("f(1, 2, 3, 4, 5)")) == []
    assert len(crowded(ast.parse("f(1, 2, 3, 4, *x, 6)"))) == 1
