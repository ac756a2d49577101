"""What folders are called where there are several."""

from collections.abc import Sequence
from pathlib import Path


def shortest_ends(paths: Sequence[Path]) -> list[str]:
    """Of each path the end by which all differ, as short as can be: a/model, b/model. Equal paths are called alike."""
    parts = [path.parts for path in paths]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = [Path(*part[-length:]).as_posix() for part in parts]
        if len(set(names)) == len(set(parts)):
            return names
    return []
