"""Recipes: YAML files read strictly into nested frozen dataclasses.

The dataclass is the schema. A field that it does not have, a value of another type and a missing value are errors
that name the line, so that a slip of the pen never trains a model. A recipe is looked up as a path, then among the
recipes that come with the package: `recipes/align.yaml` means the same in a checkout and in an installation.
"""

import difflib
import re
import sys
import types
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import yaml

from lapilli.core.errors import UsageError
from lapilli.core.plain import plain
from lapilli.core.terminal import printable

T = TypeVar("T")

_MOST = 10_000  # values of a recipe, aliases written out
_LARGEST = 200_000  # bytes of its file
_LONGEST = 1_000  # characters of a number
_OLD_NUMBER = re.compile(r"[-+]?(0[0-7_]+|\d[\d_]*(:[0-5]?\d)+(\.[\d_]*)?)")
"""Numbers of YAML 1.1 alone, where 010 is 8 and 1:30 is 90."""

_SCALARS = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "str")}

_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}


class _Loader(yaml.SafeLoader):
    """A loader of YAML 1.1 that, as in YAML 1.2, reads 1e-3 as a number, and 010, 1:30 and a date as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's name for it, looked up on the class
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


@dataclass(frozen=True)
class _Setting:
    """A setting as written: a scalar with its text `raw`, or a list or dict of settings; `place` is file and line."""

    value: Any
    raw: str
    place: str


def read_recipe(path: Path, overrides: Sequence[str], into: type[T]) -> T:
    """Return the recipe in the file, with `a.b=c` overrides (c is YAML), as a frozen dataclass of type `into`.

    Fields may be bool, int, float, str, Path, Literal, list, tuple, dataclasses of these, X | None, and either of
    a scalar and a list. A number is also accepted as text. Raises UsageError naming the line or the override, the field
    and the nearest name.
    """
    file = find_recipe(path)
    tree = _parse(_text(file), str(file), by_line=True)
    if not isinstance(tree.value, dict):
        raise UsageError(f"{tree.place}: a recipe is a list of `field: value` lines")
    for override in overrides:
        _lay_over(tree, override)
    return cast(T, _convert(tree, into, ""))


def recipe_values(file: Path) -> dict[str, Any]:
    """The fields of a recipe of any kind as they are written, groups in dicts. Raises UsageError as `read_recipe`."""
    tree = _parse(_text(file), str(file), by_line=True)
    if not isinstance(tree.value, dict):
        raise UsageError(f"{tree.place}: a recipe is a list of `field: value` lines")
    return cast(dict[str, Any], _values(tree))


def _values(setting: _Setting) -> Any:
    if isinstance(setting.value, dict):
        return {name: _values(entry) for name, entry in setting.value.items()}
    return [_values(entry) for entry in setting.value] if isinstance(setting.value, list) else setting.value


def find_recipe(path: Path) -> Path:
    """Return `path` itself, or the recipe of that name in the package. Raises UsageError where neither exists."""
    for candidate in (path, Path(__file__).parent.parent / path):
        with suppress(OSError):  # a name longer than any file's
            if candidate.is_file():
                return candidate
    raise UsageError(f"{path}: no such recipe; those that come with lapilli: {', '.join(shipped_recipes())}")


def shipped_recipes() -> dict[str, str]:
    """Return the recipes in the package: names, as `find_recipe` takes them, and the text of their first lines."""
    package = Path(__file__).parent.parent
    files = sorted(package.glob("recipes/*.yaml"))
    return {file.relative_to(package).as_posix(): _first_line(file) for file in files}


def stage_of(path: Path) -> str:
    """The `stage` that a recipe's file names, which says what kind of recipe it is; "" when it names none."""
    try:
        tree = _parse(_text(find_recipe(path)), str(path), by_line=True)
    except UsageError:  # `read_recipe` says what is wrong, and where
        return ""
    stage = tree.value.get("stage") if isinstance(tree.value, dict) else None
    return stage.raw if stage else ""


def as_dict(recipe: Any) -> dict[str, Any]:
    """A recipe as nested dicts and lists of plain values."""
    return cast(dict[str, Any], plain(recipe))


def dump(recipe: Any) -> str:
    """Return a recipe, or a dict, as printable YAML that `read_recipe` reads back to an equal recipe."""
    text: str = yaml.safe_dump(plain(recipe), sort_keys=False, allow_unicode=True)
    return text if printable(text) == text else yaml.safe_dump(plain(recipe), sort_keys=False)


def _text(file: Path) -> str:
    """The text in the file of a recipe. Raises UsageError for larger files, which would be parsed for minutes."""
    try:
        with file.open("rb") as opened:
            content = opened.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise UsageError(f"{file}: more than {_LARGEST:,} bytes; a recipe has some thousand")
        return content.decode("utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read: {error}; give a recipe as UTF-8") from error


def _first_line(file: Path) -> str:
    with file.open(encoding="utf-8") as opened:
        return opened.readline().lstrip("#").strip()


def _parse(text: str, source: str, by_line: bool) -> _Setting:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if _size(node, {}) > _MOST:
            raise UsageError(f"{source}: more than {_MOST:,} values, aliases written out; write what is needed alone")
        return _setting(loader, node, source, by_line) if node else _Setting(None, "", source)
    except RecursionError as error:
        raise UsageError(f"{source}: nested too deeply; a recipe is a list of `field: value` lines") from error
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if by_line and error.problem_mark else ""
        raise UsageError(f"{source}{line}: not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{source}: not YAML: {error}") from error


def _size(node: yaml.Node | None, sizes: dict[int, int]) -> int:
    """The number of values in a node, with every use of an alias counted; above the limit for one that holds itself."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in sizes:
        sizes[id(node)] = _MOST + 1  # while it is counted: a node that is met again holds itself
        inside = node.value if isinstance(node, yaml.SequenceNode) else chain.from_iterable(node.value)
        sizes[id(node)] = 1 + sum(_size(entry, sizes) for entry in inside)
    return sizes[id(node)]


def _setting(loader: _Loader, node: yaml.Node, source: str, by_line: bool) -> _Setting:
    place = f"{source}:{node.start_mark.line + 1}" if by_line else source
    if isinstance(node, yaml.SequenceNode):
        return _Setting([_setting(loader, entry, source, by_line) for entry in node.value], "", place)
    if isinstance(node, yaml.ScalarNode):
        return _Setting(_value(loader, node, place), node.value, place)
    entries: dict[str, _Setting] = {}
    for key, value in node.value:
        line = f"{source}:{key.start_mark.line + 1}" if by_line else source
        if not isinstance(key, yaml.ScalarNode):
            raise UsageError(f"{line}: a field has a name, not a list or fields of its own; write `field: value`")
        if key.value in entries:
            raise UsageError(f"{line}: {key.value}: given twice")
        entries[key.value] = _setting(loader, value, source, by_line)
    return _Setting(entries, "", place)


def _value(loader: _Loader, node: yaml.ScalarNode, place: str) -> Any:
    """The value of a scalar."""
    if node.tag not in _SCALARS and node.tag.startswith("tag:yaml.org,2002:"):
        raise UsageError(f"{place}: a value of type {node.tag[18:]}; write text, a number, true, false or null")
    if not _is_text(node.value):
        raise UsageError(f"{place}: {node.value!r}: holds a zero byte, or half a character; leave it out")
    if len(node.value) > _LONGEST and not node.tag.endswith(":str"):
        raise UsageError(f"{place}: a number of {len(node.value):,} characters; {_LONGEST:,} are the most")
    if _OLD_NUMBER.fullmatch(node.value):
        return node.value  # text, and no number that nobody meant
    try:
        return loader.construct_object(node)
    except (ValueError, LookupError, OverflowError) as error:  # a type that the text is not of: !!int many
        raise UsageError(f"{place}: {node.value!r} is no {node.tag.rpartition(':')[2]}; correct it") from error


def _is_text(value: str) -> bool:
    """Whether a file can hold the text, and may have it as a name: no zero bytes, no half characters."""
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def _lay_over(tree: _Setting, override: str) -> None:
    """Put the value of an `a.b=c` override into the tree, with the mappings on its way."""
    place = f"--set {override}"
    dotted, equals, text = override.partition("=")
    if not equals or not all(dotted.split(".")):
        raise UsageError(f"{place}: write it as field=value, or as group.field=value")
    *groups, last = dotted.strip().split(".")
    for name in groups:
        if name not in tree.value or not isinstance(tree.value[name].value, dict):
            tree.value[name] = _Setting({}, "", place)
        tree = tree.value[name]
    tree.value[last] = _parse(text, place, by_line=False)


def _convert(setting: _Setting, kind: Any, path: str) -> Any:
    """The setting as a value of type `kind`; `path` is the dotted name of the field, for the error."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if setting.value is None else _convert(setting, _member(setting, arguments), path)
    if origin is Literal:
        return _choice(setting, arguments, path)
    if origin in (list, tuple):
        return origin(_entries(setting, arguments if origin is tuple else (*arguments, ...), path))
    if is_dataclass(kind):
        return _build(setting, cast(type[Any], kind), path)
    return _scalar(setting, kind, path)


def _member(setting: _Setting, members: tuple[Any, ...]) -> Any:
    """The member of a union that a setting is meant for: a list's where it is a list, or else the first."""
    kinds = [member for member in members if member is not type(None)]
    lists = [kind for kind in kinds if get_origin(kind) in (list, tuple)]
    return lists[0] if lists and isinstance(setting.value, list) else kinds[0]


def _entries(setting: _Setting, kinds: tuple[Any, ...], path: str) -> list[Any]:
    """The entries of a list, all of one kind (`kinds` is X and an ellipsis) or of exactly those kinds."""
    if not isinstance(setting.value, list):
        raise _wrong(setting, "a list", path)
    if kinds[-1] is ...:
        kinds = kinds[:1] * len(setting.value)
    if len(setting.value) != len(kinds):
        raise UsageError(f"{setting.place}: {path}: {len(kinds)} entries expected, {len(setting.value)} found")
    return [
        _convert(entry, kind, f"{path}[{i}]") for i, (entry, kind) in enumerate(zip(setting.value, kinds, strict=True))
    ]


def _build(setting: _Setting, kind: type[Any], path: str) -> Any:
    if not isinstance(setting.value, dict):
        raise _wrong(setting, "fields of its own", path)
    hints, by_name = get_type_hints(kind), {field.name: field for field in fields(kind) if field.init}
    for name, entry in setting.value.items():
        if name not in by_name:
            raise UsageError(f"{entry.place}: {_below(path, name)}: no such field{_nearest(name, list(by_name))}")
    for name, field in by_name.items():
        if name not in setting.value and _is_required(field):
            raise UsageError(f"{setting.place}: {_below(path, name)}: missing, and it has no default")
    values = {name: _convert(entry, hints[name], _below(path, name)) for name, entry in setting.value.items()}
    try:
        return kind(**values)
    except ValueError as error:  # a check in __post_init__, whose message begins with the field
        place = setting.value.get(str(error).partition(":")[0], setting).place
        raise UsageError(f"{place}: {_below(path, str(error))}") from error


def _scalar(setting: _Setting, kind: type[Any], path: str) -> Any:
    if kind not in _KINDS:
        raise TypeError(f"{path}: recipes have no fields of type {kind}")
    value = setting.value
    if kind in (str, Path) and value is not None and not isinstance(value, (list, dict)):
        return kind(setting.raw)  # as it was written: a folder may be called 2024 or no
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool) and _is_finite(value):
        return float(value)
    if kind in (bool, int) and type(value) is kind:
        return value
    raise _wrong(setting, _KINDS[kind], path)


def _is_finite(number: float) -> bool:
    """Whether a float can hold the number; YAML has whole numbers of any length."""
    return abs(number) <= sys.float_info.max


def _choice(setting: _Setting, choices: tuple[Any, ...], path: str) -> Any:
    for choice in choices:
        if setting.raw == str(choice):
            return choice
    raise _wrong(setting, "one of " + ", ".join(map(str, choices)), path)


def _wrong(setting: _Setting, expected: str, path: str) -> UsageError:
    if isinstance(setting.value, (dict, list)):
        actual = "fields" if isinstance(setting.value, dict) else "a list"
    else:
        actual = setting.raw or "nothing"
    return UsageError(f"{setting.place}: {path}: {expected} expected, {actual} found")


def _nearest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(names)}"


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING
