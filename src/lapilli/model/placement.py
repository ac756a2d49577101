"""Where a model's numbers lie, and in what format: devices, dtypes, and weights of 8 or 4 bits."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import BitsAndBytesConfig
from transformers.utils.import_utils import is_bitsandbytes_available

from lapilli.core.errors import LapilliError, UsageError

AUTO, BALANCED = "auto", "balanced"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_REST = {8: "fp16", 4: "bf16"}  # what bitsandbytes multiplies in; other formats are cast there and back
_UNQUANTISED = ["model.vision_tower", "model.multi_modal_projector", "lm_head"]


@dataclass(frozen=True)
class Placement:
    """Where to put a model, and how to hold it.

    device  "cpu", "cuda", "cuda:N" or another of torch's; "auto" is the first accelerator, or the CPU where there is
            none; "balanced" spreads the layers over all CUDA GPUs, as accelerate does
    dtype   "fp32", "bf16" or "fp16"; None is that in which the weights are stored, on every device
    bits    8 (LLM.int8, arXiv 2208.07339) or 4 (NF4 with double quantisation, arXiv 2305.14314) for the linear layers
            of the language model, by bitsandbytes on a CUDA GPU. Vision encoder, projector and head stay whole, in
            `dtype` or, where that is None, in fp16 beside 8 bits and bf16 beside 4; None leaves everything whole

    Raises UsageError for a word that is none of these.
    """

    device: str = "cpu"
    dtype: str | None = None
    bits: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in (None, *DTYPES):
            raise UsageError(f"dtype {self.dtype!r}: unknown; choose {', '.join(DTYPES)}, or none: as stored")
        if self.bits not in (None, *_REST):
            raise UsageError(f"bits {self.bits}: choose 8 or 4, or none: unquantised")
        if self.device not in (AUTO, BALANCED):
            _require_known(self.device)

    def settings(self) -> dict[str, Any]:
        """What `from_pretrained` is to be told; nothing at all for the CPU and the stored dtype.

        Raises LapilliError for a device that is not there, and where bitsandbytes or its GPU are missing.
        """
        device = self._device()
        settings: dict[str, Any] = {} if device == "cpu" else {"device_map": _map(device)}
        if self.bits:
            settings["quantization_config"] = self._quantised(device)
        if dtype := self.dtype or _REST.get(self.bits or 0):
            settings["dtype"] = DTYPES[dtype]
        return settings

    def _device(self) -> str:
        """The device by its own name, which is there; or BALANCED."""
        if self.device == AUTO:
            found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
            return "cpu" if found is None else f"{found.type}:0"
        if self.device == BALANCED or torch.device(self.device).type == "cuda":
            _require_cuda(self.device)
        elif self.device != "cpu":
            _require_accelerator(torch.device(self.device))
        return self.device

    def _quantised(self, device: str) -> BitsAndBytesConfig:
        _require_quantiser(self.bits, device)
        if self.bits == 8:
            return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=_UNQUANTISED)
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=DTYPES[self.dtype or _REST[4]],
            llm_int8_skip_modules=_UNQUANTISED,
        )


def devices() -> list[str]:
    """What a model can be put on here, in words."""
    found = [f"cpu, {torch.get_num_threads()} threads"]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(f"cuda:{index}, {properties.name}, {properties.total_memory / 1e9:.0f} GB")
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def placed(batch: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """The batch where the model is: tokens on its device, pixel values on its vision encoder's and in that's dtype."""
    tower = model.model.vision_tower
    return {
        name: value.to(tower.device, tower.dtype) if name == "pixel_values" else value.to(model.device)
        for name, value in batch.items()
    }


def _map(device: str) -> Any:
    return device if device == BALANCED else {"": device}


def _require_known(device: str) -> None:
    try:
        torch.device(device)
    except RuntimeError as error:
        known = f"choose {AUTO}, cpu, cuda, cuda:N or {BALANCED}"
        raise UsageError(f"device {device!r}: unknown; {known}") from error


def _require_cuda(device: str) -> None:
    count = torch.cuda.device_count()
    if not count:
        raise LapilliError(f"device {device}: torch {torch.__version__} finds no CUDA GPU; choose auto or cpu")
    if device != BALANCED and (torch.device(device).index or 0) >= count:
        raise LapilliError(f"device {device}: there are {count} CUDA GPUs, numbered from 0; choose one of them")


def _require_accelerator(device: torch.device) -> None:
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if found is None or found.type != device.type:
        raise LapilliError(f"device {device}: torch {torch.__version__} finds none here; choose auto or cpu")


def _require_quantiser(bits: int | None, device: str) -> None:
    if not torch.cuda.is_available():
        raise LapilliError(f"bits {bits}: bitsandbytes needs a CUDA GPU, and torch finds none; leave the bits out")
    if device == "cpu":
        raise LapilliError(f"bits {bits}: bitsandbytes needs a CUDA GPU, but the device is cpu; choose auto or cuda")
    if not is_bitsandbytes_available():
        raise LapilliError(f"bits {bits}: bitsandbytes is not installed; pip install 'lapilli[quant]'")


AS_STORED = Placement()
"""On the CPU, in the format of the folder."""
