"""The initializer of a pool's processes."""

import os
from multiprocessing import parent_process
from threading import Thread


def end_with_parent() -> None:
    """End this process when its parent ends: a killed parent cannot do it, and another run may resume its folder."""
    Thread(target=_wait, daemon=True).start()


def _wait() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)
