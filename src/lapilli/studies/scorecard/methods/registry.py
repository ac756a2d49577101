"""The registry of methods, with those of a user's file."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from lapilli.core.errors import LapilliError, UsageError
from lapilli.studies.scorecard.method import Method
from lapilli.studies.scorecard.methods import attention, baselines, gradients, perturbation, readouts, released
from lapilli.studies.scorecard.plan import require_methods

METHODS = (
    *baselines.METHODS,
    *attention.METHODS,
    *readouts.METHODS,
    *gradients.METHODS,
    *perturbation.METHODS,
)
"""The methods, in the order of their families."""


def chosen(names: Sequence[str] = (), plus: Path | None = None, as_released: bool = False) -> tuple[Method, ...]:
    """The methods of these names, or all, with those of the file `plus`; faulty released ones by name or `as_released`.

    `random` is always among them: the others need it to compare with. Raises UsageError for an unknown name.
    """
    own = methods_of_file(plus) if plus is not None else ()
    available = (*METHODS, *released.METHODS, *own)
    by_name = {method.name: method for method in available}
    if len(by_name) < len(available):
        raise UsageError(f"{plus}: a method has the name of another one; give it its own")
    require_methods(names, list(by_name))
    requested = {"random", *names, *(method.name for method in own)}
    methods = [method for method in available if method.name in requested] if names else list(available)
    wanted = [method for method in methods if as_released or not method.released or method.name in names]
    return tuple(sorted(wanted, key=lambda method: _FAMILIES.index(method.family)))


_FAMILIES = ("floor", "zero-pass", "one-backward", "many-pass")


def methods_of_file(path: Path) -> tuple[Method, ...]:
    """Run a Python file and return its METHODS. Raises LapilliError unless it lists methods."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if specification is None or specification.loader is None or not path.is_file():
        raise LapilliError(f"{path}: no Python file; give one that lists METHODS")
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
    except ImportError as error:
        raise LapilliError(f"{path}: {error}; install it, or mend the import") from error
    methods = getattr(module, "METHODS", None)
    if not isinstance(methods, Sequence) or not all(isinstance(method, Method) for method in methods):
        raise LapilliError(f"{path}: lists no METHODS; add METHODS = (Method(name, family, function),)")
    for method in methods:
        if method.family not in _FAMILIES:
            raise LapilliError(
                f"{path}: method {method.name!r} is of family {method.family!r}; choose among {', '.join(_FAMILIES)}"
            )
    return tuple(methods)
