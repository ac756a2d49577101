"""The page's pictures: copies of the files as data URIs, and one picture cut into the patches that a model sees."""

import base64
import io
import random
import re
from pathlib import Path

from markupsafe import Markup
from PIL import Image

from lapilli.core.errors import LapilliError
from lapilli.report.kit.svg import element, group

_SIGNATURES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
_THUMBNAIL = 320  # pixels of the longer side
_DATA_URI = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+")


def is_data_uri(text: str) -> bool:
    """Whether a text is a data URI of a picture, and nothing else."""
    return bool(_DATA_URI.fullmatch(text))


def data_uri(reference: str, folder: Path) -> str | None:
    """Return the picture as a data URI; `reference` is one already, or a file below `folder`. None without the file.

    Raises LapilliError when the file lies outside `folder` or is no picture.
    """
    if is_data_uri(reference):
        return reference
    path = (folder / reference).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise LapilliError(f"{reference}: the picture lies outside {folder}; a report shows its own run only")
    if not path.is_file():
        return None
    content = path.read_bytes()
    kind = next((kind for start, kind in _SIGNATURES.items() if content.startswith(start)), None)
    if kind is None:
        raise LapilliError(f"{path}: not a PNG, JPEG, GIF or WebP file; a report shows these kinds of picture only")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def picture_uri(picture: Image.Image, side: int | None = None, quality: int | None = None) -> str:
    """Return a picture as a data URI, `side` pixels wide and high at most: a JPEG of this quality, or a PNG."""
    small = picture.convert("RGB")
    if side is not None:
        small.thumbnail((side, side))
    content = io.BytesIO()
    if quality is None:
        small.save(content, "PNG")
    else:
        small.save(content, "JPEG", quality=quality)
    kind = "png" if quality is None else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"


def thumbnail(picture: Image.Image) -> str:
    """Return a picture as a data URI, small enough for a page of many."""
    return picture_uri(picture, _THUMBNAIL, quality=80)


def mosaic(uri: str, rows: int, columns: int, words: str, name: str) -> Markup:
    """The picture cut into its patches, laid like the stones of a mosaic. `name` must occur once on the page.

    The stones are a little uneven, always in the same way; each shows its own patch, where it lies in the picture.
    """
    rng = random.Random(0)
    width, height = 20.0 * columns, 20.0 * rows
    stones = [_stone(rng, 20.0 * column, 20.0 * row) for row in range(rows) for column in range(columns)]
    shape = element("mask", group(*stones, fill="#fff"), id=name)
    picture = element(
        "image", href=uri, width=width, height=height, mask=f"url(#{name})", preserveAspectRatio="none"
    )  # fmt: skip
    return element(
        "svg", shape, picture, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=words, class_="mosaic"
    )  # fmt: skip


def _stone(rng: random.Random, x: float, y: float) -> Markup:
    side = 18.2 + rng.uniform(-0.5, 0.3)
    left, top = (start + (20.0 - side) / 2 + rng.uniform(-0.35, 0.35) for start in (x, y))
    rotation = f"rotate({rng.uniform(-1.6, 1.6):.1f} {x + 10:g} {y + 10:g})"
    return element("rect", x=left, y=top, width=side, height=side, rx=2.2, transform=rotation)
