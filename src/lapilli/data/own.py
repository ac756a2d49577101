"""Somebody's own pictures and a table of questions and answers about them, as samples, some of them for validation."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lapilli.core.errors import LapilliError
from lapilli.core.files import new_folder
from lapilli.core.progress import Progress
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.core.read import half_character, read_json_lines
from lapilli.data.extra_fields import excerpt
from lapilli.data.pictures import check_pictures
from lapilli.data.sample import Sample, Turn, write_samples
from lapilli.data.split import rows_aside
from lapilli.data.table import read_table

_COLUMNS = ("image", "question", "answer")
_REMEDY = f"give a .csv, .tsv or .jsonl with {', '.join(_COLUMNS)}"


@dataclass(frozen=True)
class Imported:
    """How many pictures, questions, and samples for training and for validation there are."""

    pictures: int
    questions: int
    train: int
    validation: int


def import_rows(
    table: Path, images: Path, out: Path, validation: float, seed: int, progress: Progress | None = None
) -> Imported:
    """Write train.json and validation.json to the new folder `out`: a conversation for each picture of the table.

    No picture is on both sides. Raises LapilliError, with the line, for a row without a question, an answer or a
    picture that opens; then nothing is written.
    """
    if not images.is_dir():
        raise LapilliError(f"{images}: no such folder; give the folder that the image paths start from")
    turns: dict[str, list[Turn]] = {}
    lines: dict[str, str] = {}
    for place, row in _rows(table):
        image, question, answer = (row[name] for name in _COLUMNS)
        lines.setdefault(image, place)
        own = turns.setdefault(image, [])
        own += [Turn("user", question if own else f"{IMAGE_MARK}\n{question}"), Turn("assistant", answer)]
    if not turns:
        raise LapilliError(f"{table}: no rows; {_REMEDY}")
    for image, fault in check_pictures(images, dict.fromkeys(turns), progress).items():
        raise LapilliError(f"{lines[image]}: {fault}")
    samples = [Sample(image, (image,), tuple(own)) for image, own in turns.items()]
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
    return Imported(len(samples), questions, len(sides["train"]), len(sides["validation"]))


def _rows(table: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The place and the texts of every row."""
    if table.suffix in (".csv", ".tsv"):
        content = read_table(table)
        if missing := [name for name in _COLUMNS if name not in content.columns]:
            raise LapilliError(f"{table}: no column {missing[0]}; {_REMEDY}")
        rows = ((f"{table}, line {line}", dict(row)) for line, row in content.rows)
    elif table.suffix == ".jsonl":
        rows = ((place, value if isinstance(value, dict) else {}) for place, value in read_json_lines(table, _REMEDY))
    else:
        raise LapilliError(f"{table}: ending {table.suffix!r}; {_REMEDY}")
    for place, row in rows:
        yield place, {name: _text(row.get(name), name, place) for name in _COLUMNS}


def _text(value: object, name: str, place: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not text:
        raise LapilliError(f"{place}: no {name}; write it, or remove the row")
    if half_character(text) or IMAGE_MARK in text:
        what = "half a character" if half_character(text) else IMAGE_MARK
        raise LapilliError(f"{place}: {name} {excerpt(ascii(text))} holds {what}; remove it")
    return text
