"""Trial runs of untrusted templates and tokenizers in a copy of this process, before they run in this one.

A chat template is a program, and so are the rules of a tokenizer: a few bytes of either can ask for gigabytes or for
hours. Reading them does not tell which do, so that they run once in a copy with little time and memory.
"""

import faulthandler
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lapilli.core.errors import LapilliError

SECONDS = 2  # of the processor, of which a sound one needs a hundredth
MEGABYTES = 512  # beyond what this process holds already
_WAIT = 10 * SECONDS  # for a copy that waits for something that was not copied with it, such as a lock

_MEMORY, _PANIC = 3, 4  # exit codes of the copy


def trial(work: Callable[[], object]) -> str | None:
    """Run `work` in a copy of this process with limits; return None, or in words the limit that it broke.

    An exception is no failure: `work` will raise it in this process too. Outside Linux, where processes cannot be
    copied with limits, nothing is tried.
    """
    if sys.platform != "linux":
        return None
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of threads: the copy uses none
        copy = os.fork()
    if not copy:
        _end(work)
    _, status = os.waitpid(copy, 0)
    code = os.waitstatus_to_exitcode(status)
    if code in (-signal.SIGXCPU, -signal.SIGALRM, -signal.SIGKILL):
        return f"does not end within {SECONDS} s"
    if code == _PANIC:
        return "gives up on an ordinary text"
    return f"needs more than {MEGABYTES} MB" if code else None


@contextmanager
def tokenizing() -> Iterator[None]:
    """Raise a LapilliError for the errors of the tokenizers library on a text.

    It raises a bare Exception or, where a pattern backtracks for too long, a panic, which is no Exception.
    """
    try:
        yield
    except BaseException as error:  # a panic is of no narrower type that could be named
        if type(error) is not Exception and not _is_panic(error):
            raise
        reason = " ".join(str(error).split())
        raise LapilliError(f"the tokenizer gives up on the text: {reason}; fetch the tokenizer again") from error


def _end(work: Callable[[], object]) -> None:
    """Do the work within the limits, without output, and end this process."""
    code = 0
    try:
        _limit()
        work()
    except MemoryError:
        code = _MEMORY
    except BaseException as error:  # noqa: BLE001 - the border of the copy
        code = _PANIC if _is_panic(error) else 0
    finally:
        os._exit(code)


def _limit() -> None:
    import resource  # is not everywhere

    for number in (signal.SIGALRM, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)
    signal.alarm(_WAIT)
    faulthandler.disable()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEGABYTES * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


def _is_panic(error: BaseException) -> bool:
    return type(error).__name__ == "PanicException"  # of a module that cannot be imported
