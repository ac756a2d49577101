"""Pictures that are the same but for their names, sizes and formats: small and in gray, they hardly differ.

Of 202 photographs and drawings of the web, saved anew, scaled or in gray, no copy differed from its picture by more
than 3.6 of 255 levels, and no two pictures by less than 6.0. Pages of text and line charts, nearly all white, differ by
less, but where they are dark: so the gray levels of a copy are correlated as well. Pictures that differ in a small
thing alone, such as products before a white wall, may look like copies of each other.
"""

import os
import warnings
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lapilli.core.progress import Progress
from lapilli.data.paths import PictureError
from lapilli.data.pictures import open_picture

MOST = 4.5
"""Gray levels of 255 by which a copy differs at most, on average."""

LEAST = 0.98
"""The correlation of the gray levels of a copy and its picture; of drawn pages of text at most .965, of charts .62."""

_SIDE = 32
_AT_ONCE = 64  # pictures handed out to the threads

Pictures = tuple[Path, Collection[str]]
"""The names of pictures, and the folder that they start from."""


@dataclass(frozen=True)
class Copies:
    """The names of the pictures that look like one of others, and how many of both could not be opened."""

    names: frozenset[str]
    unread: int


def copies(own: Pictures, others: Pictures, progress: Progress | None = None) -> Copies:
    """The own pictures that look like one of the others. What cannot be opened looks like nothing, and is counted."""
    wanted = [small for _, small in _small_pictures(*others)]
    grays = np.array([small for small in wanted if small is not None], dtype=np.int16).reshape(-1, _SIDE**2)
    means = grays.mean(axis=1)
    alike, unread = set[str](), sum(small is None for small in wanted)
    for done, (name, small) in enumerate(_small_pictures(*own), 1):
        if progress is not None:
            progress("pictures", done, len(own[1]))
        if small is None:
            unread += 1
        elif are_copies(small, grays[np.abs(means - small.mean()) <= MOST]).any():
            alike.add(name)
    return Copies(frozenset(alike), unread)


def small_gray(picture: Image.Image) -> NDArray[np.int16]:
    """The picture in 32 x 32 gray levels, each the mean of its area, (1024,)."""
    small = picture.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.int16).ravel()


def are_copies(small: NDArray[np.int16], grays: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Which of some pictures, (picture, 1024), look like one, (1024,); of one gray level alone, those of the same."""
    near: NDArray[np.bool_] = np.abs(grays - small).mean(axis=1) <= MOST
    one, others = small - small.mean(), grays - grays.mean(axis=1, keepdims=True)
    lengths = np.sqrt((one**2).sum() * (others**2).sum(axis=1))
    near &= np.where(lengths > 0, others @ one >= LEAST * lengths, np.all(grays == small, axis=1))
    return near


def _small_pictures(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, NDArray[np.int16] | None]]:
    """Every name with its small picture; None for one that cannot be opened."""

    def read(name: str) -> NDArray[np.int16] | None:
        try:
            return small_gray(open_picture(folder, name))
        except PictureError:
            return None

    # Around all threads, as each of them restores the filters of warnings that it met.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(os.cpu_count()) as threads:
        listed = list(names)
        for start in range(0, len(listed), _AT_ONCE):
            some = listed[start : start + _AT_ONCE]
            yield from zip(some, threads.map(read, some), strict=True)
