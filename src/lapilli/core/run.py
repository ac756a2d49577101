"""Run folders: the files that a command produces.

    recipe.yaml         the recipe as resolved
    environment.json    versions, platform, seed, start
    metrics.jsonl       one JSON object a line, written as the run goes; further logs have other names
    results/            NAME.json and NAME.npz
    manifest.json       every file with its size and SHA-256; written last, so that its presence means a whole run
    .lock               while the run is being written: the process that writes it

Pages that are drawn from results alone may be drawn again later; they are then no part of the run.

Training, studies and evaluation write run folders. Reports read them and need nothing else.
"""

from __future__ import annotations

import io
import platform
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import yaml

from lapilli.core.environment import versions
from lapilli.core.errors import LapilliError
from lapilli.core.files import LOCK, explain_write, holds_only_leftovers, refuse_occupied, sweep, sync, write_atomically
from lapilli.core.lock import locked
from lapilli.core.manifest import MANIFEST, changed, seal
from lapilli.core.plain import json_text
from lapilli.core.read import parsed, read_bytes, read_json, read_text
from lapilli.core.recipe import dump

if TYPE_CHECKING:
    from numpy.typing import NDArray


_AGAIN = "run it again, in another folder"


@dataclass(frozen=True)
class RunDir:
    """A run folder at `path`; made by `create` or `open`."""

    path: Path

    @classmethod
    @contextmanager
    def alone(cls, path: Path) -> Iterator[None]:
        """Lock the run at `path`, new or existing, for the block: every writer of a run must hold this lock.

        Half-written files of a killed run are removed first; a folder that is no run stays as it is. Raises
        LapilliError, with pid and host, where another process holds the lock, and where no run can be written.
        """
        if not path.is_dir():
            refuse_occupied(path)
        with ExitStack() as stack:
            with explain_write(path):
                stack.enter_context(locked(path / LOCK, path))
                if (path / "recipe.yaml").is_file() or holds_only_leftovers(path):  # else it is somebody else's folder
                    sweep(path)
            yield

    @classmethod
    def create(cls, path: Path, recipe: Any, seed: int) -> RunDir:
        """Start a run in a new or empty folder; `recipe` is a dataclass or a dict. Raises LapilliError for others."""
        refuse_occupied(path)
        write_atomically(path / "recipe.yaml", dump(recipe))
        return cls.resume(path, seed)

    @classmethod
    def resume(cls, path: Path, seed: int) -> RunDir:
        """Return an existing run to continue. Raises LapilliError when the folder is no run."""
        run = cls.open(path)
        if not (path / "environment.json").is_file():  # the run was killed right after its start
            write_atomically(path / "environment.json", json_text(_environment(seed), indent=2) + "\n")
        return run

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """Return an existing run, finished or not. Raises LapilliError when the folder is no run."""
        if not (path / "recipe.yaml").is_file():
            raise LapilliError(f"{path}: not a run folder: it has no recipe.yaml")
        return cls(path)

    def reopen(self) -> None:
        """Make a finished run an unfinished one, whose results may change. Raises LapilliError where that cannot be."""
        with explain_write(self._manifest):
            self._manifest.unlink(missing_ok=True)

    def replace_recipe(self, recipe: Any) -> None:
        """Write another recipe as the run's. Raises LapilliError for a finished run."""
        self._require_unfinished()
        write_atomically(self.path / "recipe.yaml", dump(recipe))

    @classmethod
    def begin(cls, path: Path, recipe: Any, seed: int) -> RunDir:
        """Start a new run, or return the existing run of the same recipe, finished or to be continued.

        Raises LapilliError for a run of another recipe, and as `create` does.
        """
        if not (path / "recipe.yaml").is_file():
            return cls.create(path, recipe, seed)
        if differing := cls(path).differing(recipe):
            raise LapilliError(f"{path}: a run of another recipe ({differing}) is there; choose another folder")
        return cls.open(path) if (path / MANIFEST).is_file() else cls.resume(path, seed)

    def differing(self, recipe: Any) -> str:
        """The fields in which the run's recipe and this one differ, as they are written in files; empty if in none."""
        return _differing(self.path / "recipe.yaml", dump(recipe))

    @contextmanager
    def or_nothing(self) -> Iterator[None]:
        """Remove the run if the block raises before a result is saved."""
        try:
            yield
        except BaseException:  # raised again, an interrupt too: a folder with nothing in it is to be gone
            if {file.name for file in self.path.iterdir()} <= {"recipe.yaml", "environment.json", LOCK}:
                self.remove()
            raise

    def remove(self) -> None:
        """Remove the run's files, and the folder itself unless it is a link or a mount point."""
        files = sorted(self.path.iterdir(), key=lambda file: file.name == "recipe.yaml")  # last: without, it is no run
        for file in files:
            if file.is_dir():
                shutil.rmtree(file)
            elif file.name != LOCK:
                file.unlink()
        with suppress(OSError):
            self.path.rmdir()

    @property
    def is_complete(self) -> bool:
        """Whether the run has finished. `verify` checks whether its files are unchanged."""
        return self._manifest.is_file()

    def log(self, **metrics: Any) -> None:
        """Append one line to metrics.jsonl and pass it to the operating system at once."""
        self.append("metrics", [metrics])

    def append(self, log: str, rows: Iterable[Any]) -> None:
        """Append a line for each row to the file LOG.jsonl and pass them to the operating system at once."""
        self._require_unfinished()
        file = self._log(log)
        with explain_write(file), file.open("a", encoding="utf-8") as opened:
            opened.write("".join(json_text(row) + "\n" for row in rows))

    def sync(self) -> None:
        """Write all logged lines out to the disk."""
        with explain_write(self._log("metrics")):
            sync([self.path, *self.path.glob("*.jsonl")])

    def metrics(self) -> list[dict[str, Any]]:
        """Return every line of metrics.jsonl, as `lines` does."""
        return self.lines("metrics")

    def lines(self, log: str) -> list[dict[str, Any]]:
        """Return every line of LOG.jsonl, in order; none without it. A torn last line of a killed run is left out."""
        file = self._log(log)
        if not file.is_file():
            return []
        lines = read_text(file, _AGAIN).split("\n")[:-1]
        rows = [parsed(line, f"{file}:{number}", _AGAIN) for number, line in enumerate(lines, 1)]
        if not all(isinstance(row, dict) for row in rows):
            raise LapilliError(f"{file}: not one object a line; {_AGAIN}")
        return rows

    def rewind(self, step: int, *logs: str) -> None:
        """Drop the lines after `step` and a torn last line, before the run continues from that step's checkpoint.

        Of all logs, where none is named.
        """
        self._require_unfinished()
        for log in logs or sorted({"metrics", *(file.stem for file in self.path.glob("*.jsonl"))}):
            lines = [line for line in self.lines(log) if line.get("step", step) <= step]
            write_atomically(self._log(log), "".join(json_text(line) + "\n" for line in lines))

    def save(self, name: str, result: Any) -> None:
        """Save a result (a dataclass, a dict, ...) as results/NAME.json, whole or not at all."""
        self._require_unfinished()
        write_atomically(self._result(name, "json"), json_text(result, indent=2) + "\n")

    def save_arrays(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Save arrays of numbers as results/NAME.npz, whole or not at all."""
        import numpy as np

        self._require_unfinished()
        packed = io.BytesIO()
        np.savez_compressed(packed, allow_pickle=False, **arrays)
        write_atomically(self._result(name, "npz"), packed.getvalue())

    def product(self, name: str) -> Path:
        """The file whose presence says that a result NAME was saved; where it has arrays, they are saved before."""
        return self._result(name, "json")

    def has(self, name: str) -> bool:
        """Whether a result NAME was saved."""
        return self.product(name).is_file()

    def load(self, name: str) -> Any:
        """Return the saved result NAME as plain values. Raises LapilliError when the run has no such result."""
        return read_json(self._existing(name, "json"), _AGAIN)

    def load_arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the saved arrays NAME. Raises LapilliError when the run has no such arrays, or they are damaged."""
        import numpy as np

        file = self._existing(name, "npz")
        try:
            with np.load(io.BytesIO(read_bytes(file, _AGAIN)), allow_pickle=False) as stored:
                return dict(stored)
        except (ValueError, OSError, EOFError, BadZipFile, zlib.error, AttributeError, TypeError) as error:
            raise LapilliError(f"{file}: no arrays: {error}; {_AGAIN}") from error

    def finish(self) -> None:
        """Write the manifest: the run is complete, and its results no longer change."""
        self._require_unfinished()
        seal(self.path, finished=_now())

    def verify(self, pages: bool = True) -> None:
        """Compare every file with the manifest. Raises LapilliError naming the files that are missing or changed.

        Code that draws pages from a finished run calls it first, with `pages=False`: the pages may be drawn again, the
        results must be those that were measured.
        """
        if not self.is_complete:
            raise LapilliError(f"{self.path}: the run has not finished: it has no manifest.json")
        if spoiled := [name for name in changed(self.path) if pages or not name.endswith(".html")]:
            raise LapilliError(
                f"{self.path}: missing or changed since the run finished: {', '.join(spoiled)}; run it again"
            )

    @property
    def _manifest(self) -> Path:
        return self.path / MANIFEST

    def _log(self, name: str) -> Path:
        return self.path / f"{name}.jsonl"

    def _result(self, name: str, ending: str) -> Path:
        return self.path / "results" / f"{name}.{ending}"

    def _existing(self, name: str, ending: str) -> Path:
        file = self._result(name, ending)
        if not file.is_file():
            there = ", ".join(sorted(other.stem for other in file.parent.glob(f"*.{ending}"))) or "none"
            raise LapilliError(f"{file}: no such result; the run has {there}")
        return file

    def _require_unfinished(self) -> None:
        if self.is_complete:
            raise LapilliError(
                f"{self.path}: the run has finished, and its files no longer change; choose another folder"
            )


def _differing(file: Path, other: str) -> str:
    """The fields in which the recipe in a file and another one differ, as they are written in files."""
    try:
        theirs, ours = (yaml.safe_load(text) or {} for text in (read_text(file, _AGAIN), other))
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise LapilliError(f"{file}: not YAML; {_AGAIN}") from error
    if not isinstance(theirs, dict):
        raise LapilliError(f"{file}: not a recipe; {_AGAIN}")
    missing = object()
    return ", ".join(key for key in {**theirs, **ours} if theirs.get(key, missing) != ours.get(key, missing))


def _environment(seed: int) -> dict[str, Any]:
    return {
        "started": _now(),
        "seed": seed,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
