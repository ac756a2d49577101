"""What a GGUF file says of itself: its settings, and the names, shapes and formats of its tensors; without torch.

The `gguf` package reads the same, but takes seconds for a vocabulary, and goes on without end where a damaged file
promises more than it holds. Whatever has passed here is whole, so that the package and transformers can read it.
"""

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from lapilli.core.errors import LapilliError
from lapilli.core.terminal import one_line

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9  # kinds of values beside those of numbers, as the format counts them
_MOST_DIMENSIONS = 4
_ALIGNMENT = 32  # of the tensors, where the file does not say another
_AGAIN = "fetch it again"


@dataclass(frozen=True)
class Stored:
    """A tensor in the file: how many elements it has, its format's number, and where it begins behind the header."""

    elements: int
    kind: int
    offset: int


@dataclass(frozen=True)
class Header:
    """Settings by their keys, lists of texts left out; tensors by their names, and the byte where theirs begin."""

    settings: Mapping[str, Any]
    tensors: Mapping[str, Stored]
    start: int

    @property
    def architecture(self) -> str:
        """The kind of network, as llama.cpp calls it."""
        return str(self.settings["general.architecture"])

    @property
    def formats(self) -> str:
        """The formats of the tensors, the most frequent first: "Q4_1, F32 and Q8_0"."""
        from gguf.constants import GGMLQuantizationType

        kinds = [tensor.kind for tensor in self.tensors.values()]
        names = [GGMLQuantizationType(kind).name for kind in sorted(set(kinds), key=lambda kind: -kinds.count(kind))]
        return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), names[-1]])


def require_package() -> None:
    """Raise LapilliError where the package that unpacks GGUF's formats is not installed."""
    if find_spec("gguf") is None:
        raise LapilliError("GGUF: the package that reads it is not installed; pip install 'lapilli[gguf]'")


def read_header(file: Path) -> Header:
    """The header of a GGUF file that is whole. Raises LapilliError for any other, and without the package `gguf`."""
    require_package()
    try:
        if not file.is_file():  # a pipe would be waited for without end
            raise LapilliError(f"{file}: no such file; give a GGUF file")
        with file.open("rb") as opened:
            if opened.read(len(_MAGIC)) != _MAGIC:
                raise LapilliError(f"{file}: not a GGUF file: it does not begin with {_MAGIC.decode()}; {_AGAIN}")
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _parsed(file, content)
    except OSError as error:
        raise LapilliError(f"{file}: cannot be read: {error.strerror or error}; {_AGAIN}") from error
    except (struct.error, ValueError, LookupError, TypeError, ArithmeticError) as error:
        raise LapilliError(f"{file}: torn: its header ends too early, or is damaged; {_AGAIN}") from error


def _parsed(file: Path, content: mmap.mmap) -> Header:
    cursor = _Cursor(content, len(_MAGIC))
    version, tensors, settings = cursor.numbers("IQQ")
    if version not in _VERSIONS:
        known = " and ".join(map(str, _VERSIONS))
        raise LapilliError(f"{file}: GGUF of version {version}; {known} are read: convert the model again")
    values = dict(cursor.setting() for _ in range(settings))
    stored = dict(cursor.tensor() for _ in range(tensors))
    alignment = values.get("general.alignment", _ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError("no alignment")
    header = Header(values, stored, -(-cursor.at // alignment) * alignment)
    if not isinstance(values["general.architecture"], str) or not stored:
        raise ValueError("no architecture, or no tensor")
    _require_whole(file, header, len(content))
    return header


def _require_whole(file: Path, header: Header, size: int) -> None:
    """Refuse a file that ends before its last tensor does, and formats that nothing unpacks."""
    from gguf.constants import GGML_QUANT_SIZES

    sizes: dict[int, tuple[int, int]] = {int(kind): blocks for kind, blocks in GGML_QUANT_SIZES.items()}
    for name, tensor in header.tensors.items():
        if tensor.kind not in sizes:
            remedy = "install a newer gguf, or give another file of the model"
            raise LapilliError(
                f"{file}: {one_line(name)} is in format {tensor.kind}, which the installed gguf does not know; {remedy}"
            )
        elements, bytes_each = sizes[tensor.kind]
        end = header.start + tensor.offset + tensor.elements // elements * bytes_each
        if end > size:
            raise LapilliError(
                f"{file}: torn: {one_line(name)} ends at byte {end:,}, but the file at {size:,}; {_AGAIN}"
            )


class _Cursor:
    """A place in the file, which goes on with everything that is read: what follows has no table of contents."""

    def __init__(self, content: mmap.mmap, at: int) -> None:
        self._content = content
        self.at = at

    def numbers(self, formats: str) -> tuple[Any, ...]:
        """The next numbers, in struct's letters. Raises struct.error where the file ends."""
        values = struct.unpack_from(f"<{formats}", self._content, self.at)
        self.at += struct.calcsize(f"<{formats}")
        return values

    def text(self) -> str:
        """The next text, behind its length in bytes."""
        (length,) = self.numbers("Q")
        self._require(length)
        self.at += length
        return self._content[self.at - length : self.at].decode()

    def setting(self) -> tuple[str, Any]:
        """The next key and its value."""
        key, (kind,) = self.text(), self.numbers("I")
        return key, self._list() if kind == _LIST else self._value(kind)

    def tensor(self) -> tuple[str, Stored]:
        """The next tensor's name, and what it is."""
        name, (dimensions,) = self.text(), self.numbers("I")
        if not 0 < dimensions <= _MOST_DIMENSIONS:
            raise ValueError("too many dimensions")
        *shape, kind, offset = self.numbers(f"{dimensions}QIQ")
        return name, Stored(prod(shape), kind, offset)

    def _value(self, kind: int) -> Any:
        return self.text() if kind == _TEXT else self.numbers(_NUMBERS[kind])[0]

    def _list(self) -> Any:
        """The next list; of texts, their number."""
        kind, count = self.numbers("IQ")
        if kind == _TEXT:
            for _ in range(count):
                (length,) = self.numbers("Q")
                self._require(length)
                self.at += length
            return count
        self._require(count * struct.calcsize(_NUMBERS[kind]))
        return list(self.numbers(f"{count}{_NUMBERS[kind]}"))

    def _require(self, length: int) -> None:
        if length > len(self._content) - self.at:
            raise ValueError("the file ends before")
