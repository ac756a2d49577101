"""Samples of more than 8 bits, brought to the 256 levels of a channel by the range that they were stored in."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

_LOG = logging.getLogger(__name__)
_STRIP = 1 << 22  # pixels worked on at a time, 32 MB in float64

_FULL = 2**16 - 1
_PLAIN = "16 bits"
_NARROWER = (8, 10, 12)  # bits that cameras and scanners put into 16

# Tags of TIFF 6.0.
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_LIMITS = ((340, 341), (280, 281))  # SMinSampleValue and SMaxSampleValue, MinSampleValue and MaxSampleValue
_UNSIGNED = (1,)

_reported: set[str] = set()


@dataclass(frozen=True)
class Range:
    """The sample values that become 0 and 255, and the source of that. `low` above `high` makes a negative."""

    low: float
    high: float
    source: str

    def levels(self, samples: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The nearest of 256 levels, cut off at both ends; NaN becomes the lower end."""
        width = (self.high - self.low) or 1.0
        fractions = np.nan_to_num((samples - self.low) / width, nan=0.0, posinf=1.0, neginf=0.0)
        return np.asarray((fractions.clip(0, 1) * 255).round(), dtype=np.uint8)


def is_deep(picture: Image.Image) -> bool:
    """Whether the samples are integers of 16 or 32 bits, or floating point, of which Pillow would cut off all but 8."""
    return picture.mode.startswith("I") or picture.mode == "F"


def declared_range(picture: Image.Image) -> Range | None:
    """The range that the file of a deep picture states; None where it states none. Call it before decoding.

    That is TIFF's SMinSampleValue and SMaxSampleValue, or MinSampleValue and MaxSampleValue, or BitsPerSample of
    unsigned integers; PGM's maxval. 16 bits are none: scanners of 12 bits write them as well.
    """
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return _declared_by_tiff(picture)
    if picture.mode == "I" and any(_scaled_from(tile.args) for tile in getattr(picture, "tile", ())):
        return Range(0, _FULL, "its maxval")
    return None


def stored_range(picture: Image.Image) -> Range:
    """The range of a decoded deep picture whose file states none: one of the usual ones that holds all its samples.

    Unsigned 16 bits: 0 to 65,535, or to 255, 1,023 or 4,095 where all samples are as small. Floating point: 0 to 1, or
    0 to 255. All else, 32 bits among it: from its own smallest sample to its largest. Raises ValueError for a picture
    without a finite sample.
    """
    smallest, largest = _extremes(picture)
    if picture.mode == "F":
        usual = next((top for top in (1.0, 255.0) if smallest >= 0 and largest <= top), None)
        return Range(0, usual, f"0 to {usual:g}") if usual else Range(smallest, largest, "its own range")
    if picture.mode.startswith("I;16") or picture.format in ("PNG", "PPM"):
        return of_sixteen_bits(largest)
    return Range(smallest, largest, "its own range")


def of_sixteen_bits(largest: float) -> Range:
    """The range of unsigned samples of 16 bits of which `largest` is the largest; of a black picture all 16."""
    bits = next((bits for bits in _NARROWER if 0 < largest < 2**bits), 16)
    return Range(0, 2**bits - 1, f"{bits} of 16 bits" if bits < 16 else _PLAIN)


def photometric(picture: Image.Image, span: Range) -> Range:
    """Return the range, reversed where a TIFF says that white is 0."""
    tags = getattr(picture, "tag_v2", {})
    white_is_zero = tags.get(_PHOTOMETRIC) == 0
    return Range(span.high, span.low, span.source) if white_is_zero else span


def samples_of(strip: Image.Image, unsigned: bool) -> NDArray[np.float64]:
    """The samples of a part of a deep picture, (height, width); Pillow holds unsigned 32 bits as signed ones."""
    stored = np.asarray(strip)
    if unsigned and stored.dtype == np.int32:
        stored = stored.view(np.uint32)
    return stored.astype(np.float64)


def is_unsigned(picture: Image.Image) -> bool:
    """Whether a TIFF of integers says that they are unsigned, as it does by default."""
    tags = getattr(picture, "tag_v2", None)
    return tags is not None and tags.get(_SAMPLE_FORMAT, _UNSIGNED) == _UNSIGNED


def strips(picture: Image.Image, factor: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """A decoded picture from top to bottom, in parts of a multiple of `factor` rows, each with its first row."""
    rows = factor * max(1, _STRIP // (picture.width * factor))
    for top in range(0, picture.height, rows):
        yield top, picture.crop((0, top, picture.width, min(top + rows, picture.height)))


def report(path: Path, span: Range) -> None:
    """Log once in a process how samples of a kind are scaled; nothing for plain 16 bits."""
    if span.source == _PLAIN or span.source in _reported:
        return
    _reported.add(span.source)
    low, high = min(span.low, span.high), max(span.low, span.high)
    _LOG.warning(
        "%r: samples of %.6g to %.6g are scaled to 8 bits (%s); others of this kind are scaled too, and not reported",
        str(path), low, high, span.source,
    )  # fmt: skip


def _declared_by_tiff(picture: TiffImagePlugin.TiffImageFile) -> Range | None:
    tags = picture.tag_v2
    for lower, upper in _LIMITS:
        low, high = _number(tags.get(lower, 0)), _number(tags.get(upper))
        if low is not None and high is not None and low < high != _FULL:
            return Range(low, high, "the limits in its tags")
    bits = tags.get(_BITS, (1,))[0]
    if picture.mode.startswith("I;16") and bits < 16:
        return Range(0, 2**bits - 1, f"{bits} bits")
    return None


def _scaled_from(args: object) -> bool:
    """Whether Pillow's reader of PGM brings a maxval to 16 bits by itself; its arguments end with that."""
    return isinstance(args, tuple) and isinstance(args[-1], int) and args[-1] < _FULL


def _number(value: object) -> float | None:
    first = value[0] if isinstance(value, tuple) and value else value
    try:
        number = float(first)  # type: ignore[arg-type]  # a tag holds anything
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if np.isfinite(number) else None


def _extremes(picture: Image.Image) -> tuple[float, float]:
    unsigned = is_unsigned(picture)
    smallest, largest = np.inf, -np.inf
    for _, strip in strips(picture):
        samples = samples_of(strip, unsigned)
        finite = samples[np.isfinite(samples)]
        if finite.size:
            smallest, largest = min(smallest, float(finite.min())), max(largest, float(finite.max()))
    if smallest > largest:
        raise ValueError("no sample of it is a number")
    return smallest, largest
