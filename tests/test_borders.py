"""What only a few places may do: handle every error, print, parse what a file holds, skip a test (CONTRIBUTING.md)."""

import ast
import re
from pathlib import Path

import pytest

import lapilli

PACKAGE = Path(lapilli.__file__).parent

HANDLERS = {
    ("cli/__init__.py", "run"): "the border of the process",
    ("core/trial.py", "_end"): "the border of a copy of the process",
    ("core/trial.py", "tokenizing"): "tokenizers raises bare Exceptions, and panics of a type that has no module",
    ("model/reading.py", "explained"): "transformers passes on those bare Exceptions; others of ours go on",
    (
        "selftest/installation.py",
        "_finding",
    ): "an untried release may fail in any way, which is the finding",
    ("training/loop.py", "_steps_saved_on_error"): "hours of steps are saved, whatever ended them",
    ("core/run.py", "or_nothing"): "raised again, when the empty folder is gone",
    ("studies/steps.py", "_under_way"): "raised again, when the processes are gone",
}
"""Where every error is handled, and why it must be."""

PRINTERS = {
    ("core/terminal.py", "Terminal"): "the console that all others are",
    ("cli/console.py", "print_json"): "JSON in ASCII, which a console would break into lines",
}
"""Where anything is printed, or a console made, beside core/terminal.py."""

PARSERS = {
    ("core/read.py", "parsed"): "what all others call",
    ("core/recipe.py", "_Loader"): "recipes, of YAML",
    ("core/run.py", "_differing"): "a run's recipe beside another one, both as they are written; refused if it is none",
    ("data/table.py", "_cells"): "a table, whose faults are said with their lines",
    ("data/rows.py", "_decode"): "a file of rows, whose faults are listed with their lines, not raised",
    ("core/dependencies.py", "_tested"): "a file of the package",
    ("report/explanation/bundle.py", "schema"): "a file of the package",
    ("model/checkpoints/write.py", "_edited"): "a file that was written a moment before",
    ("model/checkpoints/write.py", "_shorter"): "no file: the state of a tokenizer in memory",
    ("model/tokenizer.py", "_merge_by_score"): "no file: the state of a tokenizer in memory",
    ("training/trainer.py", "step_of"): "a file of a checkpoint whose checksums were compared",
}
"""Where JSON, YAML or CSV is parsed, and what it is."""

ALL = {"Exception", "BaseException"}


def _names(node):
    """The names in an expression, without those of their modules: `a.b` is b."""
    return {part.id if isinstance(part, ast.Name) else part.attr for part in _parts(node)}


def _parts(node):
    return [part for part in ast.walk(node) if isinstance(part, ast.Name | ast.Attribute)] if node else []


def handles_all(node):
    if isinstance(node, ast.ExceptHandler):
        return node.type is None or bool(_names(node.type) & ALL)
    if isinstance(node, ast.Call) and _names(node.func) & {"suppress"}:
        return any(_names(argument) & ALL for argument in node.args)
    return False


def prints(node):
    if isinstance(node, ast.ClassDef):
        return any(_names(base) & {"Console"} for base in node.bases)
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    return called in {"print", "pprint", "Console", "typer.echo", "click.echo", "os.write"} or any(
        called == f"sys.{stream}.{method}"
        for stream in ("stdout", "stderr", "__stdout__", "__stderr__", "stdout.buffer", "stderr.buffer")
        for method in ("write", "writelines")
    )


def parses(node):
    if isinstance(node, ast.ClassDef):
        return any("Loader" in name for base in node.bases for name in _names(base))
    called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
    module, _, name = called.rpartition(".")
    return (module in {"json", "yaml"} and "load" in name) or (module == "csv" and "eader" in name)


def places(tree, does):
    """The innermost functions and classes of a module where something is done; \"\" for the module itself."""
    found = set()

    def visit(node, place):
        inside = node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) else place
        if does(node):
            found.add(inside)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(tree, "")
    return found


@pytest.mark.parametrize(
    ("does", "allowed"),
    [(handles_all, HANDLERS), (prints, PRINTERS), (parses, PARSERS)],
    ids=["handle", "print", "parse"],
)
def test_only_the_named_places_do_it(does, allowed):
    found = {
        (file.relative_to(PACKAGE).as_posix(), place)
        for file in sorted(PACKAGE.rglob("*.py"))
        for place in places(ast.parse(file.read_text(encoding="utf-8")), does)
    }
    assert found == set(allowed)


@pytest.mark.parametrize(
    ("does", "line"),
    [
        (handles_all, "try: ...\nexcept: ..."),
        (handles_all, "try: ...\nexcept (OSError, builtins.Exception) as error: raise"),
        (handles_all, "try: ...\nexcept* BaseException: ..."),
        (handles_all, "with contextlib.suppress(OSError, Exception): ..."),
        (prints, "print(1)"),
        (prints, "print(1, file=file)"),
        (prints, "sys.stderr.write('a')"),
        (prints, "sys.stdout.buffer.write(b'a')"),
        (prints, "console = Console()"),
        (prints, "class Mine(rich.console.Console): ..."),
        (parses, "json.loads(text)"),
        (parses, "json.load(file)"),
        (parses, "yaml.safe_load(text)"),
        (parses, "rows = csv.DictReader(file)"),
        (parses, "for row in csv.reader(file): ..."),
    ],
)
def test_another_place_would_be_seen(does, line):
    inside = "\n".join(f"  {part}" for part in line.splitlines())
    assert places(ast.parse(f"def f():\n{inside}"), does)
    assert places(ast.parse(line), does)


@pytest.mark.parametrize(
    ("does", "line"),
    [
        (handles_all, "try: ...\nexcept (OSError, ValueError): ..."),
        (handles_all, "with suppress(OSError): ..."),
        (prints, "results.print(table)"),
        (prints, "file.write('a')"),
        (parses, "json.dumps(value)"),
        (parses, "load(folder)"),
    ],
)
def test_what_is_narrower_is_free(does, line):
    assert not places(ast.parse(line), does)


def silent_skips(tree):
    """Skips without a reason that begins with what is missing: `no X`, or the path where it should be."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    skips = [node for node in calls if ast.unparse(node.func).rpartition(".")[2] in {"skip", "skipif", "importorskip"}]
    return [f"{skip.lineno}: {ast.unparse(skip)}" for skip in skips if not _names_what_is_missing(skip)]


def _names_what_is_missing(skip):
    named = [keyword.value for keyword in skip.keywords if keyword.arg == "reason"]
    reason = named or (skip.args if ast.unparse(skip.func) == "pytest.skip" else [])
    return bool(reason) and bool(re.match(r"f?['\"](no |\{[A-Z_]+\}: )", ast.unparse(reason[0])))


def test_every_skip_says_what_is_missing():
    tests = Path(__file__).parent
    assert [
        f"{file.relative_to(tests)}:{fault}"
        for file in sorted(tests.rglob("*.py"))
        for fault in silent_skips(ast.parse(file.read_text(encoding="utf-8")))
    ] == []


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("pytest.skip()", 1),
        ("pytest.skip('not today')", 1),
        ("pytest.mark.skipif(True, reason='there is a GPU')", 1),
        ("pytest.importorskip('x')", 1),
        ("pytest.skip('no GPU')", 0),
        ("pytest.mark.skipif(True, reason=f'{DATA}: no rows there')", 0),
        ("pytest.importorskip('x', reason='no x')", 0),
    ],
)
def test_a_skip_that_says_less_is_seen(line, count):
    assert len(silent_skips(ast.parse(line))) == count
