"""Advisory locks: a file that one process at a time holds, with its pid and host in it for the others to read.

The kernel releases a lock when its holder ends, in whatever way, so that a file that is left behind locks nobody out.
The `filelock` library does the same, but does not say who holds the lock and leaves its files in the folders.
"""

import errno
import fcntl
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from lapilli.core.errors import LapilliError

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""The errors of file systems without locks."""

_TRIES = 100  # of 10 ms, for a holder that has not written its name yet

_locks = dict[tuple[Path, int], TextIO]()  # by file and thread: the open file that is locked


class HeldError(LapilliError):
    """Another process holds the lock."""


@contextmanager
def locked(file: Path, place: Path) -> Iterator[None]:
    """Hold the lock `file` inside the block, against other processes and threads; the file is removed afterwards.

    Missing parent folders are made, and removed again if nothing was put there. A file system without locks keeps
    nobody out. Raises HeldError, naming `place`, the holder's pid and its host, and OSError where no file can be made.
    """
    key = Path(os.path.realpath(file.parent)) / file.name, threading.get_ident()
    if key in _locks:  # by a block around this one
        yield
        return
    missing = [folder for folder in file.parents if not folder.exists()]
    try:
        _locks[key] = _take(file, place)
        try:
            yield
        finally:
            if opened := _locks.pop(key, None):  # else this is a child of the process that holds it
                file.unlink(missing_ok=True)  # before anybody else can hold it
                opened.close()
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def holder(file: Path) -> str:
    """The process that holds the lock `file`, with its host; "" where none does, or where that cannot be known."""
    with suppress(OSError), file.open("r+", encoding="utf-8", errors="replace") as opened:
        if claim(opened.fileno()) is False:
            return opened.read(1_000).strip() or "another process"
    return ""


def claim(opened: int) -> bool | None:
    """Lock an open file for as long as it is open. Return whether that was possible: False if another holds the lock.

    None on a file system without locks.
    """
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def _take(file: Path, place: Path) -> TextIO:
    holder = ""
    for _ in range(_TRIES):
        file.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # the folder went with the lock's last holder
            opened = file.open("a+", encoding="utf-8", errors="replace")
            if claim(opened.fileno()) is False:
                opened.seek(0)
                holder = opened.read(1_000).strip()
            elif _is_there(opened, file):
                opened.truncate(0)
                opened.write(f"process {os.getpid()} on {platform.node()}\n")
                opened.flush()
                return opened
            opened.close()
        if holder:
            break
        time.sleep(0.01)
    raise HeldError(f"{place}: {holder or 'another process'} is writing there; wait until it ends, or end it")


def _is_there(opened: TextIO, file: Path) -> bool:
    """Whether an open file still has its name, and was not removed by the lock's last holder before it was locked."""
    try:
        return os.path.samestat(os.fstat(opened.fileno()), file.stat())
    except FileNotFoundError:
        return False


def _close_locks() -> None:
    """Close the locks in a forked child: otherwise a lock would last as long as any child of its holder."""
    for opened in _locks.values():
        opened.close()
    _locks.clear()


os.register_at_fork(after_in_child=_close_locks)
