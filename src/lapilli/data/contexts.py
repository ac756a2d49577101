"""What a text-only teacher is told of a picture: its captions, and the boxes of the objects in it.

The exchange format is one object a line: {"id": "9", "image": "9.jpg", "captions": ["A kite."], "instances":
[{"category": "kite", "bbox": [0.1, 0.2, 0.5, 0.6]}]}, with x1 y1 x2 y2 in shares of the picture's sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lapilli.core.errors import LapilliError
from lapilli.core.files import write_atomically
from lapilli.core.plain import json_text
from lapilli.core.read import checked, read_json_lines
from lapilli.data.extra_fields import excerpt, is_url

FORM = '{"id": .., "image": .., "captions": [..], "instances": [{"category": .., "bbox": [x1, y1, x2, y2]}]}'
_REMEDY = f"write {FORM}, or make the file with: lapilli data contexts"
_SCENES = "context.jsonl"


@dataclass(frozen=True)
class Instance:
    """An object in a picture: what it is, and its box, x1 y1 x2 y2 in shares of the picture's sides."""

    category: str
    bbox: tuple[float, float, float, float]


@dataclass(frozen=True)
class Context:
    """What is known of a picture. `image` is its path below the images folder."""

    id: str
    image: str
    captions: tuple[str, ...]
    instances: tuple[Instance, ...] = ()

    @property
    def categories(self) -> dict[str, int]:
        """Every category with the number of its boxes, in the order of the file."""
        names = [instance.category for instance in self.instances]
        return {name: names.count(name) for name in dict.fromkeys(names)}


def read_contexts(path: Path) -> list[Context]:
    """The contexts in a file of the exchange format, or in a folder of scenes.

    Raises LapilliError, with the line, for what is no context: nothing known of the picture, a box outside it, an
    address for a path, an id that two have.
    """
    file = path / _SCENES if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        raise LapilliError(f"{file}: no such file; give a file of contexts, or a folder of: lapilli data scenes")
    lines: dict[str, str] = {}
    contexts = []
    for place, value in read_json_lines(file, _REMEDY):
        context = checked(Context, value, place, _REMEDY)
        require_usable(context, place)
        if context.id in lines:
            raise LapilliError(f"{place}: id {excerpt(context.id)}: that of {lines[context.id]} too; give each its own")
        lines[context.id] = place
        contexts.append(context)
    if not contexts:
        raise LapilliError(f"{file}: no contexts; {_REMEDY}")
    return contexts


def write_contexts(path: Path, contexts: Sequence[Context]) -> None:
    """Write contexts in the exchange format, whole or not at all."""
    write_atomically(path, "".join(json_text(context) + "\n" for context in contexts))


def require_usable(context: Context, place: str) -> None:
    """Raise LapilliError for a context that nothing can be made of: nameless, unknown, or with a box outside."""
    if not context.id or not context.image.strip() or is_url(context.image):
        what = "id" if not context.id else "image"
        raise LapilliError(f"{place}: {what} {excerpt(context.image)}: a name expected; {_REMEDY}")
    if not any(caption.strip() for caption in context.captions) and not context.instances:
        raise LapilliError(f"{place}: neither captions nor instances; say what is in the picture, or remove the line")
    for number, instance in enumerate(context.instances):
        x1, y1, x2, y2 = instance.bbox
        if not (0 <= x1 <= x2 <= 1 and 0 <= y1 <= y2 <= 1):
            where = f"{place}: instances[{number}].bbox {list(instance.bbox)}"
            raise LapilliError(f"{where}: shares between 0 and 1 expected, x1 <= x2 and y1 <= y2; divide by the sides")
        if not instance.category.strip():
            raise LapilliError(f"{place}: instances[{number}].category: empty; name the object")
