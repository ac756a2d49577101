"""Names that say what they hold, calls and functions that a reader can follow (CONTRIBUTING.md)."""

import ast
from pathlib import Path

import pytest

import lapilli

PACKAGE = Path(lapilli.__file__).parent

BANNED = {"eye", "voice", "told", "given", "asked", "held", "seen", "found", "said", "looks"}
"""Names that hide a standard term (vision, language, attention), or say nothing of what they hold."""

KEPT_IN_FILES = {("studies/scorecard/job.py", "given"), ("studies/paired_runs.py", "given")}
"""Keys of saved results, whose files an earlier release has written."""

ROOT = Path(__file__).parent.parent

EXAMPLES = [*sorted((ROOT / "tests").rglob("toy*.py")), ROOT / "tests/model/test_pixel_shuffle.py"]
"""What CONTRIBUTING says to copy."""

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

LINES = 25
"""The most that a function has, without its signature and its docstring."""


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


def long(tree):
    """Functions with more lines than are allowed."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            body = function.body[1:] if ast.get_docstring(function) is not None else function.body
            lines = function.end_lineno - body[0].lineno + 1 if body else 0
            if lines > LINES:
                yield f"{function.lineno}: {function.name} has {lines} lines"


def extended(trees):
    """Classes that extend a concrete one of the package: errors and typed dicts, which hold nothing to share, may."""
    classes = {node.name: node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    bases = {name: [ast.unparse(base).split("[")[0] for base in node.bases] for name, node in classes.items()}

    def is_open(name):
        abstract = any(
            "abstract" in ast.unparse(part) for part in ast.walk(classes[name]) if isinstance(part, ast.Name)
        )
        above = bases[name]
        return (
            abstract
            or any(base in {"TypedDict", "Protocol", "ABC", "Exception"} for base in above)
            or any(is_open(base) for base in above if base in classes)
        )

    return [
        f"{name} extends {base}" for name in classes for base in bases[name] if base in classes and not is_open(base)
    ]


def faults(check):
    return [
        f"{file.relative_to(PACKAGE)}:{fault}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for fault in check(ast.parse(file.read_text(encoding="utf-8")))
    ]


def test_every_name_says_what_it_holds():
    kept = {(fault.split(":")[0], fault.rpartition(" ")[2]) for fault in faults(banned)}
    assert kept - KEPT_IN_FILES == set(), f"choose names that say what a thing is; banned: {', '.join(sorted(BANNED))}"


def test_no_call_passes_more_than_five_things_by_position():
    assert faults(crowded) == []


@pytest.mark.parametrize("check", [crowded, long])
def test_what_is_copied_keeps_the_rules_too(check):
    assert len(EXAMPLES) > 3
    assert {file.name: list(check(ast.parse(file.read_text(encoding="utf-8")))) for file in EXAMPLES} == {
        file.name: [] for file in EXAMPLES
    }


def texts(root):
    """Every file of the project's text, by its path from the root."""
    for name in SPELLED:
        for file in sorted((root / name).rglob("*") if (root / name).is_dir() else [root / name]):
            if file.is_file() and "__pycache__" not in file.parts:
                yield file.relative_to(root).as_posix(), file.read_bytes().lower()


def spelled_otherwise(root):
    return [name for name, content in texts(root) if b"colour" in content or "colour" in name]


@pytest.mark.skipif(not (ROOT / "src").is_dir(), reason="no sources: the tests lie beside them in a checkout")
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


def test_classes_are_abstract_or_final():
    assert extended([ast.parse(file.read_text(encoding="utf-8")) for file in sorted(PACKAGE.rglob("*.py"))]) == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("class A: ...\nclass B(A): ...", 1),
        ("class A(Generic[T]): ...\nclass B(A[int]): ...", 1),
        ("class A(Module): ...\nclass B(A): ...\nclass C(B): ...", 2),
        ("class A(Exception): ...\nclass B(A): ...\nclass C(B): ...", 0),
        ("class A(TypedDict): ...\nclass B(A, total=False): ...", 0),
        ("class A(Protocol): ...\nclass B(A): ...", 0),
        ("class A:\n @abstractmethod\n def f(self): ...\nclass B(A): ...", 0),
        ("class A(Module): ...", 0),
    ],
)
def test_a_class_that_extends_a_concrete_one_is_found(text, count):
    assert len(extended([ast.parse(text)])) == count


def test_no_function_is_longer_than_a_reader_can_hold():
    assert faults(long) == []


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


@pytest.mark.parametrize(
    "start",
    ["def f():", "async def f():", 'def f():\n    """Text."""', "class C:\n def g(self): ...\n def f(\n  a,\n ):"],
)
def test_a_long_function_is_found(start):
    body = "    x = 1\n"
    assert list(long(ast.parse(f"{start}\n{body * LINES}"))) == []
    (fault,) = long(ast.parse(f"{start}\n{body * (LINES + 1)}"))
    assert fault.endswith(f"f has {LINES + 1} lines")


def test_a_docstring_and_a_signature_count_for_nothing():
    text = "\n".join(["def f(", *("    a=1," for _ in range(LINES)), "):", '    """', *"ab" * LINES, '    """'])
    assert list(long(ast.parse(text))) == []
