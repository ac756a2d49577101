"""How a picture becomes the square that a vision encoder takes, and where a pixel of that square lies in the picture.

| kind    | what becomes of a picture that is not square               | whose     |
|---------|------------------------------------------------------------|-----------|
| pad     | it is padded to a square with the mean color, then resized | LLaVA-1.5 |
| crop    | its shorter side is resized, then its middle cut out       | CLIP      |
| stretch | it is resized to a square, out of its shape                | SigLIP    |

A Hugging Face image processor does it, in this order: pad, resize, crop. Nothing else asks one which it does.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal, TypeAlias

from PIL import Image
from transformers import LlavaImageProcessorPil

from lapilli.core.errors import LapilliError

Kind: TypeAlias = Literal["pad", "crop", "stretch"]

Span: TypeAlias = tuple[Fraction, Fraction]
"""Where a row or column of pixels begins and ends."""

WORDS: Mapping[Kind, str] = {
    "pad": "padded to a square with the mean color, then resized",
    "crop": "resized by its shorter side, then cropped to the middle",
    "stretch": "resized to a square, out of its shape",
}
"""What to say of each kind."""

LONGEST_PADDED = 5_000
"""Pixels of a side up to which a picture is padded to a square as it is; of a longer one that takes a gigabyte."""

_PADS = "LlavaImageProcessor"  # with Pil or Fast behind it; of other classes, do_pad is about batches


def kind_of(settings: Mapping[str, Any]) -> Kind:
    """What an image processor of these settings does, those of preprocessor_config.json.

    One that does not say its class is LLaVA's, as transformers has it.
    """
    name = str(settings.get("image_processor_type", _PADS))
    if settings.get("do_pad") and name.startswith(_PADS):
        return "pad"
    return "crop" if settings.get("do_center_crop") else "stretch"


def kind_of_processor(image_processor: Any) -> Kind:
    """What an image processor does."""
    flags = {name: getattr(image_processor, name, None) for name in ("do_pad", "do_center_crop")}
    return kind_of({"image_processor_type": type(image_processor).__name__, **flags})


def picture_processor(theirs: Any, image_size: int, pad: bool | None) -> Any:
    """An image processor that pads to a square or does not, as `pad` says; None leaves it as it is."""
    if pad is None or pad == (kind_of_processor(theirs) == "pad"):
        return theirs
    if pad:
        return _padding(theirs, image_size)
    theirs.do_pad = False
    return theirs


def reduced(image_processor: Any, picture: Image.Image) -> Image.Image:
    """The picture; where it is to be padded, and is longer than LONGEST_PADDED, reduced by a whole number."""
    if max(picture.size) <= LONGEST_PADDED or kind_of_processor(image_processor) != "pad":
        return picture
    return picture.reduce(-(-max(picture.size) // LONGEST_PADDED))


def require_side(image_processor: Any, side: int) -> None:
    """Refuse sizes that do not end at the encoder's `side`, before a picture of such a size is made: LapilliError."""
    sizes = dict(image_processor.size or {})
    crops = dict(image_processor.crop_size or {}) if getattr(image_processor, "do_center_crop", False) else {}
    last = {size for size in (crops or sizes).values() if size is not None}
    if last != {side} or not all(0 < size <= 2 * side for size in sizes.values() if size is not None):
        problem = f"size {sizes}, crop_size {crops}, but the vision encoder takes {side} x {side} pixels"
        raise LapilliError(f"preprocessor_config.json: {problem}; fetch the file again")


def spans(image_processor: Any, size: tuple[int, int], pixels: int) -> tuple[Span, Span]:
    """Where the first `pixels` of a row and of a column of the square lie in a picture of `size` (width, height).

    From where to where, in the picture's pixels, across and down; what is below 0 or beyond the size is padding. Raises
    LapilliError for a way of resizing other than of the shortest edge, or of both to given lengths.
    """
    padded = (max(size), max(size)) if kind_of_processor(image_processor) == "pad" else size
    resized = _resized(image_processor, padded)
    framed = _cropped(image_processor, resized)
    across, down = (
        _span(Fraction(before, after), (after - kept) // 2, (before - length) // 2, pixels)
        for length, before, after, kept in zip(size, padded, resized, framed, strict=True)
    )
    return across, down


def _padding(theirs: Any, image_size: int) -> LlavaImageProcessorPil:
    """What an encoder's image processor does, after padding to a square with the mean color, as for LLaVA-1.5."""
    return LlavaImageProcessorPil(
        do_pad=True,
        size={"shortest_edge": image_size},
        crop_size={"height": image_size, "width": image_size},
        resample=theirs.resample,
        rescale_factor=theirs.rescale_factor,
        image_mean=theirs.image_mean,
        image_std=theirs.image_std,
    )


def _span(scale: Fraction, cut: int, padding: int, pixels: int) -> Span:
    """From the first of the pixels that are left to the last, in the original: a pixel there is `1 / scale` here."""
    return scale * cut - padding, scale * (cut + pixels) - padding


def _resized(processor: Any, size: tuple[int, int]) -> tuple[int, int]:
    if not processor.do_resize:
        return size
    wanted = dict(processor.size)
    if wanted.keys() == {"height", "width"}:
        return wanted["width"], wanted["height"]
    if wanted.keys() != {"shortest_edge"}:
        raise LapilliError(f"size {wanted} of the image processor: shortest_edge, or height and width, is understood")
    width, height = size
    edge = wanted["shortest_edge"]
    # Down to whole pixels, in floating point, as transformers does it.
    return (edge, int(edge * height / width)) if width <= height else (int(edge * width / height), edge)


def _cropped(processor: Any, size: tuple[int, int]) -> tuple[int, int]:
    if not getattr(processor, "do_center_crop", False):
        return size
    return processor.crop_size["width"], processor.crop_size["height"]
