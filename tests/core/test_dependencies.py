"""The dependencies: what pyproject.toml allows, what is locked, and what has been tested, agree."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import lapilli
from lapilli.core.dependencies import INSIDES, Dependency, dependencies

ROOT = Path(__file__).parents[2]
PROJECT = (ROOT / "pyproject.toml").read_text()
READ = tomllib.loads(PROJECT)["project"]
REQUIRED = [Requirement(line) for line in READ["dependencies"]]
DEVELOPING = [Requirement(line) for line in READ["optional-dependencies"]["dev"]]
TESTED = json.loads((Path(lapilli.__file__).parent / "core/tested.json").read_text())
LISTS = {name: (ROOT / "requirements" / f"{name}.txt").read_text() for name in ("run", "test", "oldest")}


def locked(text):
    """The versions of each package in a list: one, or several for different Python versions."""
    found = {}
    for name, version in re.findall(r"^([\w.-]+)==([^ ;\\]+)", text, flags=re.MULTILINE):
        found.setdefault(canonicalize_name(name), []).append(version)
    return found


@pytest.mark.parametrize("name", LISTS)
def test_a_list_has_every_package_with_hashes_and_no_torch(name):
    text = LISTS[name]
    entries = re.split(r"\n(?=\w)", text.strip())
    assert all(re.fullmatch(r"[\w.-]+==\S+( ;[^\\]*)?( \\\n    --hash=sha256:[0-9a-f]{64})+", one) for one in entries)
    assert not {"torch", "triton"} & locked(text).keys()
    assert "://" not in text  # no index is named: whoever installs has their own


@pytest.mark.parametrize("name", LISTS)
def test_a_list_holds_what_is_required(name):
    wanted = [*REQUIRED, *(DEVELOPING if name != "run" else []), Requirement("hatchling"), Requirement("editables")]
    for one in wanted:
        if one.name != "torch":
            assert all(one.specifier.contains(version) for version in locked(LISTS[name])[canonicalize_name(one.name)])


def test_oldest_is_the_oldest_that_is_allowed():
    for one in REQUIRED:
        (lowest,) = [Version(bound.version) for bound in one.specifier if bound.operator == ">="]
        if one.name != "torch":
            (version,) = locked(LISTS["oldest"])[canonicalize_name(one.name)]
            assert Version(version).release[: len(lowest.release)] == lowest.release, one.name


def test_what_is_run_is_a_part_of_what_is_tested():
    tested = locked(LISTS["test"])
    assert {name: tested[name] for name in locked(LISTS["run"])} == locked(LISTS["run"])


def test_both_ends_of_every_dependency_have_been_tested():
    assert list(TESTED) == [one.name for one in REQUIRED]
    for one in REQUIRED:
        oldest, newest = TESTED[one.name]
        assert one.specifier.contains(oldest) and one.specifier.contains(newest), one.name
        (lowest,) = [Version(bound.version) for bound in one.specifier if bound.operator == ">="]
        assert Version(oldest).release[: len(lowest.release)] == lowest.release, one.name


def test_every_dependency_has_its_reason_beside_it():
    for one in (*READ["dependencies"], *READ["optional-dependencies"]["dev"]):
        assert re.search(rf'^    "{re.escape(one)}",\s+# \S', PROJECT, flags=re.MULTILINE), one


@pytest.mark.parametrize("name", INSIDES)
def test_what_is_read_inside_ends_before_the_first_minor_release_that_has_not_been_tested(name):
    (one,) = [one for one in REQUIRED if one.name == name]
    major, minor = Version(TESTED[name][1]).release[:2]
    assert not one.specifier.contains(f"{major}.{minor + 1}.0") and one.specifier.contains(f"{major}.{minor}.99")


@pytest.mark.parametrize(
    ("installed", "verdict"),
    [
        ("5.23.0", "tested"),
        ("5.24.0", "tested"),
        ("5.24.9", "tested"),
        ("5.22.9", "older than tested"),
        ("5.25.0", "newer than tested"),
        ("5.25.0.dev0", "newer than tested"),
        ("6.0.0", "newer than tested"),
        ("5.24.0+cpu", "tested"),
        (None, "not installed"),
    ],
)
def test_verdicts(installed, verdict):
    one = Dependency("it", "<5.25,>=5.23", "5.23.0", "5.24.0", installed)
    assert (one.verdict, one.is_tested) == (verdict, verdict == "tested")


def test_what_is_installed_here_has_been_tested():
    assert [f"{one.name} {one.installed}" for one in dependencies() if one.installed is None] == []
