"""The journal: every answer that was paid for, a line each, on the disk before anybody reads what it says.

A line is a JSON object that ends with the CRC-32 of the rest. A line is appended by one write, so that a killed process
loses none that was written; every 64 lines or second the disk is told to hold them, for the sake of power cuts. A torn
last line is cut off when the journal is opened, a spoilt one is counted and left out: its call is made again.

The first answer to a call counts. `adopt` copies the answers of other journals and of batches.
"""

import os
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lapilli.core.errors import LapilliError
from lapilli.core.files import explain_write
from lapilli.core.llm.call import Reply, Usage, read_reply, spent_on
from lapilli.core.plain import json_text
from lapilli.core.read import checked, parsed

_CRC = ', "crc32": "{:08x}"}}'
_CRC_LENGTH = len(_CRC.format(0))
_LINES, _SECONDS = 64, 1.0  # after which the disk is told
_SYNC = getattr(os, "fdatasync", os.fsync)  # macOS has fsync alone


@dataclass(frozen=True)
class Entry:
    """A line: the call's key and its `about`, the raw `body` of the response, and when it came.

    `input_estimate` is that of the call, for endpoints that do not count tokens; 0 where it is not known.
    """

    key: str
    about: dict[str, str]
    at: str
    seconds: float
    tries: int
    body: str
    input_estimate: int = 0
    v: int = 1


@dataclass
class Journal:
    """The answers in a file, by key; made by `Journal.open`. One process writes, which a lock of the folder sees to."""

    path: Path
    spoilt: int = 0
    """Damaged lines, which were left out."""

    def __post_init__(self) -> None:
        self._places = dict[str, tuple[int, int]]()
        self.used = Usage()
        """What all answers used, those without a count by the length of the texts."""
        self._unsynced, self._synced_at = 0, time.monotonic()
        with explain_write(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b", buffering=0)
        self._load()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    @property
    def is_empty(self) -> bool:
        """Whether there is no line at all, not even a damaged one or one without an answer."""
        return os.fstat(self._file.fileno()).st_size == 0

    def entry(self, key: str) -> Entry:
        """The line of an answer."""
        start, length = self._places[key]
        entry = _read(os.pread(self._file.fileno(), length, start))
        if entry is None:
            raise LapilliError(f"{self.path}: changed at byte {start} while it was in use; run the command again")
        return entry

    def reply(self, key: str) -> Reply:
        """The answer to a call."""
        return read_reply(self.entry(key).body)

    def append(self, entry: Entry) -> None:
        """Write a line, by one call of the system. It counts as an answer if its body is a chat completion.

        Where `is_due` then holds, call `sync`: in another thread, if something else is to go on meanwhile.
        Raises LapilliError when the disk is full; what was written before stays whole.
        """
        line = _line(entry)
        start = self._file.seek(0, os.SEEK_END)
        with explain_write(self.path):
            try:
                rest = line
                while rest:  # one write, unless the disk fills up in mid-line: then the next one says so
                    rest = rest[self._file.write(rest) :]
            except OSError:
                os.ftruncate(self._file.fileno(), start)
                raise
        self._enter(entry, start, len(line))
        self._unsynced += 1

    @property
    def is_due(self) -> bool:
        """Whether the disk is to be told of the last lines."""
        return self._unsynced >= _LINES or (self._unsynced > 0 and time.monotonic() - self._synced_at >= _SECONDS)

    def sync(self) -> None:
        """Tell the disk to hold all lines. A failure ends the run: what was written may be lost, and nobody knows."""
        self._unsynced, self._synced_at = 0, time.monotonic()  # before it: other threads need not tell it too
        with explain_write(self.path):
            _SYNC(self._file.fileno())

    def close(self) -> None:
        """Write out and close the file."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    def adopt(self, source: Path, wanted: Callable[[str], bool]) -> int:
        """Copy the answers to `wanted` keys from another journal or a batch's results; return how many were new.

        Raises LapilliError for a file that is neither.
        """
        before, lines = len(self), 0
        for line in _lines_of(source):
            lines += 1
            entry = _read(line) or _of_batch(line)
            if entry and entry.key not in self and wanted(entry.key) and _reply_of(entry):
                self.append(entry)
        if lines and not any((_read(line) or _batch_row(line)) for line in _lines_of(source)):
            raise LapilliError(f"{source}: neither a journal nor the results of a batch; give journal.jsonl of a run")
        return len(self) - before

    def entries(self) -> Iterator[Entry]:
        """Every answer, in the order in which they came."""
        return map(self.entry, list(self._places))

    def _load(self) -> None:
        size = os.fstat(self._file.fileno()).st_size
        end = 0
        for line in _lines_of(self.path):
            start, end = end, end + len(line)
            if not line.endswith(b"\n") and _read(line) is None:  # torn; a whole line may lack its break alone
                with explain_write(self.path):
                    os.ftruncate(self._file.fileno(), start)
                return
            if (entry := _read(line)) is None:
                self.spoilt += 1
            else:
                self._enter(entry, start, len(line))
        if size and not line.endswith(b"\n"):
            with explain_write(self.path):
                self._file.write(b"\n")

    def _enter(self, entry: Entry, start: int, length: int) -> None:
        reply = _reply_of(entry)
        if entry.key not in self._places and reply:
            self._places[entry.key] = start, length
            self.used += spent_on(reply, entry.input_estimate)


def _lines_of(file: Path) -> Iterator[bytes]:
    """The lines of a file with their breaks, one at a time: a journal may be larger than the memory."""
    try:
        if file.exists() and not file.is_file():
            raise LapilliError(f"{file}: not a file; give journal.jsonl of a run, or the results of a batch")
        with file.open("rb") as opened:
            yield from opened
    except OSError as error:
        raise LapilliError(f"{file}: cannot be read: {error.strerror}; check the path") from error


def _line(entry: Entry) -> bytes:
    content = json_text(entry)[:-1]
    return (content + _CRC.format(zlib.crc32(content.encode())) + "\n").encode()


def _read(line: bytes) -> Entry | None:
    """The entry in a line; None where it is damaged, or no line of a journal."""
    line = line.removesuffix(b"\n")
    content, ending = line[:-_CRC_LENGTH], line[-_CRC_LENGTH:]
    if ending != _CRC.format(zlib.crc32(content)).encode():
        return None
    try:
        return checked(Entry, parsed((content + b"}").decode(), "", ""), "", "")
    except (LapilliError, UnicodeDecodeError):
        return None


def _reply_of(entry: Entry) -> Reply | None:
    """The answer in a line; None where the endpoint sent none."""
    try:
        return read_reply(entry.body)
    except LapilliError:
        return None


def _batch_row(line: bytes) -> dict[str, Any] | None:
    """A line of a batch's results, which has the key and a response or an error; None for anything else."""
    try:
        value = parsed(line.decode(), "", "") if line.strip() else None
    except (LapilliError, UnicodeDecodeError):
        return None
    known = isinstance(value, dict) and isinstance(value.get("custom_id"), str) and ("response" in value)
    return value if known else None


def _of_batch(line: bytes) -> Entry | None:
    """The entry for a line of a batch's results that was answered."""
    row = _batch_row(line)
    response = row and row["response"]
    if not row or not isinstance(response, dict) or response.get("status_code", 200) != 200:
        return None
    body = response.get("body")
    key, name, text = map(_whole, (row["custom_id"], str(row.get("id", "")), _as_text(body)))
    return Entry(key=key, about={"batch": name}, at="", seconds=0.0, tries=1, body=text)


def _as_text(body: Any) -> str:
    return body if isinstance(body, str) else json_text(body)


def _whole(text: str) -> str:
    """The text with a question mark for half a character, which has no UTF-8."""
    return text.encode("utf-8", "replace").decode()
