"""Many pictures checked before anything depends on them: where they lie, and whether they can be decoded."""

import os
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lapilli.core.progress import Progress
from lapilli.data.faults import Fault
from lapilli.data.paths import PictureError, picture_path
from lapilli.data.pictures import open_picture
from lapilli.data.unread import shown

_AT_ONCE = 64  # pictures handed out to the threads; Ctrl-C waits for no more


def check_paths(images: Path, names: Iterable[str]) -> dict[str, Fault]:
    """What is wrong with the paths of pictures below the folder `images`, by name; no picture is opened."""
    found = ((name, _fault(picture_path, images, name)) for name in names)
    return {name: fault for name, fault in found if fault is not None}


def check_pictures(images: Path, names: Iterable[str], progress: Progress | None = None) -> dict[str, Fault]:
    """What is wrong with pictures below the folder `images`, by name; every one is decoded whole, once.

    `progress` is told how many are. Threads decode them: Pillow's decoders let others run.
    """
    listed = list(names)
    found: dict[str, Fault] = {}
    # Around all threads: each of them sets the filters of warnings back to what it found.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(listed), _AT_ONCE):
            some = listed[start : start + _AT_ONCE]
            faults = threads.map(lambda name: _fault(open_picture, images, name), some)
            found |= {name: fault for name, fault in zip(some, faults, strict=True) if fault is not None}
            if progress is not None:
                progress("pictures", start + len(some), len(listed))
    return found


def _fault(look: Callable[[Path, str], object], images: Path, name: str) -> Fault | None:
    try:
        look(images, name)
    except PictureError as error:
        return Fault("image", f"{shown(name)}: {error.message}", error.remedy)
    return None
