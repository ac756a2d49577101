"""The device, the number format and the quantisation of a model, as options. `model/placement.py` applies them."""

from dataclasses import dataclass

from lapilli.core.errors import UsageError

AUTO, BALANCED = "auto", "balanced"
DTYPES = ("fp32", "bf16", "fp16")
REST = {8: "fp16", 4: "bf16"}
"""The format in which bitsandbytes multiplies, by the bits of the weights; other formats are cast there and back."""

_KINDS = ("cpu", "cuda", "xpu", "mps", "hpu", "mtia", "npu", "xla")  # torch's words; npu is that of a plugin


@dataclass(frozen=True)
class Placement:
    """The device and the number format of a model.

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
        if self.bits not in (None, *REST):
            raise UsageError(f"bits {self.bits}: choose 8 or 4, or none: unquantised")
        if self.device not in (AUTO, BALANCED):
            _require_known(self.device)


def _require_known(device: str) -> None:
    kind, colon, index = device.partition(":")
    if kind not in _KINDS or (colon and not (index.isascii() and index.isdecimal())):
        raise UsageError(f"device {device!r}: unknown; choose {AUTO}, cpu, cuda, cuda:N or {BALANCED}")


AS_STORED = Placement()
"""The placement on the CPU, in the format of the folder."""
