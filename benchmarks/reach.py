"""The functions, classes and files of the package that a function reaches, statically: what its reader has to know.

    python benchmarks/reach.py lapilli.training.loop:train [--room lapilli.training] [--names]

Starts at the function and follows every name in its body to the functions, classes and constants of the package, and
goes on from theirs; imports inside functions count. Of a class the special methods are followed, those that share a
name with any attribute that is read on the way, and all of a class that extends one of another package, which calls
them. Annotations are not followed. With `--room`, what lies outside it is counted and not followed: the files that are
opened to read the room, and the doors that it calls. Prints the files with the number of functions and classes that
are reached in each.
"""

import argparse
import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Place = tuple[str, str]
"""A module and a name in it; `Class.method` for a method."""


@dataclass(frozen=True)
class Module:
    """What a module defines, the names that it imports from the package, and what its constants are computed from."""

    definitions: dict[str, Definition]
    imports: dict[str, Place]
    constants: dict[str, ast.expr]


def main() -> None:
    """Parse, follow, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("function", help="MODULE:NAME")
    parser.add_argument("--room", default="", help="follow nothing outside this package, such as lapilli.training")
    parser.add_argument("--names", action="store_true", help="also print what is reached in each file")
    options = parser.parse_args()
    module, _, name = options.function.partition(":")
    if definition((module, name)) is None:
        parser.error(f"{options.function}: no such function")
    places = sorted(reach((module, name), options.room))
    counts = Counter(module for module, _ in places)
    for module, count in counts.most_common():
        names = ", ".join(name for other, name in places if other == module) if options.names else ""
        print(f"{count:4}  {module}  {names}".rstrip())
    print(f"{len(places)} functions and classes in {len(counts)} files")


def reach(start: Place, room: str = "") -> set[Place]:
    """Return the functions, methods and classes that one reaches; those outside the `room` are not followed."""
    reached: set[Place] = set()
    attributes: set[str] = set()
    waiting = {start}
    while waiting:
        reached |= waiting
        nodes = [(place[0], node) for place in waiting if place[0].startswith(room) for node in bodies(place)]
        attributes |= {inner.attr for _, node in nodes for inner in ast.walk(node) if isinstance(inner, ast.Attribute)}
        waiting = {target for module, node in nodes for target in targets(module, node)}
        inside = {place for place in reached | waiting if place[0].startswith(room)}
        waiting |= {method for place in inside for method in methods(place, attributes)}
        waiting -= reached
    return {(module, name) for module, name in reached if name not in read(module).constants}


@cache
def read(module: str) -> Module:
    """The module, parsed."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{module}: no such module")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    constants: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            names = node.targets if isinstance(node, ast.Assign) else [node.target]
            constants |= {name.id: node.value for name in names if isinstance(name, ast.Name)}
    definitions = {node.name: node for node in tree.body if isinstance(node, Definition)}
    return Module(definitions, dict(imported(tree, module.partition(".")[0])), constants)


def imported(tree: ast.Module, package: str) -> Iterator[tuple[str, Place]]:
    """The names that a module takes from the package; the empty name stands for a module as a whole."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == package:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = find_spec(node.module).submodule_search_locations and find_spec(whole)  # type: ignore[union-attr]
                yield alias.asname or alias.name, (whole, "") if is_module else (node.module, alias.name)


def bodies(place: Place) -> list[ast.AST]:
    """What is evaluated where this is called; of a class its bases and statements, without the methods."""
    node = definition(place)
    if isinstance(node, ast.ClassDef):
        return [*node.bases, *node.decorator_list, *(each for each in node.body if not isinstance(each, Definition))]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [*node.body, *node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
    constant = read(place[0]).constants.get(place[1])
    return [] if constant is None else [constant]


def definition(place: Place) -> Definition | None:
    """The function, method or class; None for a constant."""
    name, _, method = place[1].partition(".")
    node = read(place[0]).definitions.get(name)
    if not method or not isinstance(node, ast.ClassDef):
        return node
    return next(each for each in node.body if isinstance(each, Definition) and each.name == method)


def targets(module: str, node: ast.AST) -> Iterator[Place]:
    """What the names in a node mean: functions, classes and constants of this module or others of the package."""
    scope = read(module)
    for inner in evaluated(node):
        if isinstance(inner, ast.Name):
            if inner.id in scope.definitions or inner.id in scope.constants:
                yield module, inner.id
            elif inner.id in scope.imports and scope.imports[inner.id][1]:
                yield scope.imports[inner.id]
        elif isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name):
            whole, name = scope.imports.get(inner.value.id, ("", "-"))
            if not name and (inner.attr in read(whole).definitions or inner.attr in read(whole).constants):
                yield whole, inner.attr


def evaluated(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all inside it but annotations."""
    yield node
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns"):
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, ast.AST):
                    yield from evaluated(inner)


def methods(place: Place, attributes: set[str]) -> Iterator[Place]:
    """Those of a class that may be called: special ones, those named as attributes, and overrides of other packages."""
    node = definition(place)
    if not isinstance(node, ast.ClassDef):
        return
    scope = read(place[0])
    ours = {base.id for base in node.bases if isinstance(base, ast.Name) and base.id in scope.definitions}
    ours |= {base.id for base in node.bases if isinstance(base, ast.Name) and base.id in scope.imports}
    overrides = len(ours) < len(node.bases)
    for each in node.body:
        if isinstance(each, Definition) and (overrides or each.name in attributes or each.name.startswith("__")):
            yield place[0], f"{place[1]}.{each.name}"


if __name__ == "__main__":
    main()
