"""A LoRA adapter written as peft writes it, beside everything else of a LLaVA's folder but the weights.

Plain peft loads the folder onto the base; Lapilli takes it wherever it takes a LLaVA, and finds the base by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from lapilli.core.files import new_folder
from lapilli.model.checkpoints.checkpoint import Checkpoint
from lapilli.model.checkpoints.write import describe
from lapilli.model.reading import quiet

_PREFIX = "base_model.model."


def write_adapter(checkpoint: Checkpoint, config: Any, tensors: Mapping[str, Tensor], base: str, out: Path) -> None:
    """Write an adapter into `out`, a new or empty folder; whole, or not at all.

    `checkpoint` describes the LLaVA, `config` is peft's LoraConfig, and `base` what the base is found by: its folder,
    or its id on the hub. `tensors` are the updates and what was trained in full, by their names in memory; the latter
    belong to the modules of `config.modules_to_save`, which peft puts in the base's place. Raises LapilliError for a
    folder in use and a full disk.
    """
    with new_folder(out) as folder, quiet():
        describe(checkpoint, folder)
        config.base_model_name_or_path, config.inference_mode = base, True
        config.save_pretrained(folder)
        content = {f"{_PREFIX}{name.removeprefix(_PREFIX)}": tensor.contiguous() for name, tensor in tensors.items()}
        save_file(content, folder / "adapter_model.safetensors", metadata={"format": "pt"})
