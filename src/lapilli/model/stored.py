"""The tensors in a model's folder by name, shape and format, read from headers: their numbers stay on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open

from lapilli.core.errors import LapilliError

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64"}


@dataclass(frozen=True)
class Stored:
    """A tensor on the disk: its file, its shape, and its format as torch calls it."""

    file: Path
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """The number of elements."""
        return prod(self.shape)


def stored_tensors(path: Path) -> dict[str, Stored]:
    """Every tensor in the folder's *.safetensors or, where it has none, *.bin files, by its name.

    Raises LapilliError where there are none, for a tensor that is in two files, for a damaged file, and for a pickle
    that holds more than tensors: loading it would run code.
    """
    found: dict[str, Stored] = {}
    for file in _files(path):
        for name, tensor in _headers(file):
            if name in found:
                also = found[name].file.name
                raise LapilliError(f"{file}: {name} is in {also} too; remove the file that does not belong here")
            found[name] = tensor
    return found


def _files(path: Path) -> list[Path]:
    files = sorted(path.glob("*.safetensors")) or sorted(path.glob("pytorch_model*.bin"))
    if not files:
        raise LapilliError(f"{path}: neither *.safetensors nor pytorch_model*.bin; give the folder of a model")
    return files


def _headers(file: Path) -> Iterator[tuple[str, Stored]]:
    yield from _of_safetensors(file) if file.suffix == ".safetensors" else _of_pickle(file)


def _of_safetensors(file: Path) -> Iterator[tuple[str, Stored]]:
    try:
        with safe_open(file, framework="np") as opened:
            for name in opened.keys():  # noqa: SIM118  # it is no dict
                header = opened.get_slice(name)
                dtype = header.get_dtype()
                yield name, Stored(file, tuple(header.get_shape()), _DTYPES.get(dtype, dtype))
    except SafetensorError as error:
        raise LapilliError(f"{file}: no safetensors: {error}; fetch the file again") from error


def _of_pickle(file: Path) -> Iterator[tuple[str, Stored]]:
    """On the meta device a tensor has a shape and no numbers."""
    try:
        content = torch.load(file, map_location="meta", weights_only=True)
    except UnpicklingError as error:
        reason = "damaged, or a pickle of more than tensors, and loading that would run code"
        raise LapilliError(f"{file}: {reason}; fetch it again, or have it saved as safetensors") from error
    except (RuntimeError, EOFError, OSError) as error:
        reason = str(error).partition("\n")[0] or "it ends too early"
        raise LapilliError(f"{file}: cannot be read: {reason}; fetch the file again") from error
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise LapilliError(f"{file}: not tensors by their names; give the folder of a model, not of a training's state")
    for name, tensor in content.items():
        yield name, Stored(file, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
