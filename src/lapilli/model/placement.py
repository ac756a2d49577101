"""Where a model's numbers lie, and in what format: devices, dtypes, and weights of 8 or 4 bits."""

import time
import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import BitsAndBytesConfig
from transformers.utils.import_utils import is_bitsandbytes_available

from lapilli.core.errors import LapilliError, LapilliWarning
from lapilli.core.placement import AUTO, BALANCED, REST, Placement

TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_HALVES = {torch.bfloat16: "bf16", torch.float16: "fp16"}
_MOST_SLOWNESS = 2.0  # of a format, that nobody is told of
_UNQUANTISED = ["model.vision_tower", "model.multi_modal_projector", "lm_head"]


def settings(placement: Placement) -> dict[str, Any]:
    """What `from_pretrained` is to be told; nothing at all for the CPU and the stored dtype.

    Raises LapilliError for a device that is not there, and where bitsandbytes or its GPU are missing.
    """
    device = _there(placement.device)
    options: dict[str, Any] = {} if device == "cpu" else {"device_map": _map(device)}
    if placement.bits:
        options["quantization_config"] = _quantised(placement, device)
    if dtype := placement.dtype or REST.get(placement.bits or 0):
        options["dtype"] = TORCH_DTYPES[dtype]
    return options


def devices() -> list[str]:
    """What a model can be put on here, in words."""
    names = [f"cpu, {torch.get_num_threads()} threads"]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        names.append(f"cuda:{index}, {properties.name}, {properties.total_memory / 1e9:.0f} GB")
    if torch.backends.mps.is_available():
        names.append("mps")
    return names


def warn_of_slow_format(model: Any, placement: Placement) -> None:
    """Warn where a model is on a CPU that multiplies far more slowly in its stored format than in fp32.

    Many processors have no arithmetic of 16 bits. Whoever names a format is not warned, and nobody twice of a model of
    the same size.
    """
    if placement.dtype is None and model.device.type == "cpu" and (what := slow_format(model.dtype)):
        size = sum(weight.numel() for weight in model.parameters()) * torch.float32.itemsize / 1e9
        _warn_once(f"{what}; with --dtype fp32, where a command has that, the model takes {size:.1f} GB")


def warn_of_slow_precision(precision: str) -> None:
    """Warn of a training in bf16 on a CPU that multiplies far more slowly in it than in fp32."""
    if precision == "bf16" and not torch.accelerator.is_available() and (what := slow_format(torch.bfloat16)):
        _warn_once(f"precision: bf16; {what}; set precision to fp32")


@cache
def _warn_once(line: str) -> None:
    """Python's own memory of what it has warned of does not survive the blocks that keep other packages quiet."""
    warnings.warn(line, LapilliWarning, 4)


def slow_format(dtype: torch.dtype) -> str:
    """Say that the CPU is slow in a format of 16 bits; nothing where it is not."""
    if dtype not in _HALVES or (slowness := slowness_of(dtype)) < _MOST_SLOWNESS:
        return ""
    return f"this processor multiplies matrices of {_HALVES[dtype]} {slowness:.0f} times as slowly as those of fp32"


@cache
def slowness_of(dtype: torch.dtype) -> float:
    """How many times as long the CPU takes for a product of wide matrices in this format as in fp32, measured here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several wait for each other where other programs are running
    try:
        return _seconds_of_product(dtype) / _seconds_of_product(torch.float32)
    finally:
        torch.set_num_threads(threads)


def _seconds_of_product(dtype: torch.dtype) -> float:
    """The least of three."""
    states, weight = torch.ones(256, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
    taken = []
    for _ in range(4):  # the first prepares the routine
        begun = time.perf_counter()
        linear(states, weight)  # as layers multiply: other routines serve weights that are not transposed
        taken.append(time.perf_counter() - begun)
    return min(taken[1:])


def placed(batch: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """The batch where the model is: tokens on its device, pixel values on its vision encoder's and in that's dtype."""
    tower = model.model.vision_tower
    return {
        name: value.to(tower.device, tower.dtype) if name == "pixel_values" else value.to(model.device)
        for name, value in batch.items()
    }


def _map(device: str) -> Any:
    return device if device == BALANCED else {"": device}


def _there(device: str) -> str:
    """A device that is there, by its own name; or BALANCED."""
    if device == AUTO:
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return "cpu" if accelerator is None else f"{accelerator.type}:0"
    if device == BALANCED or device.startswith("cuda"):
        _require_cuda(device)
    elif device != "cpu":
        _require_accelerator(device)
    return device


def _quantised(placement: Placement, device: str) -> BitsAndBytesConfig:
    _require_quantiser(placement.bits, device)
    if placement.bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=_UNQUANTISED)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=TORCH_DTYPES[placement.dtype or REST[4]],
        llm_int8_skip_modules=_UNQUANTISED,
    )


def _require_cuda(device: str) -> None:
    count = torch.cuda.device_count()
    if not count:
        raise LapilliError(f"device {device}: torch {torch.__version__} finds no CUDA GPU; choose auto or cpu")
    if device != BALANCED and int(device.partition(":")[2] or 0) >= count:
        raise LapilliError(f"device {device}: there are {count} CUDA GPUs, numbered from 0; choose one of them")


def _require_accelerator(device: str) -> None:
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is None or accelerator.type != device.partition(":")[0]:
        raise LapilliError(f"device {device}: torch {torch.__version__} finds none here; choose auto or cpu")


def _require_quantiser(bits: int | None, device: str) -> None:
    if not torch.cuda.is_available():
        raise LapilliError(f"bits {bits}: bitsandbytes needs a CUDA GPU, and torch finds none; leave the bits out")
    if device == "cpu":
        raise LapilliError(f"bits {bits}: bitsandbytes needs a CUDA GPU, but the device is cpu; choose auto or cuda")
    if not is_bitsandbytes_available():
        raise LapilliError(f"bits {bits}: bitsandbytes is not installed; pip install 'lapilli[quant]'")
