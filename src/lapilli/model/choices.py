"""What one can choose when a model is joined or converted, by name: versions, layouts, sizes of files.

Nothing here imports torch, so that a wrong name is refused at once.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lapilli.core.errors import UsageError

TARGETS = ("hf", "original", "split", "projector", "nested", "memory", "joined")
"""The layouts that a model can be written in; `checkpoints/layouts.py` says what they are."""

BACKGROUNDS = ("white", "black", "mean")
"""What a model may be shown where a picture is transparent; `mean` is the color that pictures are padded with."""


@dataclass(frozen=True)
class Preset:
    """A version of LLaVA: its connector, the side of its pictures in pixels, and whether they are padded or cropped."""

    connector: str
    image_size: int
    pad: bool


PRESETS: Mapping[str, Preset] = {
    "llava-v1": Preset("linear", 224, pad=False),
    "llava-v1.5": Preset("mlp2x_gelu", 336, pad=True),
}
"""LLaVA (arXiv 2304.08485) and LLaVA-1.5 (arXiv 2310.03744); both read the last layer but one of CLIP-L/14."""


def preset(name: str) -> Preset:
    """The preset of that name. Raises UsageError for an unknown one."""
    if name not in PRESETS:
        raise UsageError(f"preset {name!r}: unknown; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def require_background(name: str) -> None:
    """Raise UsageError for what is none of `BACKGROUNDS`."""
    if name not in BACKGROUNDS:
        raise UsageError(f"background {name!r}: unknown; choose one of {', '.join(BACKGROUNDS)}")


def require_target(name: str) -> None:
    """Raise UsageError for what is no layout to write."""
    if name not in TARGETS:
        raise UsageError(f"target {name!r}: unknown; choose one of {', '.join(TARGETS)}")


def size_in_bytes(text: str) -> int:
    """What "5GB" or "500MB" means: powers of ten. Raises UsageError for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)B\s*", text, re.IGNORECASE)
    if match is None or not 0 < float(match[1]) < 1e15:  # an endless number is infinite
        raise UsageError(f"size {text!r}: write a number and its unit, such as 5GB or 500MB")
    return max(1, int(float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " ")))
