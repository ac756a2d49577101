"""Weights written as safetensors, in several files where they are large, one file in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from huggingface_hub import split_state_dict_into_shards_factory
from safetensors import SafetensorError
from safetensors.torch import save_file

from lapilli.core.errors import LapilliError
from lapilli.core.plain import json_text
from lapilli.model.stored import Source

SHARD_SIZE = 5_000_000_000
"""Bytes of a file, at most, unless one tensor has more; as the released checkpoints are cut."""


def write_tensors(
    tensors: Mapping[str, Source],
    folder: Path,
    out: Path,
    shard_size: int = SHARD_SIZE,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write model.safetensors, or model-00001-of-0000N.safetensors and their index, into an existing folder.

    Each tensor is read when its file is written and forgotten after it. `out` is what messages call the folder;
    `progress` is told the bytes that are done. Raises LapilliError when the disk is full.
    """
    plan = split_state_dict_into_shards_factory(
        dict(tensors),
        get_storage_size=lambda source: source.bytes,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=shard_size,
    )
    done = 0
    for file, names in plan.filename_to_tensors.items():
        _write_file({name: tensors[name] for name in names}, folder / file, out)
        done += sum(tensors[name].bytes for name in names)
        if progress is not None:
            progress(done)
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (folder / "model.safetensors.index.json").write_text(json_text(index, indent=2) + "\n", encoding="utf-8")


def _write_file(tensors: Mapping[str, Source], file: Path, out: Path) -> None:
    file.touch()
    mode = file.stat().st_mode
    try:
        content = {name: source.read().contiguous() for name, source in tensors.items()}
        save_file(content, file, metadata={"format": "pt"})
    except SafetensorError as error:
        raise LapilliError(f"{out}: cannot be written: {error}; free some space or choose another place") from error
    file.chmod(mode)  # safetensors lets nobody else read what it writes
