"""The callback by which long work reports its progress."""

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int], None]
"""A callback `progress(work, done, total)`: the name of the work, the steps that are done, and all of them."""
