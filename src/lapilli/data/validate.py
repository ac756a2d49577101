"""Every problem of a data file, row by row, before a training run finds the first of them.

A problem is what training refuses; a warning is what it does not, and who made the file may not have meant.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lapilli.core.errors import LapilliError
from lapilli.core.progress import Progress
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.data.encode import SampleError
from lapilli.data.faults import Fault, faults, images_of, text_of
from lapilli.data.learnable import Requirements, doubts, learnable
from lapilli.data.pictures import check_pictures
from lapilli.data.rows import Row, read_rows
from lapilli.data.sample import sample_of
from lapilli.data.unread import general, is_file, is_url, names_pictures, shown, unread_fields

_TOLD = 100  # rows, after which progress is told
_EXAMPLES = 5  # rows that a warning names
_CONTROL = re.compile(
    r"</?s>|<(pad|unk|bos|eos)>|<\|[^|<>\s]{1,40}\|>|<(start|end)_of_turn>|\[/?INST\]|<</?SYS>>", re.I
)

_MARK = re.compile(
    r"</?(image|img|picture|video|audio)[\s_-]?(\d+|pad|token|placeholder|context)?\s*/?>"
    r"|\[(image|img)\]|!\[[^]\n]{0,200}\]\([^)\n]{1,200}\)",
    re.I,
)


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
    """What a check found: how many rows, how many different pictures they name, problems and warnings in row order."""

    rows: int
    images: int
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()


def problems(path: Path, images: Path | None, requirements: Requirements | None = None) -> list[Problem]:
    """The problems that `validate` finds."""
    return list(validate(path, images, requirements).problems)


def validate(
    path: Path,
    images: Path | None,
    requirements: Requirements | None = None,
    progress: Progress | None = None,
) -> Findings:
    """Check every row of a .json or .jsonl file and, where the folder `images` is given, decode every picture once.

    With the `requirements` of a stage and a model, every row is encoded too: then whatever training would refuse is
    found. Without them, what depends on a tokenizer is not: lengths, and whether a text is a control token. `progress`
    is told how many pictures are decoded, and then how many rows are checked. Raises LapilliError only when the file or
    the folder itself is not there; whatever is wrong inside is a Problem.
    """
    if images is not None and not images.is_dir():
        raise LapilliError(f"{images}: no such folder; give the folder that the image paths start from")
    rows = read_rows(path)
    names = dict.fromkeys(name for row in rows for name in _picture_names(row.value))
    bad = check_pictures(images, names, progress) if images is not None else {}
    check = _Check(requirements, bad)
    for number, row in enumerate(rows, start=1):
        check.look_at(row)
        if progress is not None and (number % _TOLD == 0 or number == len(rows)):
            progress("rows", number, len(rows))
    if not rows:
        check.problems.append(Problem(None, None, "", "no rows", "a training needs at least one"))
    warnings = sorted((*check.warnings, *check.counted()), key=lambda one: (one.row is None, one.row))
    return Findings(sum(row.number is not None for row in rows), len(names), tuple(check.problems), tuple(warnings))


@dataclass
class _Check:
    """What was found so far, and what is counted from row to row."""

    requirements: Requirements | None
    bad_pictures: Mapping[str, Fault]
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    rows_of_id: dict[str, list[int]] = field(default_factory=dict)
    rows_of_field: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def look_at(self, row: Row) -> None:
        name = _id(row.value)
        found = list(faults(row.value))
        odd: list[Fault] = []
        if isinstance(row.value, dict):
            if not found:
                found, odd = self._learned(row.value)
                odd += _mark_like(row.value)
            self._count(row.value, name, row.number or 0)
        found += [self.bad_pictures[one] for one in _picture_names(row.value) if one in self.bad_pictures]
        for into, some in ((self.problems, found), (self.warnings, odd)):
            into += [Problem(row.number, name, one.field, one.message, one.remedy) for one in some]

    def _learned(self, row: dict[str, object]) -> tuple[list[Fault], list[Fault]]:
        """What training would refuse of a row that is in order, and what is odd about it."""
        if self.requirements is None:
            return [], list(_control_like(row))
        sample = sample_of(row)
        try:
            return [], list(doubts(sample, learnable(sample, self.requirements), self.requirements))
        except SampleError as error:
            return list(error.faults), []

    def _count(self, row: dict[str, object], name: str | None, number: int) -> None:
        if name is not None:
            self.rows_of_id.setdefault(name, []).append(number)
        has_pictures = bool(images_of(row))
        for at, text in unread_fields(row):
            if is_url(text) or is_file(text) or (has_pictures and names_pictures(at, text)):
                self.rows_of_field.setdefault(general(at), []).append((number, text))

    def counted(self) -> Iterator[Problem]:
        """The warnings about several rows at once, each at the first of them."""
        for name, rows in self.rows_of_id.items():
            if len(rows) > 1:
                what = f"the id of {len(rows)} rows: {_listed(rows)}"
                yield Problem(rows[0], name, "id", what, "give every row an id of its own")
        for at, found in self.rows_of_field.items():
            rows = list(dict.fromkeys(number for number, _ in found))
            what = f"not read, in {len(rows)} rows ({_listed(rows)}), such as {shown(found[0][1])}"
            yield Problem(rows[0], None, at, what, "nothing, unless the model should see it: name it in image")


def _control_like(row: dict[str, object]) -> Iterator[Fault]:
    """What control tokens of many models look like; whether they are this model's, its tokenizer knows."""
    turns = row["conversations"]
    assert isinstance(turns, list)
    for index, turn in enumerate(turns):
        for text in dict.fromkeys(found[0] for found in _CONTROL.finditer(text_of(turn))):
            what = f"{text!r} is a control token of some models"
            yield Fault(f"conversations[{index}]", what, "give --stage and --model to know whether it is this model's")


def _mark_like(row: dict[str, object]) -> Iterator[Fault]:
    """What shows a picture elsewhere, and is text here, in the questions."""
    turns = row["conversations"]
    assert isinstance(turns, list)
    for index, turn in enumerate(turns[::2]):
        for text in dict.fromkeys(found[0] for found in _MARK.finditer(text_of(turn)) if found[0] != IMAGE_MARK):
            what = f"{shown(text)} shows no picture; it is read as text"
            yield Fault(f"conversations[{2 * index}]", what, f"write {IMAGE_MARK} where a picture is to be seen")


def _listed(rows: list[int]) -> str:
    more = ", ..." if len(rows) > _EXAMPLES else ""
    return ", ".join(map(str, rows[:_EXAMPLES])) + more


def _id(value: object) -> str | None:
    name = value.get("id") if isinstance(value, dict) else None
    if name == "" or isinstance(name, bool) or not isinstance(name, str | int):
        return None
    return str(name).encode(errors="backslashreplace").decode()  # printable, even with half a character in it


def _picture_names(value: object) -> list[str]:
    names = images_of(value) if isinstance(value, dict) else []
    return [name for name in names if isinstance(name, str) and name.strip()]
