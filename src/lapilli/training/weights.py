"""The weights that learn, as a checkpoint holds them."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lapilli.core.errors import LapilliError

_FILE = "learned.safetensors"


class FinalError(LapilliError):
    """An error that a run would only meet again if it were resumed from its checkpoint."""


def write_weights(model: nn.Module, folder: Path) -> None:
    """Write the parameters that learn into a folder that exists."""
    save_file({name: value.detach().contiguous() for name, value in _learning(model)}, folder / _FILE)


def read_weights(model: nn.Module, folder: Path) -> None:
    """Take over the parameters that `write_weights` wrote. Raises FinalError where others learn in this model."""
    saved, learning = load_file(folder / _FILE), dict(_learning(model))
    if saved.keys() != learning.keys():
        raise FinalError(f"{folder}: holds other weights than this stage trains; start a new run")
    with torch.no_grad():
        for name, parameter in learning.items():
            parameter.copy_(saved[name])


def _learning(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
