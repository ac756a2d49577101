"""A picture file decoded into RGB: every mode, 8 bits a channel, nothing transparent, in bounded memory."""

import math
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

from lapilli.core.pictures import ALPHA
from lapilli.data import levels

WHOLE = 25_000_000
"""The most pixels of a picture that is decoded as it is; a larger one is reduced by a whole number meanwhile."""

_ROOM = 450_000_000  # bytes that a decoder may hold; with torch, a small model and what is made of it, below 1 GB
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}  # of a pixel in Pillow; of other modes 4
_WEBP = 16  # the same of two canvases in libwebp, a copy, and Pillow's own
_COEFFICIENT = 2  # bytes in libjpeg, which holds all of a progressive picture

_TWELVE_BITS = 16  # the upper byte of a sample that needs no more bits is below that
_LOWER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
"""Of 16 bits a channel Pillow reads the upper byte; with the opposite byte order it reads the lower."""

_Part: TypeAlias = tuple[Image.Image, Image.Image | None]
"""Colors in RGB, and their alpha in L where something may be transparent."""

_Painter: TypeAlias = Callable[[Image.Image, int], _Part]
"""A function from a strip of a picture, and its first row, to its colors and alpha."""


class TooLargeError(ValueError):
    """A picture that can be decoded only as a whole, and is too large for it."""


def decode(picture: Image.Image, path: Path) -> Image.Image:
    """The first frame of an opened file: RGB, 8 bits a channel, upright, drawn on white where it is transparent.

    With more than `WHOLE` pixels it is reduced, to means over squares of pixels: a JPEG while it is decoded, others
    strip by strip. Alpha, if it has any, is kept in its `info` under `core.pictures.ALPHA`. Raises TooLargeError,
    ValueError for samples that mean nothing, and what Pillow raises for damage.
    """
    factor = _factor(picture)
    if factor > 1:
        coefficients, stored = _coefficients(picture), picture.width * picture.height
        picture.draft(None, (picture.width // factor, picture.height // factor))
        _require_room(_decoder_bytes(picture) + coefficients, stored)
    _correct_transparency(picture)
    rawmode, declared = _rawmode(picture), levels.declared_range(picture)
    picture.load()
    colors, alpha = _painted(picture, _painter(picture, path, rawmode, declared))
    orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    upright = _upright(colors, orientation)
    if alpha is not None:
        upright.info[ALPHA] = _upright(alpha, orientation)
    return upright


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    picture.getexif()[ExifTags.Base.Orientation] = orientation
    upright = ImageOps.exif_transpose(picture)
    upright.info.clear()
    return upright


def _factor(picture: Image.Image) -> int:
    return math.ceil(math.sqrt(picture.width * picture.height / WHOLE))


def _painted(picture: Image.Image, paint: _Painter) -> _Part:
    factor = _factor(picture)
    size = -(-picture.width // factor), -(-picture.height // factor)
    flat, cover = Image.new("RGB", size), None
    for top, strip in levels.strips(picture, factor):
        colors, alpha = paint(strip, top)
        if alpha is not None:
            cover = cover or Image.new("L", size)
            cover.paste(_reduced(alpha, factor), (0, top // factor))
            colors = Image.composite(colors, Image.new("RGB", colors.size, "white"), alpha)
        flat.paste(_reduced(colors, factor), (0, top // factor))
    return flat, cover


def _reduced(part: Image.Image, factor: int) -> Image.Image:
    return part.reduce(factor) if factor > 1 else part


def _painter(picture: Image.Image, path: Path, rawmode: str, declared: levels.Range | None) -> _Painter:
    if levels.is_deep(picture):
        span = levels.photometric(picture, declared or levels.stored_range(picture))
        levels.report(path, span)
        return partial(_paint_deep, picture=picture, span=span)
    dim = _dim_painter(picture, path, rawmode) if ";16" in rawmode else None
    return dim or _paint


def _paint(strip: Image.Image, _top: int) -> _Part:
    """Paint a strip of 8 bits a channel, in any mode."""
    if strip.mode == "LAB":
        return ImageCms.applyTransform(strip, _from_lab()), None  # type: ignore[return-value]  # None only in place
    if not strip.has_transparency_data:
        return strip.convert("RGB"), None
    transparent = (strip.convert("LA") if strip.mode == "La" else strip).convert("RGBA")
    return transparent.convert("RGB"), transparent.getchannel("A")


@cache
def _from_lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")


def _paint_deep(strip: Image.Image, _top: int, picture: Image.Image, span: levels.Range) -> _Part:
    samples = levels.samples_of(strip, levels.is_unsigned(picture))
    colors = Image.fromarray(span.levels(samples)).convert("RGB")
    transparent = picture.info.get("transparency")
    if not isinstance(transparent, int):
        return colors, None
    return colors, Image.fromarray(np.where(samples == transparent, 0, 255).astype(np.uint8))


def _dim_painter(picture: Image.Image, path: Path, rawmode: str) -> _Painter | None:
    """Return a painter for colors of at most 12 of their 16 bits, whose upper bytes alone would be black; else None.

    The lower bytes are read from the file again. Raises ValueError where Pillow has no way to.
    """
    colors = picture.getextrema()[: 3 if len(picture.getbands()) > 2 else 1]  # behind them comes alpha
    upper = max(int(largest) for _, largest in colors)  # type: ignore[misc]  # pairs: there are several bands
    if upper >= _TWELVE_BITS:
        return None
    if rawmode[:-1] not in ("RGB;16", "RGBA;16", "LA;16"):
        if upper == 0:
            return None
        raise ValueError(f"uses at most 12 of 16 bits a channel ({rawmode}), which Pillow cannot read")
    lower = _lower_bytes(path, str(picture.format), rawmode)
    span = levels.of_sixteen_bits(256 * upper + 255)
    if lower.getextrema() != ((0, 0),) * 3 or upper:
        levels.report(path, span)
    return partial(_paint_dim, lower=lower, span=span)


def _lower_bytes(path: Path, form: str, rawmode: str) -> Image.Image:
    grey = rawmode.startswith("LA")
    with Image.open(path, formats=(form,)) as picture:
        swapped = "RGBA" if grey else rawmode[:-1] + _LOWER[rawmode[-1]]
        if grey:  # Pillow has only one byte order for these: the four bytes of a pixel are read as channels
            picture._mode = "RGBA"
        picture.tile = [tile._replace(args=_with_rawmode(tile.args, swapped)) for tile in picture.tile]
        picture.load()
        return picture.getchannel(1).convert("RGB") if grey else picture.convert("RGB")


def _with_rawmode(args: Any, rawmode: str) -> Any:
    return rawmode if isinstance(args, str) else (rawmode, *args[1:])


def _paint_dim(strip: Image.Image, top: int, lower: Image.Image, span: levels.Range) -> _Part:
    colors, alpha = _paint(strip, top)
    below = lower.crop((0, top, strip.width, top + strip.height))
    samples = 256.0 * np.asarray(colors) + np.asarray(below)
    return Image.fromarray(span.levels(samples)), alpha


def _rawmode(picture: Image.Image) -> str:
    """Return Pillow's name for the samples in the file; it exists until they are decoded."""
    tiles = getattr(picture, "tile", None) or [None]
    args = getattr(tiles[0], "args", None)
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else picture.mode


def _correct_transparency(picture: Image.Image) -> None:
    """Bring the color that a PNG declares transparent to 8 bits; Pillow does so for the pixels only."""
    declared, rawmode = picture.info.get("transparency"), _rawmode(picture)
    if isinstance(declared, tuple) and ";16" in rawmode:
        picture.info["transparency"] = tuple(value >> 8 for value in declared)
    if isinstance(declared, int) and rawmode in ("L;2", "L;4"):
        picture.info["transparency"] = declared * {"L;2": 85, "L;4": 17}[rawmode]


def _coefficients(picture: Image.Image) -> int:
    """Return the bytes that libjpeg holds of a progressive picture, which it cannot decode in parts."""
    layers = getattr(picture, "layer", ())
    if not (layers and picture.info.get("progressive")):
        return 0
    blocks = [across * down for _, across, down, _ in layers]
    return _COEFFICIENT * picture.width * picture.height * int(sum(blocks)) // int(max(blocks))


def _decoder_bytes(picture: Image.Image) -> int:
    """Return the bytes of the decoded picture, and those that its decoder holds besides."""
    each = _WEBP if picture.format == "WEBP" else _BYTES.get(picture.mode, 4)
    each *= 2 if ";16" in _rawmode(picture) and each == 4 else 1  # its lower bytes may be needed too
    return each * picture.width * picture.height


def _require_room(needed: int, pixels: int) -> None:
    if needed > _ROOM:
        size = f"{pixels / 1e6:.0f} megapixels"
        raise TooLargeError(f"{size} of this kind take {needed / 1e6:.0f} MB to decode, more than {_ROOM / 1e6:.0f}")
