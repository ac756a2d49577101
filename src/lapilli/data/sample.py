"""Samples of visual instruction data, read from and written to LLaVA's row format.

A row is {"id": .., "image": "a.jpg" or a list of them, "conversations": [{"from": "human", "value": "<image>\\nWhat is
it?"}, {"from": "gpt", "value": "A kite."}]} (LLaVA, arXiv 2304.08485). Read the same are `images` for `image`, `user`
and `assistant` for `human` and `gpt`, and `role` and `content` for `from` and `value`. Files are those of `rows`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lapilli.core.errors import LapilliError
from lapilli.core.files import write_atomically
from lapilli.core.read import half_character
from lapilli.data.faults import IMAGE_FIELDS, SPEAKERS, Speaker, faults, images_of, speaker_of, text_of
from lapilli.data.rows import is_lines, place, read_rows


@dataclass(frozen=True)
class Turn:
    """A turn of one speaker; `<image>` in a user's text stands for the sample's next picture."""

    role: Speaker
    text: str


@dataclass(frozen=True)
class Sample:
    """A conversation about pictures: `images` are paths below the images folder, in the order of the `<image>` marks.

    `extra` keeps the row's other fields, so that writing a sample loses nothing.
    """

    id: str
    images: tuple[str, ...]
    turns: tuple[Turn, ...]
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)


def read_samples(path: Path) -> list[Sample]:
    """The samples of a .json or .jsonl file, in its order.

    Raises LapilliError with the file, the row and the remedy at the first bad row. Pictures are not opened. Ids may
    repeat, as they do in the published files; `lapilli data validate` reports them.
    """
    return [parse_row(row.value, place(path, row.number)) for row in read_rows(path)]


def read_sample(path: Path, number: int) -> Sample:
    """The sample of one row, from 0; the others may be bad. Raises LapilliError like `read_samples`."""
    rows = read_rows(path)
    whole_file = len(rows) == 1 and rows[0].number is None
    if not whole_file and not 0 <= number < len(rows):
        raise LapilliError(f"{path}, row {number}: there are {len(rows)} rows; they count from 0")
    row = rows[0 if whole_file else number]
    return parse_row(row.value, place(path, row.number))


def parse_row(row: object, where: str) -> Sample:
    """The sample of one row. Raises LapilliError, which starts with `where`, on the first of its faults."""
    fault = next(faults(row), None)
    if fault is not None:
        raise LapilliError(f"{where}: {fault}")
    assert isinstance(row, dict)
    return sample_of(row)


def sample_of(row: dict[str, Any]) -> Sample:
    """The sample of a row without faults."""
    return Sample(
        id=str(row["id"]),
        images=tuple(images_of(row)),
        turns=tuple(Turn(SPEAKERS[speaker_of(turn)], text_of(turn)) for turn in row["conversations"]),
        extra={name: value for name, value in row.items() if name not in ("id", *IMAGE_FIELDS, "conversations")},
    )


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write samples in LLaVA's format, one a line, as a .json list or as .jsonl; whole or not at all.

    Reading the file again gives equal samples. Raises LapilliError when the file cannot be written.
    """
    rows = [_as_line(sample) for sample in samples]
    if is_lines(path):
        write_atomically(path, "".join(row + "\n" for row in rows))
    else:
        write_atomically(path, "[\n" + ",\n".join(rows) + "\n]\n")


def _as_line(sample: Sample) -> str:
    line = json.dumps(_as_row(sample), ensure_ascii=False)
    # Half a surrogate pair in a field that nobody checks has no UTF-8, and can only be written as an escape.
    return line if half_character(line) is None else json.dumps(_as_row(sample))


def _as_row(sample: Sample) -> dict[str, Any]:
    names = {"user": "human", "assistant": "gpt"}
    row: dict[str, Any] = {"id": sample.id}
    if sample.images:
        row["image"] = sample.images[0] if len(sample.images) == 1 else list(sample.images)
    row["conversations"] = [{"from": names[turn.role], "value": turn.text} for turn in sample.turns]
    return {**row, **sample.extra}
