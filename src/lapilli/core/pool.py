"""How a pool's processes begin, and end."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from threading import Thread

_SAFE = "PYTHONSAFEPATH"


@contextmanager
def importing_nothing_here() -> Iterator[None]:
    """Within the block processes begin that import nothing from the working folder: whoever's files may lie there.

    Python looks there first when a process begins by `python -c`, as those of pools do where they are not forked.
    """
    before = os.environ.get(_SAFE)
    os.environ[_SAFE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE]
        else:
            os.environ[_SAFE] = before


def end_with_parent() -> None:
    """End this process when its parent ends: a killed parent cannot do it, and another run may resume its folder."""
    Thread(target=_wait, daemon=True).start()


def _wait() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)
