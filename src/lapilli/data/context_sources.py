"""Contexts from the files of others: COCO's captions and instances, Visual Genome's regions and objects, a table."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.read import checked, read_json
from lapilli.data.contexts import Context, Instance, read_contexts, require_usable
from lapilli.data.extra_fields import excerpt
from lapilli.data.table import Table, read_table

_COCO = "give COCO's captions_*.json and instances_*.json"
_GENOME = "give Visual Genome's image_data.json with region_descriptions.json, objects.json or both"
_DECIMALS = 3
_CORNERS = ("x1", "y1", "x2", "y2")
_TABLES = (".csv", ".tsv")


@dataclass(frozen=True)
class Choice:
    """Which boxes are taken: those of at least `least_area` of the picture, the largest `most` of a category.

    Of Visual Genome's regions, the phrases of the `captions` largest.
    """

    least_area: float = 0.0
    most: int = 40
    captions: int = 10


class _Size(TypedDict):
    width: int
    height: int


class _CocoImage(_Size):
    id: int
    file_name: str


class _CocoAnnotation(TypedDict, total=False):
    image_id: int
    caption: str
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int


class _CocoCategory(TypedDict):
    id: int
    name: str


class _Coco(TypedDict):
    images: list[_CocoImage]
    annotations: list[_CocoAnnotation]


class _GenomeImage(_Size):
    image_id: int


class _Region(TypedDict):
    phrase: str
    x: float
    y: float
    width: float
    height: float


class _GenomeObject(TypedDict):
    names: list[str]
    x: float
    y: float
    w: float
    h: float


class _GenomeRow(TypedDict, total=False):
    image_id: int
    id: int
    regions: list[_Region]
    objects: list[_GenomeObject]


def gather_contexts(files: Sequence[Path], choice: Choice) -> list[Context]:
    """The contexts that the files hold together, by what they are: COCO's, Visual Genome's, one table, or contexts.

    A picture of which nothing is left, neither a caption nor a box, is left out. Raises LapilliError, with the file and
    the entry, for what cannot be read, and where no picture is left; UsageError for files that do not belong together.
    """
    read = _read(files, choice)
    contexts = [_chosen(context, choice) for context in read]
    usable = [context for context in contexts if any(map(str.strip, context.captions)) or context.instances]
    if not usable:
        has_boxes = any(context.instances for context in read)
        remedy = "choose more boxes" if has_boxes else "give a file that says what is in the pictures"
        raise LapilliError(f"{files[0]}: no caption and no box is left of {len(contexts)} pictures; {remedy}")
    for context in usable:
        require_usable(context, str(files[0]))
    return usable


def _read(files: Sequence[Path], choice: Choice) -> list[Context]:
    if len(files) == 1 and (files[0].suffix == ".jsonl" or files[0].is_dir()):
        return read_contexts(files[0])
    if len(files) == 1 and files[0].suffix in _TABLES:
        return _of_table(files[0], read_table(files[0]))
    values = [(file, read_json(file, f"{_COCO}; or {_GENOME}", finite=True)) for file in files]
    if all(isinstance(value, dict) for _, value in values):
        return _of_coco(values)
    if all(isinstance(value, list) for _, value in values):
        return _of_genome(values, choice)
    raise UsageError(f"{', '.join(map(str, files))}: not of one kind; {_COCO}; or {_GENOME}")


def _of_coco(files: Sequence[tuple[Path, Any]]) -> list[Context]:
    images: dict[int, _CocoImage] = {}
    captions, boxes = defaultdict[int, list[str]](list), defaultdict[int, list[Instance]](list)
    for file, value in files:
        content = checked(_Coco, value, str(file), _COCO)
        images |= {image["id"]: image for image in content["images"]}
        listed = checked(list[_CocoCategory], value.get("categories", []), f"{file}: categories", _COCO)
        names = {category["id"]: category["name"] for category in listed}
        for number, annotation in enumerate(content["annotations"]):
            place = f"{file}: annotations[{number}]"
            _add_annotation(annotation, place, images, names, (captions, boxes))
    if not captions and not boxes:
        raise LapilliError(f"{files[0][0]}: no annotations; {_COCO}")
    rows = sorted(image for image in images if image in captions or image in boxes)
    paths = [images[row]["file_name"] for row in rows]
    made = zip(_ids(paths, files[0][0]), paths, rows, strict=True)
    return [Context(id_, name, tuple(captions[row]), tuple(boxes[row])) for id_, name, row in made]


def _ids(images: Sequence[str], file: Path) -> list[str]:
    """An id for each picture: its path, without the ending if no other one has that. Raises LapilliError."""
    if nameless := next((image for image in images if Path(image).name in ("", "..")), None):
        raise LapilliError(f"{file}: image {excerpt(nameless)}: no name of a file; name the picture's file")
    paths = [Path(image) for image in images]
    bare = [path.with_suffix("").as_posix() for path in paths]
    counts = Counter(bare)
    ids = [name if counts[name] == 1 else path.as_posix() for name, path in zip(bare, paths, strict=True)]
    if twice := next((id_ for id_, count in Counter(ids).items() if count > 1), None):
        raise LapilliError(f"{file}: image {excerpt(twice)}: two pictures have the name; give each its own")
    return ids


def _add_annotation(
    annotation: _CocoAnnotation,
    place: str,
    images: Mapping[int, _CocoImage],
    names: Mapping[int, str],
    into: tuple[dict[int, list[str]], dict[int, list[Instance]]],
) -> None:
    """Enter a caption or a box; a crowd's box is left out, as it counts many as one."""
    image = images.get(annotation.get("image_id", -1))
    if image is None:
        raise LapilliError(f"{place}: image_id {annotation.get('image_id')}: no such image; {_COCO}")
    captions, boxes = into
    if "caption" in annotation:
        captions[image["id"]] += _texts(annotation["caption"])
    elif "bbox" in annotation and not annotation.get("iscrowd"):
        name = names.get(annotation.get("category_id", -1))
        if name is None or not name.strip():
            raise LapilliError(f"{place}: category_id {annotation.get('category_id')}: no such category; {_COCO}")
        x, y, width, height = annotation["bbox"]
        boxes[image["id"]].append(_instance(name, (x, y, width, height), image, place))


def _of_genome(files: Sequence[tuple[Path, Any]], choice: Choice) -> list[Context]:
    rows = {file: checked(list[_GenomeRow], value, str(file), _GENOME) for file, value in files}
    sizes: dict[int, _Size] = {}
    for file, value in files:
        if value and isinstance(value[0], dict) and "width" in value[0]:
            sizes |= {image["image_id"]: image for image in checked(list[_GenomeImage], value, str(file), _GENOME)}
    if not sizes:
        raise LapilliError(f"{files[0][0]}: no sizes of pictures; {_GENOME}")
    regions, objects = defaultdict[int, list[_Region]](list), defaultdict[int, list[Instance]](list)
    for file, some in rows.items():
        for number, row in enumerate(some):
            image = row.get("image_id", row.get("id", -1))
            if image not in sizes:
                raise LapilliError(f"{file}: row {number}: image {image}: no size is given; {_GENOME}")
            regions[image] += row.get("regions", [])
            for thing in row.get("objects", []):
                box = thing["x"], thing["y"], thing["w"], thing["h"]
                place = f"{file}: row {number}"
                objects[image] += [
                    _instance(name, box, sizes[image], place) for name in thing["names"][:1] if name.strip()
                ]
    return [
        Context(str(image), f"{image}.jpg", _phrases(regions[image], choice), tuple(objects[image]))
        for image in sorted(sizes)
        if regions[image] or objects[image]
    ]


def _phrases(regions: Iterable[_Region], choice: Choice) -> tuple[str, ...]:
    largest = sorted(regions, key=lambda region: -region["width"] * region["height"])
    return tuple(dict.fromkeys(text for region in largest for text in _texts(region["phrase"])))[: choice.captions]


def _texts(caption: str) -> list[str]:
    """The caption on one line; nothing for one that is empty, as some of Visual Genome's are."""
    return [line] if (line := " ".join(caption.split())) else []


def _of_table(file: Path, table: Table) -> list[Context]:
    """A row is a caption of a picture, or an object in it with the corners of its box in shares, or both."""
    if "image" not in table.columns or not {"caption", "category"} & set(table.columns):
        raise LapilliError(f"{file}: columns {', '.join(table.columns)}; name them image and caption, or category")
    captions, boxes = defaultdict[str, list[str]](list), defaultdict[str, list[Instance]](list)
    for line, row in table.rows:
        if not (image := row["image"]):
            raise LapilliError(f"{file}, line {line}: no image; name the picture's file")
        captions[image] += [caption] if (caption := row.get("caption", "")) else []
        boxes[image] += [_cells(row, f"{file}, line {line}")] if row.get("category") else []
    ids = _ids(list(captions), file)
    made = [
        Context(id_, name, tuple(captions[name]), tuple(boxes[name])) for id_, name in zip(ids, captions, strict=True)
    ]
    if bare := next((context for context in made if not context.captions and not context.instances), None):
        raise LapilliError(f"{file}: {excerpt(bare.image)} has neither a caption nor a category; write what is in it")
    return made


def _cells(row: Mapping[str, str], place: str) -> Instance:
    try:
        x1, y1, x2, y2 = (round(float(row.get(name, "")), _DECIMALS) for name in _CORNERS)
    except ValueError as error:
        raise LapilliError(f"{place}: no box; write x1, y1, x2 and y2 in shares of the picture's sides") from error
    if not (0 <= x1 <= x2 <= 1 and 0 <= y1 <= y2 <= 1):
        raise LapilliError(f"{place}: box {x1, y1, x2, y2}; shares lie between 0 and 1, x1 <= x2 and y1 <= y2")
    return Instance(row["category"], (x1, y1, x2, y2))


def _instance(name: str, box: tuple[float, float, float, float], size: _Size, place: str) -> Instance:
    """The object of a box in pixels, x y width height; what lies outside the picture is cut off."""
    x, y, width, height = box
    if size["width"] < 1 or size["height"] < 1 or width < 0 or height < 0:
        raise LapilliError(f"{place}: a box of {width:g} x {height:g} in {size['width']} x {size['height']} pixels")
    ends = (x / size["width"], y / size["height"], (x + width) / size["width"], (y + height) / size["height"])
    x1, y1, x2, y2 = (round(min(1.0, max(0.0, end)), _DECIMALS) for end in ends)
    return Instance(name.strip(), (x1, y1, x2, y2))


def _chosen(context: Context, choice: Choice) -> Context:
    """The context with the boxes of the choice, in their order."""
    kept: set[int] = set()
    for category in context.categories:
        areas = [(_area(one), at) for at, one in enumerate(context.instances) if one.category == category]
        large = [(area, at) for area, at in areas if area >= choice.least_area]
        kept |= {at for _, at in sorted(large, key=lambda pair: (-pair[0], pair[1]))[: choice.most]}
    instances = tuple(one for at, one in enumerate(context.instances) if at in kept)
    return Context(context.id, context.image, context.captions, instances)


def _area(instance: Instance) -> float:
    x1, y1, x2, y2 = instance.bbox
    return (x2 - x1) * (y2 - y1)
