"""Contexts in the exchange format, and from COCO's, Visual Genome's and one's own files."""

import json

import pytest
from tests.data.generation.teacher import CONTEXTS

from lapilli.core.errors import LapilliError
from lapilli.data.context_sources import Choice, gather_contexts
from lapilli.data.contexts import Context, Instance, read_contexts, write_contexts
from lapilli.data.scenes.dataset import write_scenes

COCO_CAPTIONS = {
    "images": [{"id": 9, "file_name": "000000000009.jpg", "width": 200, "height": 100}],
    "annotations": [
        {"image_id": 9, "id": 1, "caption": "A  dog\n sleeps. "},
        {"image_id": 9, "id": 2, "caption": "A dog."},
    ],
}
COCO_BOXES = {
    "images": COCO_CAPTIONS["images"],
    "annotations": [
        {"image_id": 9, "category_id": 18, "bbox": [20, 10, 100, 50], "area": 1, "iscrowd": 0},
        {"image_id": 9, "category_id": 1, "bbox": [0, 0, 200, 100], "iscrowd": 1},
        {"image_id": 9, "category_id": 1, "bbox": [150, 90, 100.0, 33.333], "iscrowd": 0},
        {"image_id": 9, "category_id": 1, "bbox": [0, 0, 2, 2], "iscrowd": 0},
    ],
    "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
}
GENOME = (
    [{"image_id": 4, "width": 100, "height": 50, "url": "http://a"}, {"image_id": 5, "width": 1, "height": 1}],
    [{"id": 4, "regions": [
        {"phrase": "small  one", "x": 0, "y": 0, "width": 5, "height": 5, "image_id": 4},
        {"phrase": "a large wall", "x": 0, "y": 0, "width": 90, "height": 50, "image_id": 4}]}],
    [{"image_id": 4, "objects": [{"names": ["wall", "side"], "x": 10, "y": 10, "w": 30, "h": 20}]}],
)  # fmt: skip


def saved(folder, *values):
    files = [folder / f"{at}.json" for at in range(len(values))]
    for file, value in zip(files, values, strict=True):
        file.write_text(json.dumps(value))
    return files


def test_what_was_written_is_read(tmp_path):
    contexts = [
        Context("ä", "a/ä.jpg", ("Ein Hund.", ""), (Instance("dog", (0.0, 0.25, 0.5, 1.0)),)),
        Context("b", "b", ("x",)),
    ]
    write_contexts(tmp_path / "c.jsonl", contexts)
    assert read_contexts(tmp_path / "c.jsonl") == contexts


@pytest.mark.skipif(not CONTEXTS.is_file(), reason=f"{CONTEXTS}: no contexts there")
def test_the_published_file_is_in_the_exchange_format(tmp_path):
    contexts = read_contexts(CONTEXTS)
    assert (len(contexts), sum(len(context.instances) for context in contexts)) == (80, 476)
    assert len({one.category for context in contexts for one in context.instances}) == 66
    write_contexts(tmp_path / "c.jsonl", contexts)
    assert [json.loads(line) for line in (tmp_path / "c.jsonl").open()] == [
        json.loads(line) for line in CONTEXTS.open()
    ]
    assert gather_contexts([CONTEXTS], Choice()) == contexts


def test_scenes_are_contexts(tmp_path):
    write_scenes(tmp_path / "scenes", 3)
    contexts = read_contexts(tmp_path / "scenes")
    assert len(contexts) == 3 and all(len(context.captions) == 5 and context.instances for context in contexts)


def test_coco_gives_captions_and_boxes_in_shares(tmp_path):
    files = saved(tmp_path, COCO_CAPTIONS, COCO_BOXES)
    dog, person = Instance("dog", (0.1, 0.1, 0.6, 0.6)), Instance("person", (0.75, 0.9, 1.0, 1.0))
    (context,) = gather_contexts(files, Choice())
    captions = ("A dog sleeps.", "A dog.")
    assert context == Context(
        "000000000009", "000000000009.jpg", captions, (dog, person, Instance("person", (0, 0, 0.01, 0.02)))
    )
    assert gather_contexts(files, Choice(least_area=0.01))[0].instances == (dog, person)
    assert gather_contexts(files[::-1], Choice(most=1))[0].instances == (dog, person)
    assert gather_contexts(files[:1], Choice())[0].instances == ()


def test_visual_genome_gives_its_largest_regions_and_its_objects(tmp_path):
    (context,) = gather_contexts(saved(tmp_path, *GENOME), Choice())
    assert context == Context("4", "4.jpg", ("a large wall", "small one"), (Instance("wall", (0.1, 0.2, 0.4, 0.6)),))
    assert gather_contexts(saved(tmp_path, *GENOME), Choice(captions=1))[0].captions == ("a large wall",)


def test_a_table_gives_captions_and_boxes(tmp_path):
    (tmp_path / "own.csv").write_text(
        "image;caption;category;x1;y1;x2;y2\nb/1.jpg;A cat.;cat;0.1;0.2;0.3;0.4\nb/1.jpg;Asleep.;;;;;\n2.jpg;A dog.\n"
    )
    first, second = gather_contexts([tmp_path / "own.csv"], Choice())
    assert first == Context("b/1", "b/1.jpg", ("A cat.", "Asleep."), (Instance("cat", (0.1, 0.2, 0.3, 0.4)),))
    assert second == Context("2", "2.jpg", ("A dog.",))


GOOD = {"id": "1", "image": "1.jpg", "captions": ["A dog."], "instances": [{"category": "dog", "bbox": [0, 0, 1, 1]}]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 3}, "id: 3, text expected"),
        ({"id": ""}, "id"),
        ({"image": " "}, "image"),
        ({"image": "https://a/b.jpg"}, "image 'https://a/b.jpg'"),
        ({"captions": "A dog."}, "captions: 'A dog.', a list expected"),
        ({"captions": [3]}, r"captions\[0\]: 3, text expected"),
        ({"captions": [], "instances": []}, "neither captions nor instances"),
        ({"captions": ["\ud800"]}, "half a character"),
        ({"instances": [{"category": "dog"}]}, r"instances\[0\].bbox: missing"),
        ({"instances": [{"category": "dog", "bbox": [0, 0, 1]}]}, "4 entries"),
        ({"instances": [{"category": " ", "bbox": [0, 0, 1, 1]}]}, r"instances\[0\].category: empty"),
        ({"instances": [{"category": "dog", "bbox": [10, 20, 300, 400]}]}, r"instances\[0\].bbox \[10.0, .*; divide"),
        ({"instances": [{"category": "dog", "bbox": [0.5, 0, 0.4, 1]}]}, "x1 <= x2"),
        ({"instances": [{"category": "dog", "bbox": [0, 0, 1e400, 1]}]}, "a finite number expected"),
    ],
)
def test_a_line_that_is_no_context_is_named(tmp_path, change, message):
    (tmp_path / "c.jsonl").write_text(json.dumps(GOOD | {"id": "0"}) + "\n\n" + json.dumps(GOOD | change) + "\n")
    with pytest.raises(LapilliError, match=rf"c.jsonl:3: .*{message}"):
        read_contexts(tmp_path / "c.jsonl")


@pytest.mark.parametrize("text", ["", "[]", "nonsense", '{"a": 1', "[" * 10_000, "\n\n"])
def test_a_file_without_contexts_is_refused(tmp_path, text):
    (tmp_path / "c.jsonl").write_text(text)
    with pytest.raises(LapilliError, match=r"c.jsonl.*; write {\"id\"|no contexts"):
        read_contexts(tmp_path / "c.jsonl")


def test_two_of_one_id_and_a_folder_without_contexts_are_refused(tmp_path):
    (tmp_path / "c.jsonl").write_text((json.dumps(GOOD) + "\n") * 2)
    with pytest.raises(LapilliError, match=r"c.jsonl:2: id '1': that of .*c.jsonl:1 too"):
        read_contexts(tmp_path / "c.jsonl")
    with pytest.raises(LapilliError, match="no such file; give a file of contexts"):
        read_contexts(tmp_path)


def put(value, path, new):
    """A copy of a value of JSON with another one at a place."""
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return copy


@pytest.mark.parametrize(
    ("path", "new", "message"),
    [
        (("images",), None, "images: None, a list expected"),
        (("images", 0, "width"), 0, "in 0 x 100 pixels"),
        (("images", 0, "file_name"), 3, r"images\[0\].file_name: 3, text"),
        (("annotations", 0, "image_id"), 8, r"annotations\[0\]: image_id 8: no such image"),
        (("annotations", 0, "category_id"), 77, r"annotations\[0\]: category_id 77: no such category"),
        (("annotations", 0, "bbox"), [1, 2, 3], "4 entries"),
        (("annotations", 0, "bbox"), [1, 2, -3, 4], "a box of -3 x 4"),
        (("categories", 0, "name"), [], r"categories\[0\].name|text expected"),
    ],
)
def test_what_is_wrong_in_cocos_files_is_named(tmp_path, path, new, message):
    with pytest.raises(LapilliError, match=f"0.json.*{message}"):
        gather_contexts(saved(tmp_path, put(COCO_BOXES, path, new)), Choice())


@pytest.mark.parametrize(
    ("file", "path", "new", "message"),
    [
        (0, (0, "width"), "a", "width: 'a', a whole number"),
        (1, (0, "id"), 6, "row 0: image 6: no size"),
        (1, (0, "regions", 0, "phrase"), None, "phrase"),
        (2, (0, "objects", 0, "names"), "wall", "names: 'wall', a list"),
        (2, (0, "objects", 0, "w"), -1, "a box of -1 x 20"),
    ],
)
def test_what_is_wrong_in_visual_genomes_files_is_named(tmp_path, file, path, new, message):
    values = list(GENOME)
    values[file] = put(values[file], path, new)
    with pytest.raises(LapilliError, match=f"{file}.json.*{message}"):
        gather_contexts(saved(tmp_path, *values), Choice())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,text\n1.jpg,x\n", "columns image, text; name them image and caption"),
        ("image,caption\n,x\n", "line 2: no image"),
        ("image,caption\n1.jpg,\n", "'1.jpg' has neither a caption nor a category"),
        ("image,category,x1,y1,x2,y2\n1.jpg,cat,0,0,a,1\n", "line 2: no box"),
        ("image,category,x1,y1,x2,y2\n1.jpg,cat,0,0,40,1\n", "line 2: box .* shares"),
        ("image,category\n1.jpg,cat\n", "line 2: no box"),
    ],
)
def test_what_is_wrong_in_a_table_is_named(tmp_path, text, message):
    (tmp_path / "own.csv").write_text(text)
    with pytest.raises(LapilliError, match=f"own.csv.*{message}"):
        gather_contexts([tmp_path / "own.csv"], Choice())


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    with pytest.raises(LapilliError, match="not of one kind"):
        gather_contexts(saved(tmp_path, COCO_CAPTIONS, []), Choice())
    with pytest.raises(LapilliError, match="no sizes of pictures"):
        gather_contexts(saved(tmp_path, *GENOME[1:]), Choice())
    with pytest.raises(LapilliError, match="no annotations"):
        gather_contexts(saved(tmp_path, COCO_CAPTIONS | {"annotations": []}), Choice())


@pytest.mark.parametrize("kind", ["coco", "table"])
@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("a/1.jpg", "b/1.jpg"), ["a/1", "b/1"]),
        (("1.jpg", "1.png", "2.jpg"), ["1.jpg", "1.png", "2"]),
        (("1.jpg", "sub/1.jpg"), ["1", "sub/1"]),
        ((".hidden", "x"), [".hidden", "x"]),
    ],
)
def test_pictures_of_like_names_get_ids_of_their_own(tmp_path, kind, names, ids):
    contexts = gather_contexts([named(tmp_path, kind, names)], Choice())
    assert [context.id for context in contexts] == ids
    write_contexts(tmp_path / "c.jsonl", contexts)
    assert read_contexts(tmp_path / "c.jsonl") == contexts


@pytest.mark.parametrize("kind", ["coco", "table"])
@pytest.mark.parametrize("name", [".", "/", "..", "a/.."])
def test_what_names_no_file_is_no_picture(tmp_path, kind, name):
    with pytest.raises(LapilliError, match="no name of a file"):
        gather_contexts([named(tmp_path, kind, ("1.jpg", name))], Choice())


def test_what_nothing_is_left_of_is_left_out(tmp_path):
    two = {
        **COCO_BOXES,
        "images": [*COCO_BOXES["images"], {"id": 10, "file_name": "10.jpg", "width": 100, "height": 100}],
        "annotations": [*COCO_BOXES["annotations"], {"image_id": 10, "category_id": 1, "bbox": [0, 0, 1, 1]}],
    }
    assert [one.id for one in gather_contexts(saved(tmp_path, two), Choice())] == ["000000000009", "10"]
    assert [one.id for one in gather_contexts(saved(tmp_path, two), Choice(least_area=0.01))] == ["000000000009"]
    with pytest.raises(LapilliError, match=r"0.json: no caption and no box is left of 2 pictures; choose more boxes"):
        gather_contexts(saved(tmp_path, two), Choice(most=0))
    with pytest.raises(LapilliError, match=r"left of 0 pictures; give a file that says what is in the pictures"):
        gather_contexts(saved(tmp_path, GENOME[0]), Choice())


def test_empty_captions_and_names_are_none(tmp_path):
    blank = {**COCO_CAPTIONS, "annotations": [{"image_id": 9, "caption": " \n"}]}
    with pytest.raises(LapilliError, match=r"no annotations|no caption and no box"):
        gather_contexts(saved(tmp_path, blank), Choice())
    (context,) = gather_contexts(saved(tmp_path, blank, COCO_BOXES), Choice())
    assert context.captions == () and context.instances
    genome = [
        *GENOME[:1],
        put(GENOME[1], (0, "regions", 0, "phrase"), " "),
        put(GENOME[2], (0, "objects", 0, "names"), [""]),
    ]
    assert gather_contexts(saved(tmp_path, *genome), Choice())[0].instances == ()


@pytest.mark.parametrize("name", ["https://a/b.jpg", "data:image/png;base64,x", " "])
def test_what_is_written_can_be_read(tmp_path, name):
    """Names that no context may have are refused as they are gathered, not when the file is read again."""
    with pytest.raises(LapilliError, match=r"coco.json: .*a name expected|no name of a file"):
        gather_contexts([named(tmp_path, "coco", (name,))], Choice())
    with pytest.raises(LapilliError, match="category_id 18: no such category"):
        gather_contexts(saved(tmp_path, put(COCO_BOXES, ("categories", 0, "name"), " ")), Choice())


def named(folder, kind, names):
    """A file with a caption for each picture."""
    if kind == "table":
        file = folder / "t.csv"
        file.write_text("image,caption\n" + "".join(f"{name},A dog.\n" for name in names))
        return file
    images = [{"id": at, "file_name": name, "width": 10, "height": 10} for at, name in enumerate(names)]
    rows = [{"image_id": at, "caption": "A dog."} for at in range(len(names))]
    file = folder / "coco.json"
    file.write_text(json.dumps({"images": images, "annotations": rows}))
    return file
