"""Pictures opened from the images folder of a data set, and from nowhere else."""

import warnings
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from lapilli.core.errors import LapilliError
from lapilli.data.decode import TooLargeError, decode

# What people keep photographs and drawings in. Pillow knows more, some of them programs to be run (EPS).
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")

_LONGEST = 20_000  # pixels of a side; telephones' panoramas have 16,382
_SLENDEREST = 200  # times as long as wide

# Everything that Pillow's decoders raise on damaged files, found by feeding them some.
_UNDECODABLE = (OSError, SyntaxError, ValueError, RuntimeError)


class PictureError(LapilliError):
    """A picture that cannot be had: `message` says why and `remedy` what to do, apart from each other for tables."""

    def __init__(self, picture: Path | str, message: str, remedy: str) -> None:
        super().__init__(f"{picture}: {message}; {remedy}")
        self.message = message
        self.remedy = remedy


def open_picture(root: Path, name: str) -> Image.Image:
    """The picture `name` below the folder `root`, wholly decoded, RGB, turned upright as its EXIF orientation says.

    It is drawn on white where it is transparent, and `core.pictures.ALPHA` keeps where. Samples of more than 8 bits are
    scaled by the range that they are stored in; of several frames it is the first. What has more than `decode.WHOLE`
    pixels comes reduced.

    Raises PictureError, a LapilliError, when the path is absolute or leaves the folder (by ".." or a symbolic link),
    and when the file is missing, no picture, damaged, or a decompression bomb: larger than Pillow's limit, or than
    memory for decoding, or so long and thin that it would become one when it is prepared.
    """
    path = _path_inside(root, name)
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=_FORMATS) as picture:
            _require_shape(path, picture.size)
            return decode(picture, path)
    except UnidentifiedImageError as error:
        raise PictureError(path, "not a picture", f"save it as one of {', '.join(_FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise PictureError(path, str(error).rstrip("."), "scale the picture down") from error
    except TooLargeError as error:
        raise PictureError(path, str(error), "scale the picture down") from error
    except _UNDECODABLE as error:
        raise PictureError(path, f"cannot be decoded: {error}", "fetch or save the picture again") from error


def _require_shape(path: Path, size: tuple[int, int]) -> None:
    if max(size) > min(_LONGEST, _SLENDEREST * min(size)):
        limit = f"more than {_LONGEST:,} pixels a side, or {_SLENDEREST} times the other, grow too large when prepared"
        raise PictureError(path, f"{size[0]} x {size[1]} pixels: {limit}", "scale the picture down, or cut it")


def _path_inside(root: Path, name: str) -> Path:
    """The file that `name` means, every link followed, and never one outside `root`."""
    if Path(name).is_absolute():
        raise PictureError(name, "an absolute path", f"write the path as seen from {root}")
    try:
        folder = root.resolve()
        path = (folder / name).resolve()
        exists = path.is_file()  # neither a folder nor a pipe, which would be waited for without end
    except (OSError, ValueError, RuntimeError) as error:  # too long; a zero byte; links that turn in a circle
        raise PictureError(repr(name), f"not a usable path: {error}", "correct the path") from error
    if not path.is_relative_to(folder):
        raise PictureError(name, f"leads out of {root}", "keep every picture inside the images folder")
    if not exists:
        message = "not a file" if path.exists() else "no such file"
        raise PictureError(path, message, "put the picture there, or correct its path")
    return path
