"""All methods, those of a user's file, and those that are asked for."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from lapilli.core.errors import LapilliError, UsageError
from lapilli.inspection.scorecard.methods import attention, floors, gradients, perturbation, readouts, released
from lapilli.inspection.scorecard.methods.method import Method

METHODS = (
    *floors.METHODS,
    *attention.METHODS,
    *readouts.METHODS,
    *gradients.METHODS,
    *perturbation.METHODS,
)
"""In the order of their families."""


def chosen(names: Sequence[str] = (), plus: Path | None = None, as_released: bool = False) -> tuple[Method, ...]:
    """The methods of these names, or all; beside them those of the file `plus`, and the faulty released ones.

    `random` is always among them: nothing means much without it. Raises UsageError for a name that is not there.
    """
    known = (*METHODS, *released.METHODS, *(of_file(plus) if plus is not None else ()))
    by_name = {method.name: method for method in known}
    if len(by_name) < len(known):
        raise UsageError(f"{plus}: a method has the name of another one; give it its own")
    for name in names:
        if name not in by_name:
            raise UsageError(f"method {name!r}: unknown; choose among {'; '.join(by_name)}")
    found = [method for method in known if method.name in ("random", *names)] if names else list(known)
    wanted = [method for method in found if as_released or not method.released or method.name in names]
    return tuple(sorted(wanted, key=lambda method: _FAMILIES.index(method.family)))


_FAMILIES = ("floor", "zero-pass", "one-backward", "many-pass")


def of_file(path: Path) -> tuple[Method, ...]:
    """What a Python file lists as METHODS. The file is run. Raises LapilliError unless it lists methods."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if specification is None or specification.loader is None or not path.is_file():
        raise LapilliError(f"{path}: no Python file; give one that lists METHODS")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    found = getattr(module, "METHODS", None)
    if not isinstance(found, tuple) or not all(isinstance(one, Method) and one.family in _FAMILIES for one in found):
        raise LapilliError(f"{path}: lists no METHODS; add METHODS = (Method(name, family, function),)")
    return found
