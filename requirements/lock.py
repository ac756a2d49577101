"""The exact versions that lapilli is installed and tested with.

    python requirements/lock.py lock           resolve pyproject.toml anew (`make lock`); needs uv
    python requirements/lock.py tested newest  write down what the tests have just passed with (`make test-newest`)

The lists hold every package with its hashes, for all systems and Python versions, and leave out torch: which build of
it is wanted depends on the machine, so it is installed first, and its processor builds fit no index's hashes.

    run.txt      what `make quickstart` installs: the newest of everything at the time
    test.txt     the same and what the tests need: `make test`
    oldest.txt   the oldest that pyproject.toml allows: `make test-oldest`
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).parent
PROJECT = HERE.parent / "pyproject.toml"
TESTED = HERE.parent / "src/lapilli/core/tested.json"
OPTIONS = ("--universal", "--generate-hashes", "--no-header", "--no-annotate", "--quiet", "--upgrade")
EDITABLE = "editables>=0.5"  # with which hatchling installs a checkout in place


def main() -> None:
    """Do what the first argument says."""
    if sys.argv[1:] == ["lock"]:
        lock()
    elif sys.argv[1:] in (["tested", "oldest"], ["tested", "newest"]):
        record(sys.argv[2])
    else:
        sys.exit(__doc__)


def lock() -> None:
    """Write the three lists; run.txt takes its versions from test.txt."""
    resolve("test.txt", "--extra", "dev")
    resolve("oldest.txt", "--extra", "dev", "--resolution", "lowest-direct")
    resolve("run.txt", "--constraint", str(HERE / "test.txt"))


def resolve(name: str, *options: str) -> None:
    """Write one list. What builds the package itself is in it too: nothing is fetched beside the list."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))
    python = project["project"]["requires-python"].removeprefix(">=")
    with tempfile.TemporaryDirectory() as folder:
        excluded, build = Path(folder, "excluded.txt"), Path(folder, "build.in")
        excluded.write_text("torch\n", encoding="utf-8")
        build.write_text("\n".join([*project["build-system"]["requires"], EDITABLE]), encoding="utf-8")
        command = ["uv", "pip", "compile", str(PROJECT), str(build), "--excludes", str(excluded), *OPTIONS, *options]
        subprocess.run([*command, "--python-version", python, "--output-file", str(HERE / name)], check=True)


def record(end: str) -> None:
    """Write the installed version of every dependency into tested.json, as the oldest or the newest tested one."""
    tested = json.loads(TESTED.read_text(encoding="utf-8")) if TESTED.exists() else {}
    required = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    found = {}
    for name in (Requirement(line).name for line in required):
        here = version(name).partition("+")[0]
        oldest, newest = tested.get(name, (here, here))
        found[name] = (here, newest) if end == "oldest" else (oldest, here)
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(ends)}" for name, ends in found.items())
    TESTED.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
