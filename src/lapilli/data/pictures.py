"""Pictures opened from the images folder of a data set, and from nowhere else; and those that a caller hands over."""

import base64
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lapilli.core.errors import UsageError
from lapilli.core.progress import Progress
from lapilli.data.decode import TooLargeError, decode
from lapilli.data.extra_fields import excerpt
from lapilli.data.faults import Fault
from lapilli.data.paths import PictureError, picture_path

# What people keep photographs and drawings in. Pillow knows more, some of them programs to be run (EPS).
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")

_LONGEST = 20_000  # pixels of a side; telephones' panoramas have 16,382
_SLENDEREST = 200  # times as long as wide

_AT_ONCE = 64  # pictures handed out to the threads; Ctrl-C waits for no more

# Everything that Pillow's decoders raise on damaged files, found by feeding them some.
_UNDECODABLE = (OSError, SyntaxError, ValueError, RuntimeError)


def open_picture(root: Path, name: str) -> Image.Image:
    """The picture `name` below the folder `root`, wholly decoded, RGB, turned upright as its EXIF orientation says.

    It is drawn on white where it is transparent, and `core.pictures.ALPHA` keeps where. Samples of more than 8 bits are
    scaled by the range that they are stored in; of several frames it is the first. What has more than `decode.WHOLE`
    pixels comes reduced.

    Raises PictureError, a LapilliError, when the path is absolute or leaves the folder (by ".." or a symbolic link),
    and when the file is missing, no picture, damaged, or a decompression bomb: larger than Pillow's limit, or than
    memory for decoding, or so long and thin that it would become one when it is prepared.
    """
    path = picture_path(root, name)
    with _opened(path, path) as picture:
        return decode(picture, path)


def open_encoded(text: str, place: str) -> Image.Image:
    """The picture that a text in base64 is, as `open_picture` gives one of a file; `place` is where the text stands.

    Raises PictureError as `open_picture` does, and for a text that is no base64.
    """
    with _opened(BytesIO(_bytes(text, place)), Path(place)) as picture:
        return decode(picture, Path(place))


def check_encoded(text: str, place: str) -> None:
    """Raise PictureError as `open_encoded` does for what shows in a picture's header; nothing is decoded."""
    with _opened(BytesIO(_bytes(text, place)), Path(place)):
        pass


def _bytes(text: str, place: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise PictureError(place, f"{excerpt(text)}: not base64: {error}", "fetch the file again") from error


@contextmanager
def _opened(source: Path | BytesIO, where: Path) -> Iterator[Image.Image]:
    """A picture whose header is read and whose shape is checked; what is raised while it is decoded is told as such."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(source, formats=_FORMATS) as picture:
            _require_shape(where, picture.size)
            yield picture
    except UnidentifiedImageError as error:
        raise PictureError(where, "not a picture", f"save it as one of {', '.join(_FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise PictureError(where, str(error).rstrip("."), "scale the picture down") from error
    except TooLargeError as error:
        raise PictureError(where, str(error), "scale the picture down") from error
    except _UNDECODABLE as error:
        raise PictureError(where, f"cannot be decoded: {error}", "fetch or save the picture again") from error


def as_picture(image: Path | str | Image.Image | NDArray[np.uint8]) -> Image.Image:
    """A picture as `open_picture` gives it, of the path of a file, an image of Pillow's, or an array.

    An array is uint8, (row, column), or (row, column, channel) with 3 channels, or 4 with alpha. Raises PictureError as
    `open_picture` does, and UsageError for what is none of these.
    """
    if isinstance(image, (str, Path)):
        return open_picture(Path(image).parent, Path(image).name)
    picture = image if isinstance(image, Image.Image) else _from_array(image)
    where = Path(getattr(picture, "filename", "") or "image")
    _require_shape(where, picture.size)
    try:
        copy = picture.copy()  # the caller's stays as it is
        copy.getexif().update(picture.getexif())
        return decode(copy, where)
    except TooLargeError as error:
        raise PictureError(where, str(error), "scale the picture down") from error
    except _UNDECODABLE as error:
        raise PictureError(where, f"cannot be decoded: {error}", "open the picture again") from error


def _from_array(image: Any) -> Image.Image:
    if not isinstance(image, np.ndarray):
        raise UsageError(f"image: a {type(image).__name__}; give the path of a file, a PIL image or an array")
    channels = image.shape[2:]
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or channels not in ((), (3,), (4,)) or 0 in image.shape:
        described = f"an array of {image.dtype} {image.shape}"
        raise UsageError(f"image: {described}; give uint8, (row, column) or (row, column, 3 or 4), from 0 to 255")
    return Image.fromarray(image)


def _require_shape(path: Path, size: tuple[int, int]) -> None:
    if max(size) > min(_LONGEST, _SLENDEREST * min(size)):
        limit = f"more than {_LONGEST:,} pixels a side, or {_SLENDEREST} times the other, grow too large when prepared"
        raise PictureError(path, f"{size[0]} x {size[1]} pixels: {limit}", "scale the picture down, or cut it")


def check_paths(images: Path, names: Iterable[str]) -> dict[str, Fault]:
    """Return the faults of the paths of pictures below the folder `images`, by name; no picture is opened."""
    faults = ((name, _fault(picture_path, images, name)) for name in names)
    return {name: fault for name, fault in faults if fault is not None}


def check_pictures(images: Path, names: Iterable[str], progress: Progress | None = None) -> dict[str, Fault]:
    """Return the faults of pictures below the folder `images`, by name; every one is decoded whole, once.

    `progress` gets the number that are decoded. Threads decode them: Pillow's decoders release Python's lock.
    """
    listed = list(names)
    faulty: dict[str, Fault] = {}
    # Around all threads, as each of them restores the filters of warnings that it met.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(listed), _AT_ONCE):
            some = listed[start : start + _AT_ONCE]
            faults = threads.map(lambda name: _fault(open_picture, images, name), some)
            faulty |= {name: fault for name, fault in zip(some, faults, strict=True) if fault is not None}
            if progress is not None:
                progress("pictures", start + len(some), len(listed))
    return faulty


def _fault(check: Callable[[Path, str], object], images: Path, name: str) -> Fault | None:
    try:
        check(images, name)
    except PictureError as error:
        return Fault("image", f"{excerpt(name)}: {error.message}", error.remedy)
    return None
