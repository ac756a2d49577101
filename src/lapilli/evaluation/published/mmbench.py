"""MMBench: multiple choice asked in every rotation of the choices. Liu et al. 2023, arXiv 2307.06281.

A question counts as right if it is answered rightly in all its rotations, whose indices are a million apart. Files
without rotations have one row a question. The letter is read by `chosen_letter`; LLaVA's published figures are those of
the authors' server, which takes a spreadsheet and asks a language model where no rule reads a letter.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lapilli.core.errors import LapilliError
from lapilli.core.files import write_atomically
from lapilli.data.pictures import check_encoded, open_encoded
from lapilli.data.table import Table, read_table
from lapilli.evaluation.answer_file import REMEDY, AnswerRow, add_label, listed, whole_number
from lapilli.evaluation.published.figures import accuracy, by_group, figure, grouped, share, unparsed
from lapilli.evaluation.published.join import require_matched
from lapilli.evaluation.published.protocol import Judged, Key, Layout, Published, Questions, each, require_extra
from lapilli.evaluation.published.scienceqa import LETTER

if TYPE_CHECKING:
    from PIL.Image import Image

LETTERS = "ABCD"
LETTER_CN = "请直接回答选项字母。"
"""What LLaVA-1.5 is asked for a letter in Chinese, by its model_vqa_mmbench.py."""

ROTATION = 1_000_000
"""What the index of a question's next rotation is greater by."""

_SIGNS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_LONGEST = 100_000_000  # characters of a cell, which holds a picture
_CELL = 32_767  # characters that a cell of a spreadsheet takes
_DROPPED = {"hint", "category", "source", "image", "comment", "l2-category"}


@dataclass(frozen=True)
class Reference:
    """The right letter, the texts of the choices by letter, and the category."""

    answer: str
    choices: Mapping[str, str]
    category: str


@dataclass(frozen=True)
class _WithPictures:
    """The authors' table; `pictures` has the place and the picture of every row in base64, by the row's index."""

    table: Table
    pictures: Mapping[str, tuple[str, str]]


def _table(file: Path) -> Table:
    """The table in a file."""
    return _content(file).table


def _content(file: Path) -> _WithPictures:
    """What is in a file: all pictures too, so that it stays in memory until another, or a change of it, is read."""
    stat = file.stat() if file.is_file() else None
    return _read(file, (stat.st_mtime_ns, stat.st_size) if stat else None)


@lru_cache(maxsize=1)
def _read(file: Path, _: tuple[int, int] | None) -> _WithPictures:
    table = read_table(file, longest=_LONGEST)
    _require_columns(file, table.columns, ("index",))
    cells = {_index(row["index"]): (f"{file}, line {line}", row.get("image", "")) for line, row in table.rows}
    pictures = {index: (place, _of_another(cells, cell)) for index, (place, cell) in cells.items()}
    return _WithPictures(table, pictures)


def _of_another(cells: Mapping[str, tuple[str, str]], cell: str) -> str:
    """The picture of the row whose index a cell is; of another cell the cell itself."""
    return cells.get(_index(cell), ("", cell))[1]


def read_labels(files: Sequence[Path]) -> dict[Key, Reference]:
    """The labels of `mmbench_dev_*.tsv` by index. Raises LapilliError for a row without an answer: a test split."""
    labels: dict[Key, Reference] = {}
    for file in files:
        table = _table(file)
        _require_columns(file, table.columns, ("index", "answer"))
        for line, row in table.rows:
            if len(row["answer"]) != 1 or row["answer"] not in LETTERS:
                raise LapilliError(
                    f"{file}, line {line}: answer {row['answer']!r}, one of {LETTERS} expected; {REMEDY}"
                )
            choices = {letter: row[letter] for letter in LETTERS if row.get(letter)}
            label = Reference(row["answer"], choices, _category(row))
            add_label(labels, _index(row["index"]), label, f"{file}, line {line}")
    return labels


def _category(row: Mapping[str, str]) -> str:
    return row.get("l2-category") or row.get("category", "")


def _require_columns(file: Path, columns: Sequence[str], names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in columns]:
        raise LapilliError(f"{file}: no column {' or '.join(missing)}; its columns are {listed(columns)}; {REMEDY}")


def _index(text: str) -> str:
    return text.removesuffix(".0")  # as tables of numbers write whole ones


def chosen_letter(text: str, choices: Mapping[str, str]) -> str:
    """The letter that stands in the answer as a word, or that whose text is in the answer; "" without exactly one.

    Signs count as spaces. A single "A" among more than three words is an article.
    """
    words = text.translate(_SIGNS).split()
    letters = [letter for letter in LETTERS if letter in words and (letter in choices or not choices)]
    if letters == ["A"] and len(words) > 3:
        letters = []
    if letters:
        return letters[0] if len(letters) == 1 else ""
    texts = [letter for letter, choice in choices.items() if choice.lower() in text.lower()]
    return texts[0] if len(texts) == 1 else ""


def judge(row: AnswerRow, reference: Reference) -> Judged:
    """One rotation; its cluster is the question."""
    letter = chosen_letter(row.text, reference.choices)
    return Judged(
        row.id, reference.category, question_of(row.id), row.text,
        parsed=letter,
        expected=reference.answer,
        score=float(letter == reference.answer),
        failed=not letter,
    )  # fmt: skip


def question_of(index: str) -> str:
    """The question that a row asks in one of its rotations."""
    number = whole_number(index)
    return index if number is None else str(number % ROTATION)


def figures(rows: Sequence[Judged]) -> dict[str, Any]:
    """Accuracy of questions over all rotations, of single rows, and of each category's questions."""
    circular = questions(rows)
    single = share([row.score == 1 for row in rows], [row.cluster for row in rows])
    return (
        accuracy(circular)
        | figure("single_accuracy", single)
        | {"rows": len(rows), "unparsed": unparsed(rows), "by_category": by_group(circular)}
    )


def questions(rows: Sequence[Judged]) -> list[Judged]:
    """One for each question, over all its rotations."""
    return [_circular(of) for of in grouped(rows, lambda row: str(row.cluster)).values()]


def _circular(rows: Sequence[Judged]) -> Judged:
    """A question: right if all its rotations are."""
    one, every = rows[0], min(row.score for row in rows)
    return replace(one, id=str(one.cluster), score=every)


def write_spreadsheet(table: Path, answers: Sequence[AnswerRow], out: Path, allow: bool = False) -> bool:
    """The .xlsx that the authors' server takes: the table without pictures and hints, with a column `prediction`.

    Returns whether the table has answers to score by: those of test splits have none. Raises LapilliError where
    openpyxl is not installed, for what `require_matched` refuses, and as `write_atomically` does.
    """
    require_extra("openpyxl")
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    def cell(text: str) -> WriteOnlyCell:
        made = WriteOnlyCell(sheet, ILLEGAL_CHARACTERS_RE.sub("", text)[:_CELL])
        made.data_type = "s"  # an answer that begins with = is no formula
        return made

    rows = _table(table)
    require_matched(answers, [_index(row["index"]) for _, row in rows.rows], table, allow)
    columns = [name for name in rows.columns if name not in _DROPPED]
    texts = {row.id: row.text for row in answers}
    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    sheet.append([*columns, "prediction"])
    for _, row in rows.rows:
        sheet.append([*(cell(row[name]) for name in columns), cell(texts.get(_index(row["index"]), ""))])
    content = io.BytesIO()
    book.save(content)
    write_atomically(out, content.getvalue())
    return any(row.get("answer") for _, row in rows.rows)


def read_rows(file: Path, line: str = LETTER) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a table as LLaVA-1.5 is asked them: the hint, the question, the choices, and a line for the letter.

    Choices end before the first that is empty, "nan" or "none". A picture is called by the first row that has it.
    """
    content = _content(file)
    table, pictures = content.table, content.pictures
    _require_columns(file, table.columns, ("index", "image", "question", "A"))
    if len(pictures) < len(table.rows):
        raise LapilliError(f"{file}: two rows have one index; {REMEDY}")
    first = {cell: index for index, (_, cell) in reversed(list(pictures.items()))}
    for number, row in table.rows:
        texts = list(takewhile(_is_there, (row.get(letter, "") for letter in LETTERS)))
        choices = [f"{letter}. {text}" for letter, text in zip(LETTERS, texts, strict=False)]
        hint = [row["hint"]] if _is_there(row.get("hint", "")) else []
        index = _index(row["index"])
        yield (
            f"{file}, line {number}",
            {
                "question_id": index,
                "image": first[pictures[index][1]],
                "text": "\n".join([*hint, row["question"], *choices, line]),
                "category": _category(row),
            },
        )


def _is_there(cell: str) -> bool:
    return cell.lower() not in ("", "nan", "none")


def open_cell(file: Path, name: str) -> Image:
    """The picture of a row of the table. Raises PictureError for what is none."""
    place, cell = _content(file).pictures[name]
    return open_encoded(cell, place)


def check_cell(file: Path, name: str) -> None:
    """Raise PictureError for what shows in the header of a row's picture."""
    place, cell = _content(file).pictures[name]
    check_encoded(cell, place)


def layout(table: str, line: str) -> Layout:
    """How a table of the authors' is asked, with this line behind the choices."""
    return Layout(
        table, (table,), "", partial(read_rows, line=line),
        origin="questions and pictures are in the table",
        picture=open_cell,
        check=check_cell,
        whole=question_of,
    )  # fmt: skip


def upload(answers: Sequence[AnswerRow], _: Questions) -> list[dict[str, str]]:
    """The predictions by index; `write_spreadsheet` makes the server's file of them."""
    return [{"index": row.id, "prediction": row.text} for row in answers]


BENCHMARK = Published(
    name="mmbench",
    version="dev 20230712; circular evaluation, letters by rules",
    source=(
        "github.com/open-compass/MMBench, mmbench_dev_20230712.tsv (in Chinese mmbench_dev_cn_20231003.tsv): index, "
        "image, question, hint, A to D, answer"
    ),
    references=read_labels,
    judge=each(judge),
    figures=figures,
    compared=questions,
    score="accuracy over all rotations",
    upload=upload,
    choices=lambda reference: tuple(reference.choices),
    layouts={
        "mmbench": layout("mmbench_dev_20230712.tsv", LETTER),
        "mmbench-cn": layout("mmbench_dev_cn_20231003.tsv", LETTER_CN),
    },
)
