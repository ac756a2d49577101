"""Files and folders that are either whole or absent, whatever interrupts their writing."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lapilli.core.errors import LapilliError

_REMEDIES = {
    errno.ENOSPC: "free some space or choose another place",
    errno.EDQUOT: "free some of your quota or choose another place",
    errno.EACCES: "choose a place that you may write to",
    errno.EPERM: "choose a place that you may write to",
    errno.EROFS: "choose a place that can be written to",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write `content` (text as UTF-8) to `path`, so that a reader sees the old file or the new one, never a part.

    Missing parent folders are made. Raises LapilliError, with nothing left behind, when the disk is full or the
    place cannot be written to.
    """
    part = _part_beside(path)
    with explain_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())  # before the rename: a crash must not leave a whole name on an empty file
            os.replace(part, path)  # noqa: PTH105 - the one call that the tests make fail
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`, which becomes `path` when the block ends and vanishes when it raises.

    Raises LapilliError when `path` is a file or a folder with something in it, and when the disk fills up.
    """
    refuse_occupied(path)
    part = _part_beside(path)
    try:
        with explain_write(path):
            part.mkdir(parents=True)
        with explain_write(path, only=(errno.ENOSPC, errno.EDQUOT)):
            yield part
        with explain_write(path):
            os.replace(part, path)  # noqa: PTH105 - onto an empty folder too, which Path.rename does as well
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def explain_write(path: Path, only: tuple[int, ...] = ()) -> Iterator[None]:
    """Turn an OSError (of the numbers in `only`, or any) inside the block into a LapilliError on writing `path`."""
    try:
        yield
    except OSError as error:
        if only and error.errno not in only:
            raise
        remedy = _REMEDIES.get(error.errno or 0, "choose another place")
        raise LapilliError(f"{path}: cannot be written: {error.strerror or error}; {remedy}") from error


def require_folder(path: Path) -> None:
    """Raise LapilliError where there is no such folder of a model."""
    if not path.is_dir():
        raise LapilliError(f"{path}: no such folder; give that of a model")


def refuse_occupied(path: Path) -> None:
    """Raise LapilliError when `path` is a file, or a folder with something in it."""
    if path.is_dir() and any(path.iterdir()):
        raise LapilliError(f"{path}: the folder exists and is not empty; choose another name or remove it")
    if (path.exists() or path.is_symlink()) and not path.is_dir():  # a link to nothing is none to write through
        raise LapilliError(f"{path}: a file of that name exists; choose another name or remove it")


def _part_beside(path: Path) -> Path:
    """A free name in the folder of `path`: the same file system, so that the rename is atomic."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
