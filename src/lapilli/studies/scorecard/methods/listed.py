"""All methods, those of a user's file, and those that are asked for."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from lapilli.core.errors import LapilliError, UsageError
from lapilli.studies.scorecard.method import Method
from lapilli.studies.scorecard.methods import attention, floors, gradients, perturbation, readouts, released
from lapilli.studies.scorecard.plan import require_methods

METHODS = (
    *floors.METHODS,
    *attention.METHODS,
    *readouts.METHODS,
    *gradients.METHODS,
    *perturbation.METHODS,
)
"""In the order of their families."""


def chosen(names: Sequence[str] = (), plus: Path | None = None, as_released: bool = False) -> tuple[Method, ...]:
    """The methods of these names, or all; beside them always those of the file `plus`, and the faulty released ones.

    `random` is always among them: nothing means much without it. Raises UsageError for a name that is not there.
    """
    own = of_file(plus) if plus is not None else ()
    known = (*METHODS, *released.METHODS, *own)
    by_name = {method.name: method for method in known}
    if len(by_name) < len(known):
        raise UsageError(f"{plus}: a method has the name of another one; give it its own")
    require_methods(names, list(by_name))
    named = {"random", *names, *(method.name for method in own)}
    found = [method for method in known if method.name in named] if names else list(known)
    wanted = [method for method in found if as_released or not method.released or method.name in names]
    return tuple(sorted(wanted, key=lambda method: _FAMILIES.index(method.family)))


_FAMILIES = ("floor", "zero-pass", "one-backward", "many-pass")


def of_file(path: Path) -> tuple[Method, ...]:
    """What a Python file lists as METHODS. The file is run. Raises LapilliError unless it lists methods."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if specification is None or specification.loader is None or not path.is_file():
        raise LapilliError(f"{path}: no Python file; give one that lists METHODS")
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except ImportError as error:
        raise LapilliError(f"{path}: {error}; install it, or mend the import") from error
    found = getattr(module, "METHODS", None)
    if not isinstance(found, Sequence) or not all(isinstance(one, Method) for one in found):
        raise LapilliError(f"{path}: lists no METHODS; add METHODS = (Method(name, family, function),)")
    for method in found:
        if method.family not in _FAMILIES:
            raise LapilliError(
                f"{path}: method {method.name!r} is of family {method.family!r}; choose among {', '.join(_FAMILIES)}"
            )
    return tuple(found)
