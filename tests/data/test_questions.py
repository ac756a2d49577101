"""Questions of a folder, and where what they are about lies."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from lapilli.core.errors import LapilliError
from lapilli.data.questions import PictureQuestion, fingerprint, read_picture_questions, same_answer
from lapilli.data.scenes.dataset import write_scenes
from lapilli.data.scenes.facts import asked_about, read_scenes
from lapilli.data.scenes.masks import covered, region
from lapilli.data.scenes.scene import sample_scene

ROW = {"id": "1", "image": "a.png", "question": "What is it?", "answer": "a dog"}


def folder_of(tmp_path, *lines):
    (tmp_path / "questions.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


def test_questions_are_read_in_order(tmp_path):
    boxed = ROW | {"id": "2", "boxes": [[0, 0.25, 0.5, 1]], "type": "color"}
    one, two = read_picture_questions(folder_of(tmp_path, json.dumps(ROW), "", json.dumps(boxed)))
    assert one == PictureQuestion("1", "a.png", "What is it?", "a dog")
    assert two.boxes == ((0, 0.25, 0.5, 1),) and two.type == "color"
    assert two.sample.turns[0].text == "<image>\nWhat is it?" and two.sample.images == ("a.png",)


def test_what_is_null_is_not_known(tmp_path):
    (one,) = read_picture_questions(folder_of(tmp_path, json.dumps(ROW | {"type": None, "boxes": None})))
    assert one == PictureQuestion("1", "a.png", "What is it?", "a dog")


def test_another_encoding_is_named_with_its_line(tmp_path):
    rows = json.dumps(ROW).encode("utf-8-sig") + b"\n", b'{"id": "caf\xe9"}\n'
    (tmp_path / "questions.jsonl").write_bytes(b"".join(rows))
    with pytest.raises(LapilliError, match=r"questions\.jsonl, row 1: file: line 2: byte 0xe9 is not UTF-8; save"):
        read_picture_questions(tmp_path)
    (tmp_path / "questions.jsonl").write_bytes(b"\xef\xbb\xbf" + rows[1])
    with pytest.raises(LapilliError, match=r"questions\.jsonl, row 0: file: line 1: byte 0xe9"):
        read_picture_questions(tmp_path)
    (tmp_path / "questions.jsonl").write_bytes(rows[0])
    assert len(read_picture_questions(tmp_path)) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "file: not JSON: line 2, column 2"),
        ("[" * 100_000, "file: line 2: maximum recursion depth"),
        ("1" * 10_000, "file: line 2: Exceeds the limit"),
        ("[1]", "a question has the texts"),
        (json.dumps(ROW | {"answer": ""}), "a question has the texts"),
        (json.dumps(ROW | {"question": "What\ud83d?"}), r"half a character, '\\ud83d'"),
        (json.dumps(ROW | {"question": "<image>\nWhat?"}), "<image> in the question; remove it"),
        (json.dumps(ROW | {"type": ["color"]}), "type: a list, a string expected"),
        (json.dumps(ROW | {"boxes": [[0, 0, 1]]}), "boxes"),
        (json.dumps(ROW | {"boxes": 7}), "boxes 7"),
        (json.dumps(ROW | {"boxes": [[0, 0, 1, 10**400]]}), "boxes"),
        (json.dumps(ROW | {"boxes": [[0, 0, 1, float("nan")]]}), "box"),
        (json.dumps(ROW | {"boxes": [[0.5, 0, 0.4, 1]]}), "box"),
        (json.dumps(ROW | {"boxes": [[0, 0, 300, 200]]}), "box"),
    ],
)
def test_what_is_no_question_is_named_with_its_row(line, message, tmp_path):
    with pytest.raises(LapilliError, match=rf"questions\.jsonl, row 1: {message}"):
        read_picture_questions(folder_of(tmp_path, json.dumps(ROW), line))


def test_a_file_without_questions_and_one_that_is_no_text_are_refused(tmp_path):
    with pytest.raises(LapilliError, match=r"questions\.jsonl: no questions"):
        read_picture_questions(folder_of(tmp_path, ""))
    (tmp_path / "questions.jsonl").write_bytes(json.dumps(ROW).encode("utf-16"))
    with pytest.raises(LapilliError, match=r"questions\.jsonl: file: UTF-16 text, JSON expected; save"):
        read_picture_questions(tmp_path)


def test_a_folder_without_questions_is_refused(tmp_path):
    with pytest.raises(LapilliError, match=r"questions\.jsonl: no such file"):
        read_picture_questions(tmp_path)


def test_answers_are_the_same_but_for_capitals_and_a_full_stop():
    for given in ("green", " Green. ", "GREEN", "green .", "green\n"):
        for right in ("green", "Green.", " green ."):
            assert same_answer(given, right)
    for given, right in (("green blue", "green"), ("", "."), (" ", " "), (".", "..."), ("greenish", "green")):
        assert not same_answer(given, right)


def test_scenes_come_back_as_they_were(tmp_path):
    write_scenes(tmp_path / "s", 12, "held_out", 4)
    for index, (name, scene) in enumerate(read_scenes(tmp_path / "s").items()):
        made = sample_scene(f"held_out-4-{index}")
        assert name == f"{index:06d}.png" and scene.things == made.things and scene.background == made.background


def test_questions_name_the_thing_that_has_the_answer(tmp_path):
    write_scenes(tmp_path / "s", 120, "held_out", 5)
    scenes, seen = read_scenes(tmp_path / "s"), 0
    for one in read_picture_questions(tmp_path / "s"):
        named = asked_about(scenes[one.image], one.question)
        if one.type in ("color", "shape"):
            (number,) = named
            assert getattr(scenes[one.image].things[number], one.type) == one.answer
            seen += 1
        if one.type == "existence":
            assert bool(named) == (one.answer == "yes")
    assert seen == 240


def test_the_region_is_the_mask_of_the_thing(tmp_path):
    write_scenes(tmp_path / "s", 6, "held_out", 6)
    scenes = read_scenes(tmp_path / "s")
    for one in read_picture_questions(tmp_path / "s"):
        if one.type == "color":
            (number,) = asked_about(scenes[one.image], one.question)
            labels = np.asarray(Image.open(tmp_path / "s" / "masks" / one.image))
            np.testing.assert_array_equal(region(tmp_path / "s", one, scenes), labels == number + 1)
        elif one.type == "counting":
            assert region(tmp_path / "s", one, scenes) is None


@pytest.mark.parametrize("spoilt", [b"", b"text", (1, 1), (97, 96), (300, 300)])
def test_a_mask_that_is_none_is_named(tmp_path, spoilt):
    write_scenes(tmp_path / "s", 6, "held_out", 6)
    one = next(one for one in read_picture_questions(tmp_path / "s") if one.type == "color")
    mask = tmp_path / "s" / "masks" / one.image
    if isinstance(spoilt, bytes):
        mask.write_bytes(spoilt)
    else:
        Image.new("L", spoilt).save(mask)
    with pytest.raises(LapilliError, match=f"{one.image}: .*; "):
        region(tmp_path / "s", one, read_scenes(tmp_path / "s"))


def test_boxes_are_filled(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 4)).save(tmp_path / "images" / "a.png")
    found = region(tmp_path, PictureQuestion("1", "a.png", "?", "!", boxes=((0.5, 0, 1, 0.5), (0, 0.75, 0.25, 1))), {})
    expected = np.zeros((4, 8))
    expected[:2, 4:] = expected[3:, :2] = 1
    np.testing.assert_array_equal(found, expected)


def test_covered_shares_are_exact():
    pixels = np.random.default_rng(0).integers(0, 2, (6, 9)).astype(float)
    whole = [(3, 2, 6, 4), (0, 0, 9, 6)]
    np.testing.assert_allclose(covered(pixels, whole), [pixels[2:4, 3:6].mean(), pixels.mean()])
    fine = pixels.repeat(4, 0).repeat(4, 1)  # a box that cuts pixels, on a grid that it does not cut
    np.testing.assert_allclose(covered(pixels, [(1.25, 0.5, 3.75, 5.25)]), [fine[2:21, 5:15].mean()])
    np.testing.assert_allclose(covered(np.ones((6, 9)), [(-3, 0, 3, 6), (9, 0, 12, 6)]), [0.5, 0])


def test_a_fingerprint_is_of_all_that_is_read_of_a_folder(tmp_path):
    """Whatever changes in a folder, its fingerprint changes; and it is that of a copy of the folder."""
    write_scenes(tmp_path / "first", 12, "held_out", 4)
    same = fingerprint(tmp_path / "first")
    changes = {
        "questions": lambda folder: _replace(folder / "questions.jsonl", "color", "hue"),
        "scenes": lambda folder: _replace(folder / "scenes.jsonl", "large", "small"),
        "no questions": lambda folder: (folder / "questions.jsonl").unlink(),
        "no scenes": lambda folder: (folder / "scenes.jsonl").unlink(),
        "a picture": lambda folder: min((folder / "images").glob("*.png")).write_bytes(b"none"),
        "a mask": lambda folder: min((folder / "masks").glob("*.png")).write_bytes(b"none"),
        "a picture's name": lambda folder: min((folder / "images").glob("*.png")).rename(
            folder / "images" / "other.png"
        ),
        "no masks": lambda folder: shutil.rmtree(folder / "masks"),
    }
    changed = set()
    for number, change in enumerate(changes.values()):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "first", folder)
        assert fingerprint(folder) == same
        (folder / "images" / ".DS_Store").write_bytes(b"what a file manager leaves")
        assert fingerprint(folder) == same
        change(folder)
        changed.add(fingerprint(folder))
    assert len(changed - {same}) == len(changes)


def _replace(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
