"""The path of a picture that a row names: below the images folder, and nowhere else. Nothing is opened."""

import re
import unicodedata
from pathlib import Path

from lapilli.core.errors import LapilliError
from lapilli.data.extra_fields import excerpt, is_url


class PictureError(LapilliError):
    """A picture that cannot be opened: the reason in `message`, and the `remedy`, separate for tables."""

    def __init__(self, picture: Path | str, message: str, remedy: str) -> None:
        super().__init__(f"{picture}: {message}; {remedy}")
        self.message = message
        self.remedy = remedy


def picture_path(root: Path, name: str) -> Path:
    """The file that `name` means, every link followed, and never one outside `root`.

    A name that is written in another Unicode form than the file's is the file's: the same letters may be one character
    or two. Raises PictureError where there is no such file, and for what is no path below `root`.
    """
    _require_relative(root, name)
    try:
        folder = root.resolve()
        path = (folder / name).resolve()
        if not path.is_file():  # neither a folder nor a pipe, which would be waited for without end
            path = _in_other_form(folder, name) or path
    except (OSError, ValueError, RuntimeError) as error:  # too long; a zero byte; links that turn in a circle
        raise PictureError(excerpt(name), f"not a usable path: {error}", "correct the path") from error
    if not path.is_relative_to(folder):
        raise PictureError(name, f"leads out of {root}", "keep every picture inside the images folder")
    if not path.is_file():
        raise _missing(folder, name, path)
    return path


def _require_relative(root: Path, name: str) -> None:
    if is_url(name):
        raise PictureError(excerpt(name), "an address", f"fetch the picture into {root}, and name its file")
    if Path(name).is_absolute() or re.match(r"[A-Za-z]:[\\/]|\\\\", name):  # of Windows, too
        raise PictureError(name, "an absolute path", f"write the path as seen from {root}")


def _in_other_form(folder: Path, name: str) -> Path | None:
    """The file whose name, part by part, has the same letters in another normal form."""
    path = folder
    for part in Path(name).parts:
        forms = (part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD")))
        path = next((path / form for form in forms if (path / form).exists()), path / part)
    path = path.resolve()
    return path if path.is_file() else None


def _missing(folder: Path, name: str, path: Path) -> PictureError:
    if "\\" in name:
        slashed = name.replace("\\", "/")
        there = "; that file is there" if (folder / slashed).is_file() else ""
        return PictureError(path, "no such file: written with \\ as on Windows", f"write {slashed!r}, with /{there}")
    message = "not a file" if path.exists() else "no such file"
    return PictureError(path, message, "put the picture there, or correct its path")
