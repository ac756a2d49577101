"""Tensors on the disk by name, shape and format, read from headers; their numbers stay there until one is asked for."""

from __future__ import annotations

import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lapilli.core.errors import LapilliError
from lapilli.core.read import MissingFileError, read_json

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64"}

_MOST_LAYERS = 1_000  # the deepest models have some 200; transformers would make any number, for hours

_MOST_HEADERS = 32_000_000  # bytes of a folder's headers together, of some 200,000 tensors; read for ten seconds

_FIXED = {"return_dict": True, "is_encoder_decoder": False}
"""Settings that say how a model is called, and so are the caller's; with other values nothing here fits."""

# What torch's reader of pickles raises on damaged ones besides UnpicklingError, found by feeding it some.
_DAMAGED = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
)


@dataclass(frozen=True)
class Source:
    """A tensor that is not there yet: its shape, its format as torch calls it, and `read`, which gives it."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Tensor]

    @property
    def size(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """What it takes in memory and on the disk."""
        return self.size * int(getattr(torch, self.dtype).itemsize)


def in_memory(tensor: Tensor) -> Source:
    """A tensor that is in memory already."""
    return Source(tuple(tensor.shape), dtype_name(tensor), lambda: tensor)


def is_finite(tensor: Tensor) -> bool:
    """Whether every element is a number, neither NaN nor infinite; without a second tensor of its size."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    return all(bool(torch.isfinite(extreme)) for extreme in tensor.aminmax())


def dtype_name(tensor: Tensor) -> str:
    """The format of a tensor, such as "bfloat16"."""
    return str(tensor.dtype).removeprefix("torch.")


def stored_tensors(path: Path) -> dict[str, Source]:
    """Every tensor in the folder's *.safetensors or, where it has none, *.bin files, by its name.

    What is read of one is mapped from its file, and gone with the tensor. Raises LapilliError where there are none, for
    a tensor that is in two files, for a damaged file, for an index that promises more than is there, and for a pickle
    that holds more than tensors: loading it would run code.
    """
    tensors: dict[str, Source] = {}
    files: dict[str, Path] = {}
    for file in _files(path):
        for name, tensor in tensors_in(file):
            if name in tensors:
                also = files[name].name
                raise LapilliError(f"{file}: {name} is in {also} too; remove the file that does not belong here")
            tensors[name], files[name] = tensor, file
    return tensors


def tensors_in(file: Path) -> Iterator[tuple[str, Source]]:
    """The tensors of one file, safetensors or a pickle. Raises LapilliError as `stored_tensors` does."""
    yield from _of_safetensors(file) if file.suffix == ".safetensors" else _of_pickle(file)


def _files(path: Path) -> Sequence[Path]:
    files = sorted(path.glob("*.safetensors")) or sorted(path.glob("pytorch_model*.bin"))
    if not files:
        raise LapilliError(f"{path}: neither *.safetensors nor pytorch_model*.bin; give the folder of a model")
    if odd := next((file for file in files if not file.is_file()), None):  # a pipe would be waited for without end
        raise LapilliError(f"{odd}: not a file; fetch it again")
    if (headers := sum(map(_header_bytes, files))) > _MOST_HEADERS:
        limit = f"{headers:,} bytes of headers, and no model has more than {_MOST_HEADERS:,}"
        raise LapilliError(f"{path}: its *.safetensors have {limit}; fetch the folder again")
    for index in path.glob(f"*{files[0].suffix}.index.json"):
        named = json_object(index).get("weight_map", {})
        if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
            raise LapilliError(f"{index}: its weight_map does not name a file for each tensor; fetch the file again")
        missing = sorted(set(named.values()) - {file.name for file in files})
        if missing:
            raise LapilliError(f"{index}: names {', '.join(missing)}, which the folder has not; fetch the rest of it")
    return files


def _header_bytes(file: Path) -> int:
    """How long a safetensors file says that its header is; 0 for a pickle."""
    if file.suffix != ".safetensors":
        return 0
    try:
        with file.open("rb") as opened:
            return int.from_bytes(opened.read(8), "little")
    except OSError as error:
        raise LapilliError(f"{file}: no safetensors: {error}; fetch the file again") from error


def model_config(path: Path) -> dict[str, Any]:
    """config.json of a model's folder.

    Raises LapilliError where there is none, and for one that would keep transformers busy without end, or have it
    fetch code: kernels are programs.
    """
    if (path / "mm_projector.bin").is_file() and not (path / "config.json").exists():
        remedy = f"`lapilli model build --connector {path / 'mm_projector.bin'}` joins two models with it"
        raise LapilliError(f"{path}: a connector alone; {remedy}")
    config = json_object(path / "config.json")
    for name, value in _settings(config):
        if name.endswith(("layers", "n_layer")) and isinstance(value, int | float) and value > _MOST_LAYERS:
            limit = f"no model has more than {_MOST_LAYERS:,}"
            raise LapilliError(f"{path / 'config.json'}: {name} is {value}, and {limit}; fetch the file again")
        if name in _FIXED and bool(value) is not _FIXED[name]:
            raise LapilliError(f"{path / 'config.json'}: {name} is {value!r}, as no LLaVA's; remove that line")
        if name.endswith("attn_implementation") and "/" in str(value):
            remedy = "remove that line"
            raise LapilliError(f"{path / 'config.json'}: {name} is {value!r}, code from elsewhere; {remedy}")
    return config


def _settings(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields of a configuration and of those inside it."""
    for name, value in config.items():
        yield name, value
        if isinstance(value, dict):
            yield from value.items()


def json_object(file: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises LapilliError where there is none."""
    try:
        content = read_json(file, "fetch the file again")
    except MissingFileError:
        raise LapilliError(f"{file}: no such file; give the folder of a model") from None
    if not isinstance(content, dict):
        raise LapilliError(f"{file}: not a JSON object; fetch the file again")
    return content


def _of_safetensors(file: Path) -> Iterator[tuple[str, Source]]:
    try:
        with safe_open(file, framework="np") as opened:
            for name in opened.keys():  # noqa: SIM118  # it is no dict
                header = opened.get_slice(name)
                yield name, described(file, name, header.get_dtype(), header.get_shape(), _reader(file, name))
    except (SafetensorError, OSError) as error:
        raise LapilliError(f"{file}: no safetensors: {error}; fetch the file again") from error


def described(file: Path, name: str, dtype: str, shape: Sequence[int], read: Callable[[], Tensor]) -> Source:
    """A tensor as the header of its file describes it. Raises LapilliError for a format that nothing is computed in."""
    if dtype not in _DTYPES:
        remedy = "give the model that it was quantised from"
        raise LapilliError(f"{file}: {name} is in {dtype}, which nothing is computed in; {remedy}")
    return Source(tuple(shape), _DTYPES[dtype], read)


def _reader(file: Path, name: str) -> Callable[[], Tensor]:
    def read() -> Tensor:
        with safe_open(file, framework="pt") as opened:
            tensor: Tensor = opened.get_tensor(name)
        return tensor

    return read


def _of_pickle(file: Path) -> Iterator[tuple[str, Source]]:
    """On the meta device a tensor has a shape and no numbers."""
    content = _unpickled(file, map_location="meta")
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise LapilliError(f"{file}: not tensors by their names; give the folder of a model, not of a training's state")
    for name, tensor in content.items():
        yield name, Source(tuple(tensor.shape), dtype_name(tensor), _unpickler(file, name))


def _unpickler(file: Path, name: str) -> Callable[[], Tensor]:
    def read() -> Tensor:
        # The format before torch 1.6 is no zip file, and cannot be mapped.
        tensor: Tensor = _unpickled(file, map_location="cpu", mmap=zipfile.is_zipfile(file))[name]
        return tensor

    return read


def _unpickled(file: Path, **settings: Any) -> Any:
    _require_uncompressed(file)
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is said below, or does not matter
            return torch.load(file, weights_only=True, **settings)
    except UnpicklingError as error:
        reason = "damaged, or a pickle of more than tensors, and loading that would run code"
        raise LapilliError(f"{file}: {reason}; fetch it again, or have it saved as safetensors") from error
    except _DAMAGED as error:
        reason = str(error).partition("\n")[0] or "it ends too early"
        raise LapilliError(f"{file}: cannot be read: {reason}; fetch the file again") from error


def _require_uncompressed(file: Path) -> None:
    """Refuse what would swell in memory: torch.save packs its files into an archive as they are."""
    try:
        with zipfile.ZipFile(file) as archive:
            packed = [one.filename for one in archive.infolist() if one.file_size > one.compress_size]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # no archive: torch says what it is
    if packed:
        raise LapilliError(
            f"{file}: {packed[0]} is compressed in it, which torch.save never does; fetch the file again"
        )
