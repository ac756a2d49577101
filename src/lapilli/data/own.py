"""Somebody's own pictures and a table of questions and answers about them, as samples, some of them for validation."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lapilli.core.errors import LapilliError
from lapilli.core.files import new_folder, refuse_occupied, sha256
from lapilli.core.progress import Progress
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.core.read import control_character, half_character, read_json_lines
from lapilli.data.extra_fields import excerpt
from lapilli.data.paths import picture_path
from lapilli.data.pictures import check_pictures
from lapilli.data.sample import Sample, Turn, write_samples
from lapilli.data.split import rows_aside
from lapilli.data.table import read_table

_COLUMNS = ("image", "question", "answer")
_REMEDY = f"give a .csv, .tsv or .jsonl with {', '.join(_COLUMNS)}"


@dataclass(frozen=True)
class Imported:
    """How many pictures, questions, and samples for training and for validation there are.

    `copies` are further names of a picture, or of the same bytes.
    """

    pictures: int
    copies: int
    questions: int
    train: int
    validation: int


def import_rows(
    table: Path, images: Path, out: Path, validation: float, seed: int, progress: Progress | None = None
) -> Imported:
    """Write train.json and validation.json to the new folder `out`: a conversation for each picture of the table.

    No picture is on both sides: paths that lead to the same file, or to files of the same bytes, are one picture.
    Raises LapilliError, with the line, for a row without a question, an answer or a picture that opens; then nothing is
    written.
    """
    refuse_occupied(out)
    if not images.is_dir():
        raise LapilliError(f"{images}: no such folder; give the folder that the image paths start from")
    rows = list(_rows(table))
    if not rows:
        raise LapilliError(f"{table}: no rows; {_REMEDY}")
    names = {row["image"]: place for place, row in reversed(rows)}
    faults = check_pictures(images, names, progress)
    if fault := next((f"{names[name]}: {faults[name]}" for name in reversed(names) if name in faults), None):
        raise LapilliError(fault)
    samples = _conversations(rows, {name: sha256(picture_path(images, name)) for name in names})
    aside = set(rows_aside(samples, validation, seed)) if validation else set()
    sides = {
        "train": [sample for at, sample in enumerate(samples) if at not in aside],
        "validation": [sample for at, sample in enumerate(samples) if at in aside],
    }
    with new_folder(out) as folder:
        for name, some in sides.items():
            if some:
                write_samples(folder / f"{name}.json", some)
    questions = sum(len(sample.turns) // 2 for sample in samples)
    copies = len(names) - len(samples)
    return Imported(len(samples), copies, questions, len(sides["train"]), len(sides["validation"]))


def _conversations(rows: Iterable[tuple[str, dict[str, str]]], contents: Mapping[str, str]) -> list[Sample]:
    """A sample for each picture, under the name of its first row; `contents` says which names are one picture."""
    turns: dict[str, list[Turn]] = {}
    first: dict[str, str] = {}
    for _, row in rows:
        image, question, answer = (row[name] for name in _COLUMNS)
        own = turns.setdefault(first.setdefault(contents[image], image), [])
        own += [Turn("user", question if own else f"{IMAGE_MARK}\n{question}"), Turn("assistant", answer)]
    return [Sample(image, (image,), tuple(own)) for image, own in turns.items()]


def _rows(table: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The place and the texts of every row."""
    if table.suffix in (".csv", ".tsv"):
        content = read_table(table)
        if missing := [name for name in _COLUMNS if name not in content.columns]:
            there = ", ".join(map(excerpt, content.columns))
            raise LapilliError(f"{table}: no column {missing[0]} among {there}; {_REMEDY}")
        rows = ((f"{table}, line {line}", dict(row)) for line, row in content.rows)
    elif table.suffix == ".jsonl":
        rows = ((place, value if isinstance(value, dict) else {}) for place, value in read_json_lines(table, _REMEDY))
    else:
        raise LapilliError(f"{table}: ending {table.suffix!r}; {_REMEDY}")
    for place, row in rows:
        yield place, {name: _text(row.get(name), name, place) for name in _COLUMNS}


def _text(value: object, name: str, place: str) -> str:
    if not isinstance(value, str | None):
        raise LapilliError(f"{place}: {name} {excerpt(str(value))} is no text; put it in quotes")
    if not (text := (value or "").strip()):
        raise LapilliError(f"{place}: no {name}; write it, or remove the row")
    is_half, control = half_character(text), control_character(text)
    if is_half or control or IMAGE_MARK in text:
        what = "half a character" if is_half else f"the control character {control}" if control else IMAGE_MARK
        raise LapilliError(f"{place}: {name} {excerpt(ascii(text))} holds {what}; remove it")
    return text
