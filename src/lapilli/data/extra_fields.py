"""The fields of a row that are not read. Where one names a picture, a model trained on the row never sees that."""

import re
from collections.abc import Iterator
from typing import Any

_READ = {"id", "image", "images", "conversations"}
_READ_OF_TURN = {"from", "role", "value", "content"}

_PICTURES = (
    "jpg jpeg jpe jfif png apng webp gif bmp tif tiff ppm pgm heic heif avif jxl svg ico tga jp2 j2k "
    "dng nef cr2 arw psd eps exr hdr dcm nii"
)
_VIDEOS = "mp4 m4v mkv webm avi mov mpg mpeg wmv flv 3gp ogv"
_FILE = re.compile(rf"[^\n\r]*\.({'|'.join((_PICTURES + ' ' + _VIDEOS).split())})(\.(gz|zip|npy))?([?#][^\s]*)?", re.I)
_OTHERS = "npy npz pt pth h5 hdf5 mat safetensors parquet arrow tar tgz zip gz zst 7z pdf wav mp3 flac ogg opus m4a aac"
_OTHER_FILE = re.compile(rf"[^\n\r]*\.({'|'.join(_OTHERS.split())})|[^\s/\\]*([/\\][^\s/\\]+)+\.[a-z]\w{{1,4}}", re.I)
# As such, or in base64: PNG, JPEG, GIF, and what is in RIFF, such as WebP.
_DATA = re.compile(r"(?i:data:(image|video)/)|(iVBORw0KGgo|/9j/|R0lGOD|UklGR)[A-Za-z0-9+/]{24}")
_URL = re.compile(r"(https?|ftp|s3|gs|file|hf)://\S+", re.I)
_LONGEST = 4_096  # characters of a path or URL; what is longer is text
_EXCERPT = 60  # characters

# The name of a field without case and signs: image_path, Images, imgUrl, video, input_image, pixel_values.
_NAME = re.compile(
    r"(the|my|input|source|src|target|raw|main)?"
    r"(image|img|imgs|pic|picture|photo|photograph|figure|screenshot|thumbnail|video|clip|frame|media|pixel|jpe?g|png|webp)s?"
    r"(path|file|name|url|uri|link|list|src|base64|b64|bytes|data|value)*s?"
)


def extra_fields(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield every text in a field of a row, or of one of its turns, that is not read and may name or hold a file.

    Yields the field as it is written, such as `meta.frames[0]`, and the text; for numbers, the first of the list.
    """
    for name in row:
        if name not in _READ:
            yield from _texts(name, row[name])
    turns = row.get("conversations")
    for index, turn in enumerate(turns if isinstance(turns, list) else []):
        if isinstance(turn, dict):
            for name in turn:
                if name not in _READ_OF_TURN:
                    yield from _texts(f"conversations[{index}].{name}", turn[name])


def names_pictures(field: str, text: str) -> bool:
    """Whether the text names or holds a picture or a video, or is in a field that is called so."""
    if _DATA.match(text):
        return True
    return _is_picture_field(field) or (len(text) <= _LONGEST and _FILE.fullmatch(text.strip()) is not None)


def is_url(text: str) -> bool:
    """Whether the text is a URL, or the data of a picture or a video."""
    return _DATA.match(text) is not None or (len(text) <= _LONGEST and _URL.fullmatch(text.strip()) is not None)


def is_file(text: str) -> bool:
    """Whether the text looks like the name of another file: sound, arrays, an archive, or a path with an ending."""
    return len(text) <= _LONGEST and _OTHER_FILE.fullmatch(text.strip()) is not None


def excerpt(text: str) -> str:
    """Return the text for a message: quoted, and cut where it is long."""
    return repr(text if len(text) <= _EXCERPT else text[: _EXCERPT - 3] + "...")


def without_numbers(field: str) -> str:
    """Return the field without the numbers of entries, the same for all rows."""
    return re.sub(r"\[\d+\]", "[]", field)


def _texts(field: str, value: Any) -> Iterator[tuple[str, str]]:
    stack = [(field, value)]
    while stack:
        name, inner = stack.pop()
        if isinstance(inner, str) and inner.strip():
            yield name, inner
        elif isinstance(inner, dict):
            stack += [(f"{name}.{key}", inner[key]) for key in reversed(inner)]
        elif isinstance(inner, list) and inner and all(isinstance(entry, int | float) for entry in inner):
            yield name, str(inner[:_EXCERPT])  # pixels, where the field says so
        elif isinstance(inner, list):
            stack += [(f"{name}[{index}]", entry) for index, entry in reversed(list(enumerate(inner)))]


def _is_picture_field(field: str) -> bool:
    """Whether any name in the field is that of a picture: `image.path` is one."""
    names = (re.sub(r"[^a-z0-9]", "", name.lower()) for name in without_numbers(field).split("."))
    return any(_NAME.fullmatch(name) for name in names)
