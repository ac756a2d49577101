"""The rows of a table of separated values (.csv, .tsv), as spreadsheets save it; the first line names the columns.

Read alike are commas, semicolons (spreadsheets in much of Europe) and tabs between cells, every kind of line ending,
and in front a byte order mark, or the line `sep=;` by which Excel is told what is between cells. Counted are the lines
of the file, from 1, as editors show them.
"""

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lapilli.core.errors import LapilliError
from lapilli.core.read import read_bytes
from lapilli.data.extra_fields import excerpt
from lapilli.data.rows import signature_fault

_LONGEST = 131_072
_DELIMITERS = ",;\t"
_SEPARATOR = re.compile(r"(\"?)sep=([,;\t|])\1\2*", re.I)  # in quotes or with empty cells, as it is saved again
_AS_UTF8 = 'save it as UTF-8 (in Excel: Save As, "CSV UTF-8")'
_QUOTES = (
    'put a cell with a separator, a quote or a line break in it in quotes, and write a quote in it twice: "a ""b"""'
)


@dataclass(frozen=True)
class Table:
    """The names of the columns, and every row that holds anything: its line, and its cells by the columns' names."""

    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]


def read_table(file: Path, longest: int = _LONGEST) -> Table:
    """The table in a file; cells that a row lacks are empty, columns without a name are left out.

    Raises LapilliError, with the line, for a file that is no such table, a name that two columns have, a row with more
    cells than there are columns, and a cell of more than `longest` characters: a quote that is never closed makes one.
    """
    with _cells_up_to(longest):
        lines = iter(list(_cells(file, _text(file))))
    _, columns = next(lines, (0, []))
    if not columns:
        raise LapilliError(f"{file}: empty; the first line names the columns, and each other line is a row")
    names = [name for name in columns if name]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise LapilliError(f"{file}: two columns are called {excerpt(twice)}; rename or remove one")
    return Table(tuple(names), tuple((line, _row(file, line, columns, cells)) for line, cells in lines))


@contextmanager
def _cells_up_to(longest: int) -> Iterator[None]:
    before = csv.field_size_limit(longest)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _text(file: Path) -> str:
    raw = read_bytes(file, "check the path")
    if fault := signature_fault(raw, "a table of separated values"):
        raise LapilliError(f"{file}: {fault.message}; {_AS_UTF8}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{raw[error.start]:02x}"
        raise LapilliError(f"{file}, line {line}: {byte} is not UTF-8; {_AS_UTF8}") from error


def _cells(file: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """The first line and the stripped cells of every row that is not empty."""
    head = next((line for line in text.splitlines() if line.strip()), "")
    separator = _SEPARATOR.fullmatch(head)
    delimiter = separator[2] if separator else max(_DELIMITERS, key=head.count)
    lines = io.TextIOWrapper(io.BytesIO(text.encode()), "utf-8", newline="")  # a StringIO is four times as large
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:  # quotes that are not closed, or a cell of more than 128 KiB
            raise LapilliError(f"{file}, line {line}: {error}; {_QUOTES}") from error
        if separator and any(cells):
            separator = None  # the line that says it is no row
        elif any(cells):
            yield line, cells


def _row(file: Path, line: int, columns: list[str], cells: list[str]) -> dict[str, str]:
    if extra := next(filter(None, cells[len(columns) :]), None):
        count = f"{len(cells)} cells, but {len(columns)} columns"
        raise LapilliError(f"{file}, line {line}: {count}: {excerpt(extra)} is in none; {_QUOTES}")
    cells = cells + [""] * (len(columns) - len(cells))
    return {name: cell for name, cell in zip(columns, cells, strict=False) if name}
