"""What lapilli depends on: which releases it may have, which it has been tested with, and which are installed.

All of it is read from the packages' metadata and `tested.json`; nothing is imported, which would take seconds. That
file is written by `make test-oldest` and `make test-newest`, when their tests have passed with what was installed.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from lapilli.core.environment import versions

INSIDES = ("transformers", "huggingface_hub")
"""What is used beyond its public interface, so that any new release may need a change here."""


@dataclass(frozen=True)
class Dependency:
    """A package: which versions may be installed (a specifier), the oldest and the newest tested, and which is."""

    name: str
    allowed: str
    oldest: str
    newest: str
    installed: str | None

    @property
    def is_tested(self) -> bool:
        """Whether what is installed lies in the tested range. Later patches of the newest minor release do."""
        if self.installed is None:
            return False
        here, newest = Version(self.installed), Version(self.newest)
        return Version(self.oldest) <= here and here.release[:2] <= newest.release[:2]

    @property
    def verdict(self) -> str:
        """In a word or two: tested, or how not."""
        if self.installed is None:
            return "not installed"
        if self.is_tested:
            return "tested"
        return "older than tested" if Version(self.installed) < Version(self.oldest) else "newer than tested"

    @property
    def remedy(self) -> str:
        """The command that installs an allowed release."""
        return f"pip install '{self.name}{self.allowed}'"


def dependencies() -> list[Dependency]:
    """Every package that lapilli requires, in the order of pyproject.toml."""
    allowed = _allowed()
    installed = versions(tuple(_tested()))
    return [
        Dependency(name, allowed.get(canonicalize_name(name), ""), oldest, newest, installed[name])
        for name, (oldest, newest) in _tested().items()
    ]


def dependency(name: str) -> Dependency:
    """The one of that name."""
    return next(one for one in dependencies() if one.name == name)


@cache
def untested(names: Iterable[str] = INSIDES) -> str:
    """A line about those of these packages whose installed release has not been tested; empty where all have been."""
    lines = [
        f"{one.name} {one.installed} is {one.verdict} ({one.oldest} to {one.newest}); if anything fails: {one.remedy}"
        for one in dependencies()
        if one.name in names and one.installed and not one.is_tested
    ]
    return "; ".join(lines)


def missing(error: ImportError) -> str:
    """An ImportError in a line; of a dependency, with its release, those that have been tested, and the remedy."""
    said = f"{type(error).__name__}: {error}"
    package = (error.name or "").partition(".")[0]
    for one in dependencies():
        if canonicalize_name(one.name) == canonicalize_name(package):
            return f"{one.name} {one.installed}: {said}; tested with {one.oldest} to {one.newest}: {one.remedy}"
    return said


def _tested() -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = json.loads(Path(__file__).with_name("tested.json").read_text(encoding="utf-8"))
    return found


def _allowed() -> dict[str, str]:
    """The specifiers of pyproject.toml, as the installed package has them."""
    try:
        wanted = [Requirement(line) for line in requires("lapilli") or ()]
    except PackageNotFoundError:  # run from its sources, uninstalled
        return {}
    return {canonicalize_name(one.name): str(one.specifier) for one in wanted if one.marker is None}
