"""Files of millions of captions, balanced by their phrases: read a line at a time, and never held whole.

A line is a row of samples, or {"caption": ..}; the phrases of its caption are in `phrases`, or found by spaCy.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from lapilli.core.errors import LapilliError
from lapilli.core.files import explain_write, new_folder, write_atomically
from lapilli.core.plain import json_text
from lapilli.core.read import parsed
from lapilli.data.phrases import Balance, Band, by_frequency, chosen_captions, control, phrase_table

_FORM = 'write one object a line: {"caption": .., "phrases": [..]}, or rows of samples with phrases'
_AT_ONCE = 1_000  # captions that spaCy gets together


@dataclass(frozen=True)
class Filtered:
    """What was chosen: of how many captions, with how many different phrases, and what of them by frequency."""

    captions: int
    chosen: int
    phrases: int
    bands: list[Band]


def filter_captions(
    file: Path,
    out: Path,
    balance: Balance,
    spacy_model: str | None,
    on_progress: Callable[[int, int], None],
    *,
    as_written: bool = False,
) -> Filtered:
    """Write the lines that the balance chooses, and as many random ones, to the new folder `out`, as they are.

    Phrases are compared in lower case, and those of spaCy without articles and pronouns, unless `as_written`.
    Leaves `chosen.jsonl`, `control.jsonl` and `report.json`. `on_progress` gets the bytes read, and all. Raises
    LapilliError with the line for one that has no phrases.
    """
    with new_folder(out) as folder:  # before the file is read: that takes minutes
        rows = _rows(file, on_progress)
        phrases = _by_spacy(rows, spacy_model, as_written) if spacy_model else map(_phrases_of, rows)
        table = phrase_table(phrases if as_written else _lowered(phrases))
        if not table.count:
            raise LapilliError(f"{file}: no captions; {_FORM}")
        chosen = chosen_captions(table, balance)
        random = control(table.count, int(chosen.sum()), balance.seed)
        report = Filtered(table.count, int(chosen.sum()), len(table.names), by_frequency(table, chosen, random))
        for name, mask in (("chosen", chosen), ("control", random)):
            _copy_lines(file, folder / f"{name}.jsonl", mask)
        write_atomically(
            folder / "report.json",
            json_text({"balance": balance, "spacy": spacy_model, "as_written": as_written, **vars(report)}, indent=2)
            + "\n",
        )
    return report


def _rows(file: Path, on_progress: Callable[[int, int], None]) -> Iterator[tuple[str, Any]]:
    """The place and the value of every line that holds anything."""
    if file.suffix != ".jsonl" or (file.exists() and not file.is_file()):
        raise LapilliError(f"{file}: not a .jsonl; {_FORM}")
    try:
        with file.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            for number, line in enumerate(opened, 1):
                if line.strip():
                    yield f"{file}:{number}", parsed(_text(line, f"{file}:{number}"), f"{file}:{number}", _FORM)
                if number % 10_000 == 0:
                    on_progress(opened.tell(), size)
    except OSError as error:
        raise LapilliError(f"{file}: cannot be read: {error.strerror}; check the path") from error


def _text(line: bytes, place: str) -> str:
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LapilliError(f"{place}: not UTF-8 at byte {error.start}; save the file as UTF-8") from error


def _phrases_of(row: tuple[str, Any]) -> list[str]:
    place, value = row
    phrases = value.get("phrases") if isinstance(value, dict) else None
    if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
        raise LapilliError(f"{place}: no list of phrases; {_FORM}, or name a model with --spacy")
    return [" ".join(normalize("NFC", phrase).split()) for phrase in phrases if phrase.strip()]


def _lowered(captions: Iterable[list[str]]) -> Iterator[list[str]]:
    return ([phrase.lower() for phrase in phrases] for phrases in captions)


def _caption_of(row: tuple[str, Any]) -> str:
    """The caption of a line, its own or the answers of a sample, composed (NFC) and without line breaks."""
    return " ".join(normalize("NFC", _caption_as_written(row)).split())


def _caption_as_written(row: tuple[str, Any]) -> str:
    place, value = row
    caption = value.get("caption") if isinstance(value, dict) else None
    if isinstance(caption, str):
        return caption
    turns = value.get("conversations") if isinstance(value, dict) else None
    values = [turn.get("value") for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    texts = [text for text in values if isinstance(text, str)]
    if not texts or len(texts) < len(values):
        raise LapilliError(f"{place}: no caption; {_FORM}")
    return " ".join(texts[1::2])


def _by_spacy(rows: Iterable[tuple[str, Any]], model: str, as_written: bool) -> Iterator[list[str]]:
    """The noun phrases of every caption by a model of spaCy, without articles and pronouns unless as written."""
    left_out = () if as_written else ("DET", "PRON")
    try:
        import spacy

        pipeline = spacy.load(model, exclude=["ner", "lemmatizer"])
    except ImportError as error:
        remedy = "install it with: pip install spacy; or give the phrases in the file"
        raise LapilliError(f"spacy: not installed; {remedy}") from error
    except OSError as error:
        remedy = f"get it with: python -m spacy download {model}; or name the folder of one"
        raise LapilliError(f"--spacy {model}: no such model; {remedy}") from error
    for document in pipeline.pipe(map(_caption_of, rows), batch_size=_AT_ONCE):
        try:
            chunks = list(document.noun_chunks)
        except (ValueError, NotImplementedError) as error:
            remedy = "name one with a parser, such as en_core_web_sm"
            raise LapilliError(f"--spacy {model}: a model that finds no noun phrases; {remedy}") from error
        words = ([token.text for token in chunk if token.pos_ not in left_out] for chunk in chunks)
        yield [" ".join(some) for some in words if some]


def _copy_lines(file: Path, target: Path, mask: NDArray[np.bool_]) -> None:
    """Write the lines of the mask, which counts lines that hold anything, as they are."""
    with explain_write(target), file.open("rb") as opened, target.open("wb") as written:
        lines = (line for line in opened if line.strip())
        try:
            for line, wanted in zip(lines, mask.tolist(), strict=True):
                if wanted:
                    written.write(line if line.endswith(b"\n") else line + b"\n")
        except ValueError as error:  # the two are not of one length
            raise LapilliError(f"{file}: changed while it was read; run the command again") from error
