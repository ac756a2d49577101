"""Every problem of a data file, row by row, before a training run meets the first of them.

Training refuses a problem. It accepts a warning, which the author of the file may not have meant.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lapilli.core.errors import LapilliError
from lapilli.core.progress import Progress
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.data.encode import SampleError
from lapilli.data.extra_fields import excerpt, extra_fields, is_file, is_url, names_pictures, without_numbers
from lapilli.data.faults import Fault, faults, images_of, text_of
from lapilli.data.learnable import Requirements, doubts, learnable
from lapilli.data.pictures import check_pictures
from lapilli.data.rows import Row, read_rows
from lapilli.data.sample import sample_of

_PROGRESS_EVERY = 100  # rows
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
    """The result of a check: the numbers of rows and of different pictures, problems and warnings in row order."""

    rows: int
    images: int
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()


def problems(path: Path, images: Path | None, requirements: Requirements | None = None) -> list[Problem]:
    """Return the problems that `validate` finds."""
    return list(validate(path, images, requirements).problems)


def validate(
    path: Path,
    images: Path | None,
    requirements: Requirements | None = None,
    progress: Progress | None = None,
) -> Findings:
    """Check every row of a .json or .jsonl file and, where the folder `images` is given, decode every picture once.

    With the `requirements` of a stage and a model, every row is encoded too, and all that training would refuse is
    reported. Without them, checks that need a tokenizer are left out: lengths, and whether a text is a control token.
    `progress` gets the number of decoded pictures, and then that of checked rows. Raises LapilliError only when the
    file or the folder itself does not exist; every fault inside is a Problem.
    """
    if images is not None and not images.is_dir():
        raise LapilliError(f"{images}: no such folder; give the folder that the image paths start from")
    rows = read_rows(path)
    names = dict.fromkeys(name for row in rows for name in _picture_names(row.value))
    bad = check_pictures(images, names, progress) if images is not None else {}
    check = _Check(requirements, bad)
    for number, row in enumerate(rows, start=1):
        check.add(row)
        if progress is not None and (number % _PROGRESS_EVERY == 0 or number == len(rows)):
            progress("rows", number, len(rows))
    if not rows:
        check.problems.append(Problem(None, None, "", "no rows", "a training needs at least one"))
    warnings = sorted((*check.warnings, *check.repeated()), key=lambda warning: (warning.row is None, warning.row))
    return Findings(sum(row.number is not None for row in rows), len(names), tuple(check.problems), tuple(warnings))


@dataclass
class _Check:
    """The problems and warnings so far, and the rows of every id and of every extra field."""

    requirements: Requirements | None
    bad_pictures: Mapping[str, Fault]
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    rows_of_id: dict[str, list[int]] = field(default_factory=dict)
    rows_of_field: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        name = _id(row.value)
        problems = list(faults(row.value))
        warnings: list[Fault] = []
        if isinstance(row.value, dict):
            if not problems:
                problems, warnings = self._training_faults(row.value)
                warnings += _mark_like(row.value)
            self._count(row.value, name, row.number or 0)
        problems += [self.bad_pictures[image] for image in _picture_names(row.value) if image in self.bad_pictures]
        for into, some in ((self.problems, problems), (self.warnings, warnings)):
            into += [Problem(row.number, name, fault.field, fault.message, fault.remedy) for fault in some]

    def _training_faults(self, row: dict[str, object]) -> tuple[list[Fault], list[Fault]]:
        """Return the faults for which training would refuse a well-formed row, and the doubts about it."""
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
        for at, text in extra_fields(row):
            if is_url(text) or is_file(text) or (has_pictures and names_pictures(at, text)):
                self.rows_of_field.setdefault(without_numbers(at), []).append((number, text))

    def repeated(self) -> Iterator[Problem]:
        """Yield the warnings about several rows at once, each at the first of them."""
        for name, rows in self.rows_of_id.items():
            if len(rows) > 1:
                what = f"the id of {len(rows)} rows: {_listed(rows)}"
                yield Problem(rows[0], name, "id", what, "give every row an id of its own")
        for at, texts in self.rows_of_field.items():
            rows = list(dict.fromkeys(number for number, _ in texts))
            what = f"not read, in {len(rows)} rows ({_listed(rows)}), such as {excerpt(texts[0][1])}"
            yield Problem(rows[0], None, at, what, "nothing, unless the model should see it: name it in image")


def _control_like(row: dict[str, object]) -> Iterator[Fault]:
    """Yield texts that are control tokens of some models; whether of this one, only its tokenizer can say."""
    turns = row["conversations"]
    assert isinstance(turns, list)
    for index, turn in enumerate(turns):
        for text in dict.fromkeys(match[0] for match in _CONTROL.finditer(text_of(turn))):
            what = f"{text!r} is a control token of some models"
            yield Fault(f"conversations[{index}]", what, "give --stage and --model to know whether it is this model's")


def _mark_like(row: dict[str, object]) -> Iterator[Fault]:
    """Yield texts in questions that mark a picture in other programs, and are plain text here."""
    turns = row["conversations"]
    assert isinstance(turns, list)
    for index, turn in enumerate(turns[::2]):
        for text in dict.fromkeys(match[0] for match in _MARK.finditer(text_of(turn)) if match[0] != IMAGE_MARK):
            what = f"{excerpt(text)} shows no picture; it is read as text"
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
