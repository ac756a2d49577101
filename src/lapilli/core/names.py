"""Short, distinct names of folders."""

from collections.abc import Sequence
from pathlib import Path


def shortest_ends(paths: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths that tell them apart: a/model, b/model. Equal paths have equal ends."""
    parts = [path.parts for path in paths]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = [Path(*part[-length:]).as_posix() for part in parts]
        if len(set(names)) == len(set(parts)):
            return names
    return []
