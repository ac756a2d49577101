"""Every problem of a data file, row by row, before a training run finds the first of them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lapilli.core.errors import LapilliError
from lapilli.data.paths import PictureError
from lapilli.data.pictures import open_picture
from lapilli.data.faults import Fault, faults
from lapilli.data.rows import Row, read_rows

Track = Callable[[list[Row]], Iterable[Row]]


@dataclass(frozen=True)
class Problem:
    """One problem: `row` counts from 0 and is None when the whole file is at fault; `id` is None when it has none."""

    row: int | None
    id: str | None
    field: str
    message: str
    remedy: str


@dataclass(frozen=True)
class Findings:
    """What a check found: how many rows, how many different pictures they name, and the problems in row order."""

    rows: int
    images: int
    problems: tuple[Problem, ...]


def problems(path: Path, images: Path | None) -> list[Problem]:
    """The problems that `validate` finds."""
    return list(validate(path, images).problems)


def validate(path: Path, images: Path | None, track: Track = iter) -> Findings:
    """Check every row of a .json or .jsonl file and, where the folder `images` is given, decode every picture once.

    `track` passes the rows on one by one: the seam for a progress bar. Raises LapilliError only when the file or the
    folder itself is not there; whatever is wrong inside is a Problem.
    """
    if images is not None and not images.is_dir():
        raise LapilliError(f"{images}: no such folder; give the folder that the image paths start from")
    rows = read_rows(path)
    check = _Check(images)
    found = [problem for row in track(rows) for problem in check.problems(row)]
    if not rows:
        found = [Problem(None, None, "", "no rows", "a training needs at least one")]
    return Findings(sum(row.number is not None for row in rows), len(check.pictures), tuple(found))


class _Check:
    """Remembers, from row to row, the ids that were used and the pictures that were opened."""

    def __init__(self, images: Path | None) -> None:
        self.images = images
        self.ids: dict[str, int | None] = {}
        self.pictures: dict[str, Fault | None] = {}

    def problems(self, row: Row) -> Iterator[Problem]:
        name = _id(row.value)
        for fault in (*faults(row.value), *self._repeated(name, row.number), *self._picture_faults(row.value)):
            yield Problem(row.number, name, fault.field, fault.message, fault.remedy)

    def _repeated(self, name: str | None, number: int | None) -> Iterator[Fault]:
        if name is None:
            return
        first = self.ids.setdefault(name, number)
        if first != number:
            yield Fault("id", f"{name!r} is the id of row {first} too", "give every row an id of its own")

    def _picture_faults(self, value: object) -> Iterator[Fault]:
        for name in _picture_names(value):
            if name not in self.pictures:
                self.pictures[name] = self._picture_fault(name)
            fault = self.pictures[name]
            if fault is not None:
                yield fault

    def _picture_fault(self, name: str) -> Fault | None:
        if self.images is None:
            return None
        try:
            open_picture(self.images, name)
        except PictureError as error:
            return Fault("image", f"{name!r}: {error.message}", error.remedy)
        return None


def _id(value: object) -> str | None:
    name = value.get("id") if isinstance(value, dict) else None
    if name == "" or isinstance(name, bool) or not isinstance(name, str | int):
        return None
    return str(name).encode(errors="backslashreplace").decode()  # printable, even with half a character in it


def _picture_names(value: object) -> list[str]:
    names = value.get("image") if isinstance(value, dict) else None
    listed = names if isinstance(names, list) else [names]
    return [name for name in listed if isinstance(name, str) and name.strip()]
