"""Files and folders that are either whole or absent, whatever interrupts their writing.

A file or folder that is being written has a name of the form `.NAME.1a2b3c4d.part`. A killed process leaves it behind;
`sweep`, or the next writer of the folder NAME, removes it. A file under its own name is on the disk, not only in the
system's memory.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lapilli.core.errors import LapilliError
from lapilli.core.lock import HeldError, claim, locked

LOCK = ".lock"
"""The file that is held while a run is written, inside its folder."""

_MANY = 100  # files take longer to write out one by one, 3.5 ms each, than all that the system holds back

_PART = re.compile(r"\.(.+)\.[0-9a-f]{8}\.part", re.DOTALL)

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
                claim(file.fileno())  # not to be swept while it is being written
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())  # before the rename: a crash must not leave a whole name on an empty file
                os.replace(part, path)  # noqa: PTH105 - the one call that the tests make fail
            _sync(path.parent)
        finally:
            part.unlink(missing_ok=True)


def sha256(file: Path) -> str:
    """The checksum of a file's content."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`, which becomes `path` when the block ends and vanishes when it raises.

    Raises LapilliError when `path` is a file or a folder with something in it, when another process is writing it, and
    when the disk fills up.
    """
    with reserved(path), ExitStack() as stack:
        part = _part_beside(path)
        with explain_write(path):
            part.mkdir()
        stack.callback(shutil.rmtree, part, ignore_errors=True)
        with explain_write(path, only=(errno.ENOSPC, errno.EDQUOT)):
            yield part
        with explain_write(path):
            sync([part, *part.rglob("*")])
            os.replace(part, path)  # noqa: PTH105 - onto an empty folder too, which Path.rename does as well
            _sync(path.parent)


@contextmanager
def reserved(path: Path) -> Iterator[None]:
    """Reserve the new folder `path` for the block: nobody else may make it. Raises as `new_folder` does."""
    if path.name in ("", ".."):
        raise LapilliError(f"{path}: the folder in which one is, or one above it; name a new one")
    with ExitStack() as stack:
        with explain_write(path):
            stack.enter_context(locked(_lock_of(path), path))
            refuse_occupied(path)
            if (path / LOCK).exists():  # a run was killed before it began, or is about to begin
                with locked(path / LOCK, path):
                    pass  # whose end removes it
            for part in [file for file in path.parent.iterdir() if _name_of(file) == path.name]:
                _remove(part)
        yield


def sweep(folder: Path) -> None:
    """Remove half-written files and folders of killed processes in and below `folder`; those in use stay."""
    for part in [part for part in folder.rglob(".*.part") if _name_of(part)]:
        with suppress(HeldError), locked(_lock_of(part.with_name(_name_of(part))), part):
            _remove(part)
    for lock in list(folder.rglob(".?*.lock")):
        with suppress(HeldError), locked(lock, lock):
            pass  # whose end removes it


def discard(folder: Path) -> None:
    """Remove a folder, if it is there: whatever interrupts that, it is there as a whole or not at all.

    Raises LapilliError when it cannot be removed.
    """
    part = _part_beside(folder)
    with explain_write(folder), suppress(FileNotFoundError):
        os.replace(folder, part)  # noqa: PTH105 - as above
        if part.is_symlink():
            part.unlink()
        else:
            shutil.rmtree(part)


def holds_only_leftovers(folder: Path) -> bool:
    """Whether `folder` holds nothing but half-written files and the lock of a run."""
    return all(file.name == LOCK or _name_of(file) for file in folder.iterdir())


def sync(paths: Iterable[Path]) -> None:
    """Write these files and folders out to the disk, as they are now."""
    paths = list(paths)
    if len(paths) > _MANY:
        os.sync()
        return
    for path in paths:
        _sync(path)


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


def refuse_occupied(path: Path) -> None:
    """Raise LapilliError when `path` is a file, or a folder with something in it but a lock."""
    if path.is_dir() and any(file.name != LOCK for file in path.iterdir()):
        raise LapilliError(f"{path}: the folder exists and is not empty; choose another name or remove it")
    if (path.exists() or path.is_symlink()) and not path.is_dir():  # a link to nothing is none to write through
        raise LapilliError(f"{path}: a file of that name exists; choose another name or remove it")


def refuse_input(out: Path, inputs: Iterable[Path]) -> None:
    """Raise LapilliError when a file that is to be written is one of those that are read, which would be lost."""
    if twice := next((path for path in inputs if path.resolve() == out.resolve()), None):
        raise LapilliError(f"{out}: would be written over {twice}, which is read; choose another name")


def _part_beside(path: Path) -> Path:
    """A free name in the folder of `path`: the same file system, so that the rename is atomic."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def _lock_of(path: Path) -> Path:
    """The lock that is held while the folder `path` is written."""
    return path.with_name(f".{path.name}.lock")


def _name_of(part: Path) -> str:
    """The final name of a half-written file or folder; "" for any other file."""
    match = _PART.fullmatch(part.name)
    return match[1] if match else ""


def _remove(part: Path) -> None:
    """Remove a half-written folder, or a half-written file unless somebody holds its lock."""
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
        return
    with suppress(FileNotFoundError), part.open("r+b") as file:
        if claim(file.fileno()):
            part.unlink()


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno != errno.EINVAL:  # what has nothing to write out: folders, on some file systems
            raise
    finally:
        os.close(opened)
