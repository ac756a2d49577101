"""A trained connector alone: mm_projector.bin, which stage 1 of LLaVA's own trainer leaves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lapilli.core.errors import LapilliError
from lapilli.model.checkpoints.layouts import PROJECTOR_PART, layouts
from lapilli.model.connector import CONNECTORS, Connector
from lapilli.model.parts import listed
from lapilli.model.stored import is_finite, tensors_in

_NAME = re.compile(r"(?:.*\.)?mm_projector\.(?:(?P<layer>\d+)\.)?(?P<kind>weight|bias)")


def read_projector(file: Path) -> tuple[str, dict[str, Tensor]]:
    """The connector's name, told by its layers, and its tensors as transformers' projector names them.

    Raises LapilliError for a file that is none, and for one that holds more: what stands around an image in LLaVA's
    first versions was trained with it.
    """
    tensors = {name: source.read() for name, source in tensors_in(file)}
    broken = [name for name, tensor in tensors.items() if not is_finite(tensor)]
    if broken:
        raise LapilliError(f"{file}: {listed(broken)} not finite (NaN or infinite); take a checkpoint before that")
    strange = [name for name in tensors if not _NAME.fullmatch(name)]
    if strange or not tensors:
        raise LapilliError(f"{file}: no projector, it has {listed(strange) or 'no tensors'}; give mm_projector.bin")
    named = {f"model.mm_projector.{_inner(name)}": tensor for name, tensor in tensors.items()}
    odd = {kind.name: set(named) ^ _original_names(kind) for kind in CONNECTORS.values() if kind.is_original}
    connector = min(odd, key=lambda name: len(odd[name]))
    if odd[connector]:
        raise LapilliError(f"{file}: not the layers of a connector, by {listed(odd[connector])}; fetch it again")
    layout = layouts(connector)["original"]
    return connector, {layout.to_hf(name).removeprefix(PROJECTOR_PART): t for name, t in named.items()}


def fill(projector: Any, tensors: Mapping[str, Tensor], file: Path) -> None:
    """Put a file's tensors into a projector of transformers' or ours. Raises LapilliError where they do not fit."""
    own = dict(projector.named_parameters())
    odd = [name for name, tensor in tensors.items() if name not in own or own[name].shape != tensor.shape]
    if odd:
        shapes = ", ".join(f"{name} {tuple(tensors[name].shape)}" for name in odd)
        width = next(iter(own.values())).shape[1]
        raise LapilliError(f"{file}: made for other models: {shapes}; the encoder here has {width} features")
    for name, tensor in tensors.items():
        own[name].data = tensor.to(own[name].dtype)


def _inner(name: str) -> str:
    return name.rpartition("mm_projector.")[2]


def _original_names(connector: Connector) -> set[str]:
    return {f"model.mm_projector.{layer}{kind}" for layer in connector.layers.values() for kind in ("weight", "bias")}
