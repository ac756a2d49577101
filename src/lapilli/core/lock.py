"""Advisory locks: a file that one process at a time holds, with its pid and host in it for the others to read.

The kernel lets go of a lock when its holder ends, however it ends, so that a file left behind locks nobody out. The
`filelock` library does the same without saying who holds it, and leaves its files in the folders that people keep.
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
"""What file systems say that have none."""

_TRIES = 100  # of 10 ms, for a holder that has not written its name yet

_held = dict[tuple[Path, int], TextIO]()  # by file and thread: the open file


class HeldError(LapilliError):
    """Another process holds the lock."""


@contextmanager
def locked(file: Path, place: Path) -> Iterator[None]:
    """A block in which nobody else, no other thread either, is in a block of the same `file`; the file ends with it.

    Missing parent folders are made, and removed again if nothing was put there. On a file system without locks nobody
    is kept out. Raises HeldError, naming `place`, the holder's pid and its host, and OSError where no file can be.
    """
    key = Path(os.path.realpath(file.parent)) / file.name, threading.get_ident()
    if key in _held:  # by a block around this one
        yield
        return
    missing = [folder for folder in file.parents if not folder.exists()]
    try:
        _held[key] = _take(file, place)
        try:
            yield
        finally:
            if opened := _held.pop(key, None):  # else this is a child of the process that holds it
                file.unlink(missing_ok=True)  # before anybody else can hold it
                opened.close()
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def claim(opened: int) -> bool | None:
    """Lock an open file for as long as it is open: True if that was possible, False if somebody else has it locked.

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
                print(f"process {os.getpid()} on {platform.node()}", file=opened, flush=True)
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


def _let_go() -> None:
    """In a forked child: or a lock would be held for as long as any child of its holder lives."""
    for opened in _held.values():
        opened.close()
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
