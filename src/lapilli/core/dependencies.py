"""The packages that lapilli depends on: the releases that are allowed, tested and installed.

All of it is read from the packages' metadata and `tested.json`; nothing is imported, which would take seconds. `make
test-oldest` and `make test-newest` write that file when their tests have passed, with the releases that were installed.
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
"""Packages that are used beyond their public interface: any new release may need a change here."""


@dataclass(frozen=True)
class Dependency:
    """A package: the versions that are allowed (a specifier), the oldest and newest tested, and the installed one."""

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
        """The installed release in a few words: tested, not installed, older or newer than tested."""
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
    """Return every package that lapilli requires, in the order of pyproject.toml."""
    allowed = _allowed()
    installed = versions(tuple(_tested()))
    return [
        Dependency(name, allowed.get(canonicalize_name(name), ""), oldest, newest, installed[name])
        for name, (oldest, newest) in _tested().items()
    ]


def dependency(name: str) -> Dependency:
    """Return the dependency of that name."""
    return next(entry for entry in dependencies() if entry.name == name)


@cache
def untested(names: Iterable[str] = INSIDES) -> str:
    """Return a line about those of these packages whose installed release is not tested; "" where all are tested."""
    lines = [
        f"{package.name} {package.installed} is {package.verdict} ({package.oldest} to {package.newest}); "
        f"if anything fails: {package.remedy}"
        for package in dependencies()
        if package.name in names and package.installed and not package.is_tested
    ]
    return "; ".join(lines)


def missing(error: ImportError) -> str:
    """Describe an ImportError in one line; for a dependency with its release, the tested ones and the remedy."""
    message = f"{type(error).__name__}: {error}"
    package = (error.name or "").partition(".")[0]
    for entry in dependencies():
        if canonicalize_name(entry.name) == canonicalize_name(package):
            tested = f"tested with {entry.oldest} to {entry.newest}"
            return f"{entry.name} {entry.installed}: {message}; {tested}: {entry.remedy}"
    return message


def _tested() -> dict[str, tuple[str, str]]:
    file = Path(__file__).with_name("tested.json")
    releases: dict[str, tuple[str, str]] = json.loads(file.read_text(encoding="utf-8"))
    return releases


def _allowed() -> dict[str, str]:
    """The specifiers of pyproject.toml, as the installed package has them."""
    try:
        requirements = [Requirement(line) for line in requires("lapilli") or ()]
    except PackageNotFoundError:  # run from its sources, uninstalled
        return {}
    return {canonicalize_name(entry.name): str(entry.specifier) for entry in requirements if entry.marker is None}
