"""Every problem of a file is found, by row, with a remedy."""

import json
import unicodedata

import pytest
from PIL import Image

from lapilli.core.errors import LapilliError
from lapilli.data.sample import parse_row
from lapilli.data.validate import problems, validate

HUMAN = {"from": "human", "value": "<image>\nWhat?"}
GPT = {"from": "gpt", "value": "That."}
GOOD = {"id": "good", "image": "a.png", "conversations": [HUMAN, GPT]}


def _human(text):
    return {"from": "human", "value": text}


def _gpt(text):
    return {"from": "gpt", "value": text}


# One broken row each: what changes against GOOD, the field at fault, what the message says, what the remedy says.
BROKEN = {
    "no id": ({"id": None}, "id", "missing", "id of its own"),
    "empty id": ({"id": ""}, "id", "missing", "id of its own"),
    "id is a list": ({"id": [1]}, "id", "a list, a string or a whole number expected", "id of its own"),
    "id is true": ({"id": True}, "id", "a truth value, a string or a whole", "id of its own"),
    "half an emoji in the id": ({"id": "\ud83d"}, "id", r"half a character, '\ud83d'", "surrogate pair"),
    "half an emoji in a path": ({"image": "\ud83d"}, "image", r"'\ud83d': not a usable path", "correct the path"),
    "image is a number": ({"image": 5}, "image", "a number, a path or a list", "name the picture"),
    "image in list is null": ({"image": [None]}, "image", "number 0 is null, a path expected", "name the picture"),
    "empty path": ({"image": ""}, "image", "number 0 is empty", "leave the field out"),
    "no conversations": ({"conversations": None}, "conversations", "missing", '"from": "human"'),
    "conversations is text": ({"conversations": "x"}, "conversations", "a string, a list of turns", '"from"'),
    "zero turns": ({"conversations": [], "image": None}, "conversations", "no turns", "or remove the row"),
    "turn is text": ({"conversations": [HUMAN, "x"]}, "conversations[1]", "a string, an object", '"value"'),
    "no role": ({"conversations": [HUMAN, {"value": "x"}]}, "conversations[1]", 'no "from"', "human or gpt"),
    "unknown role": (
        {"conversations": [HUMAN, {"from": "bot", "value": "x"}]},
        "conversations[1]",
        "unknown role 'bot'",
        "known roles: human, user, gpt, assistant",
    ),
    "role is a list": (
        {"conversations": [HUMAN, {"from": [], "value": "x"}]},
        "conversations[1]",
        "unknown role []",
        "",
    ),
    "no text": ({"conversations": [HUMAN, {"from": "gpt"}]}, "conversations[1]", 'no "value"', "write what is said"),
    "text is a number": ({"conversations": [HUMAN, _gpt(1)]}, "conversations[1]", "value is a number", "write what"),
    "half an emoji": ({"conversations": [HUMAN, _gpt("\ud83d")]}, "conversations[1]", r"'\ud83d'", "surrogate pair"),
    "two questions": (
        {"conversations": [HUMAN, _human("x"), GPT]},
        "conversations[1]",
        "roles out of order: user after user",
        "must alternate",
    ),
    "two answers": ({"conversations": [HUMAN, GPT, GPT]}, "conversations[2]", "assistant after assistant", "alternate"),
    "assistant first": (
        {"conversations": [GPT, HUMAN, GPT]},
        "conversations[0]",
        "the first turn is the assistant's",
        "begin with a question",
    ),
    "user last": (
        {"conversations": [HUMAN, GPT, _human("?")]},
        "conversations[2]",
        "the last turn is the user's",
        "add the answer",
    ),
    "empty answer": (
        {"conversations": [HUMAN, _gpt(" \n")]},
        "conversations[1]",
        "empty answer",
        "remove the question",
    ),
    "invisible answer": (
        {"conversations": [HUMAN, _gpt("\u200b\ufeff ")]},
        "conversations[1]",
        "empty answer",
        "remove the question",
    ),
    "mark in an answer": ({"conversations": [HUMAN, _gpt("<image>")]}, "conversations[1]", "in an answer", "remove"),
    "mark, no image": ({"image": None}, "image", "1 <image> in the questions for 0 images", "name the pictures"),
    "two marks, no image": (
        {"image": [], "conversations": [HUMAN, GPT, HUMAN, GPT]},
        "image",
        "2 <image> in the questions for 0 images",
        "or remove <image>",
    ),
    "image, no mark": (
        {"conversations": [_human("What?"), GPT]},
        "image",
        "0 <image> in the questions for 1 image",
        "or remove the field image",
    ),
    "two marks, one image": (
        {"conversations": [HUMAN, GPT, HUMAN, GPT]},
        "image",
        "2 <image> in the questions for 1 image",
        "one <image> for every picture",
    ),
    "one mark, two images": ({"image": ["a.png", "a.png"]}, "image", "1 <image> in the questions for 2 images", "one"),
    "both lists": ({"images": ["b.png"]}, "images", "a second list of pictures, beside image", "in one of the two"),
    "two speakers": (
        {"conversations": [{**HUMAN, "role": "assistant"}, GPT]},
        "conversations[0]",
        '"from" and "role" differ',
        "keep one",
    ),
    "two texts": (
        {"conversations": [HUMAN, {**GPT, "content": "Other."}]},
        "conversations[1]",
        '"value" and "content" differ',
        "keep one",
    ),
    "images, no mark": (
        {"image": None, "images": ["a.png"], "conversations": [_human("What?"), GPT]},
        "images",
        "0 <image> in the questions for 1 image",
        "or remove the field images",
    ),
    "missing image": ({"image": "no.png"}, "image", "'no.png': no such file", "correct its path"),
    "absolute path": ({"image": "/etc/passwd"}, "image", "'/etc/passwd': an absolute path", "as seen from"),
    "path with ..": ({"image": "../a.png"}, "image", "'../a.png': leads out of", "inside the images folder"),
    "link out": ({"image": "link.png"}, "image", "'link.png': leads out of", "inside the images folder"),
    "not a picture": ({"image": "text.png"}, "image", "'text.png': not a picture", "save it as one of"),
    "truncated": ({"image": "cut.jpg"}, "image", "'cut.jpg': cannot be decoded", "fetch or save"),
}


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    picture = Image.effect_noise((40, 40), 90).convert("RGB")
    picture.save(folder / "a.png")
    picture.save(tmp_path / "a.png")
    picture.save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:700])
    (folder / "text.png").write_text("not a picture")
    (folder / "link.png").symlink_to(tmp_path / "a.png")
    return folder


def _file(folder, rows):
    path = folder / "rows.json"
    path.write_text(json.dumps(rows))
    return path


def test_a_good_file_has_no_problems(tmp_path, images):
    rows = [GOOD, {**GOOD, "id": 2}, {"id": "text", "conversations": [_human("Hi"), GPT, _human("?"), GPT]}]
    findings = validate(_file(tmp_path, rows), images)
    assert (findings.rows, findings.images, findings.problems) == (3, 1, ())


@pytest.mark.parametrize("case", BROKEN)
def test_each_problem_is_the_only_one_reported_with_row_field_and_remedy(tmp_path, images, case):
    change, field, message, remedy = BROKEN[case]
    (problem,) = problems(_file(tmp_path, [GOOD, {**GOOD, "id": "bad", **change}]), images)
    assert (problem.row, problem.field) == (1, field)
    assert message in problem.message
    assert problem.remedy and remedy in problem.remedy
    assert problem.id == (r"\ud83d" if "emoji in the id" in case else None if "id" in change else "bad")


UNREAD = {
    "Image": "a.png",
    "img": "000001",
    "IMAGE_PATH": "train2017/000.jpg",
    "image_url": "https://example.com/id/5",
    "videos": ["clip.mp4"],
    "video": {"path": "clip", "fps": 2},
    "meta": {"source": {"files": [7, "a b.webp"]}},
    "where": "https://example.com/a.JPG?size=9",
    "payload": "data:image/png;base64,iVBORw0KGgo=",
    "input-images": [{"bytes": "iVBORw0KGgo="}],
    "frames": ["1", "2"],
    "note": "x.tar/y.jpeg",
    "image_base64": "x" * 5_000,
    "picture": "iVBORw0KGgo" + "A" * 5_000,
    "payload64": "/9j/4AAQSkZJRgABAQAAAQABAAD/" + "A" * 5_000,
    "webp": "000001",
    "pixel_values": [[0.1, 0.2], [0.3, 0.4]],
    "image_bytes": [137, 80, 78, 71],
    "scan": "ct/17.dcm",
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_names_a_picture_in_a_field_that_is_not_read_is_a_problem_of_its_row(tmp_path, images, name):
    """It would be trained on without its picture; in a turn, too."""
    said = [_human("What?"), GPT]
    rows = [
        {"id": "row", name: UNREAD[name], "conversations": said},
        {"id": "turn", "conversations": [{**said[0], name: UNREAD[name]}, GPT]},
    ]
    found = problems(_file(tmp_path, rows), images)
    assert [p.row for p in found if "in a field that is not read" in p.message] == [p.row for p in found]
    assert {p.row for p in found} == {0, 1}
    assert found[0].field.startswith(name) and found[-1].field.startswith(f"conversations[0].{name}")
    for row in rows:
        with pytest.raises(LapilliError, match="is a picture or a video in a field that is not read; name a picture"):
            parse_row(row, "here")


def test_other_fields_of_a_row_without_pictures_are_no_problem(tmp_path, images):
    extra = {
        "image": None, "images": [], "has_image": False, "image_width": 40, "num_images": 0, "split": "train",
        "image_id": 391895, "caption": "A photo.\nIt ends in .png", "score": 0.5, "tags": ["video game", "e.g."],
        "image_aspect_ratio": "pad", "language": "en", "img": "", "frames": [], "video": None,
    }  # fmt: skip
    findings = validate(_file(tmp_path, [{"id": "a", **extra, "conversations": [_human("Hi"), GPT]}]), images)
    assert (findings.problems, findings.warnings) == ((), ())


@pytest.mark.parametrize("value", ["clip/001.npy", "x y.WAV", "a.pdf", "shard-0.tar", "data/notes.txt", ["s3/a/b.bin"]])
def test_any_other_field_that_names_a_file_is_a_warning(tmp_path, images, value):
    findings = validate(_file(tmp_path, [{"id": "a", "extra": value, "conversations": [_human("Hi"), GPT]}]), images)
    assert findings.problems == ()
    (warning,) = findings.warnings
    assert warning.field.startswith("extra") and warning.message.startswith("not read, in 1 rows (0)")


def test_no_file_is_seen_in_what_is_none(tmp_path, images):
    texts = ["and/or", "1/2", "v1.5", "e.g.", "18.11.2023", "Yes. No.", "km/h.", "a/b c.d", "12/2.5", "boxes"]
    rows = [{"id": "a", "texts": texts, "box": [1, 2, 3, 4], "conversations": [_human("Hi"), GPT]}]
    assert validate(_file(tmp_path, rows), images).warnings == ()


@pytest.mark.parametrize("mark", ["<Image>", "<video>", "<img>", "<image_1>", "[IMG]", "![a cat](a.png)", "<image />"])
def test_what_shows_a_picture_elsewhere_is_a_warning_in_a_question(tmp_path, images, mark):
    rows = [{"id": "a", "conversations": [_human("Hi"), GPT, _human(f"{mark}\nWhat?"), GPT]}]
    findings = validate(_file(tmp_path, rows), images)
    assert findings.problems == ()
    assert [(one.row, one.field) for one in findings.warnings] == [(0, "conversations[2]")]
    assert mark in findings.warnings[0].message


def test_beside_a_picture_and_for_other_addresses_it_is_one_warning_a_field(tmp_path, images):
    rows = [
        {**GOOD, "id": number, "url": "https://example.com/a.jpg", "masks": ["m.png", "n.png"]} for number in (0, 1)
    ]
    rows.append({"id": 2, "page": "https://example.com/", "conversations": [_human("Hi"), GPT]})
    findings = validate(_file(tmp_path, rows), images)
    assert findings.problems == ()
    assert [(w.row, w.id, w.field, w.message) for w in findings.warnings] == [
        (0, None, "url", "not read, in 2 rows (0, 1), such as 'https://example.com/a.jpg'"),
        (0, None, "masks[]", "not read, in 2 rows (0, 1), such as 'm.png'"),
        (2, None, "page", "not read, in 1 rows (2), such as 'https://example.com/'"),
    ]


def test_images_are_read_as_image_where_the_questions_show_them_all(tmp_path, images):
    (images / "b.png").symlink_to(images / "a.png")
    two = [_human("<image> and <image>?"), GPT]
    rows = [
        {"id": "one", "images": ["a.png"], "conversations": [HUMAN, GPT]},
        {"id": "two", "image": [], "images": ["a.png", "b.png"], "conversations": two},
        {"id": "text", "images": "b.png", "conversations": [HUMAN, GPT]},
    ]
    findings = validate(_file(tmp_path, rows), images)
    assert (findings.problems, findings.warnings, findings.images) == ((), (), 2)
    assert [parse_row(row, "here").images for row in rows] == [("a.png",), ("a.png", "b.png"), ("b.png",)]


def test_paths_say_what_they_are(tmp_path, images):
    (images / "sub").mkdir()
    (images / "sub/x y.png").symlink_to(images / "a.png")
    wrong = {
        "sub\\x y.png": (
            "no such file: written with \\ as on Windows",
            "with /; that file is there",
        ),
        "sub\\z.png": ("no such file: written with \\ as on Windows", "write 'sub/z.png', with /"),
        "C:\\data\\a.png": ("an absolute path", "as seen from"),
        "\\\\host\\a.png": ("an absolute path", "as seen from"),
        "https://example.com/a.png": ("an address", "fetch the picture into"),
        "data:image/png;base64," + "A" * 9_999: ("an address", "fetch the picture into"),
        "sub": ("not a file", "put the picture there"),
        "sub/../../a.png": ("leads out of", "keep every picture"),
    }
    rows = [{**GOOD, "id": number, "image": name} for number, name in enumerate(wrong)]
    found = problems(_file(tmp_path, rows), images)
    assert [p.row for p in found] == list(range(len(wrong)))
    for problem, (message, remedy) in zip(found, wrong.values(), strict=True):
        assert f": {message}" in problem.message and remedy in problem.remedy and len(problem.message) < 200


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_name_in_another_unicode_form_is_the_file_s(tmp_path, images, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    names = ["Über/Café 1.png", "Über/한글.png"]
    (images / unicodedata.normalize(form, "Über")).mkdir()
    for name in names:
        (images / unicodedata.normalize(form, name)).symlink_to(images / "a.png")
    mixed = unicodedata.normalize(form, "Über") + "/" + unicodedata.normalize(other, "Café 1.png")
    rows = [unicodedata.normalize(other, name) for name in names] + names + [mixed]
    assert problems(_file(tmp_path, [{**GOOD, "id": at, "image": name} for at, name in enumerate(rows)]), images) == []


OF_THE_ROW = [case for case, (_, field, message, _) in BROKEN.items() if field != "image" or message[0] != "'"]
"""Those that do not need the picture's file to be seen."""


@pytest.mark.parametrize("case", OF_THE_ROW)
def test_reading_refuses_whatever_validate_reports_of_a_row(case):
    change, *_ = BROKEN[case]
    with pytest.raises(LapilliError, match=r"^here: "):
        parse_row({**GOOD, **change}, "here")


def test_every_problem_of_every_row_is_reported(tmp_path, images):
    rows = [{**GOOD, "id": str(number), **change} for number, (change, *_) in enumerate(BROKEN.values())]
    worst = {"image": ["no.png", "../x", 3], "conversations": [_gpt(""), {"from": "x"}, _human("<image>")]}
    found = problems(_file(tmp_path, [*rows, 7, None, worst]), images)
    by_row = [[p.message for p in found if p.row == row] for row in range(len(rows) + 3)]
    assert [len(messages) for messages in by_row[:-3]] == [1] * len(rows)
    assert by_row[-3] == ["a number, an object expected"]
    assert by_row[-2] == ["null, an object expected"]
    assert by_row[-1] == [
        "missing",
        "number 2 is a number, a path expected",
        "empty answer",
        "unknown role 'x'",
        'no "value"',
        "the first turn is the assistant's",
        "the last turn is the user's",
        "1 <image> in the questions for 3 images",
        "'no.png': no such file",
        f"'../x': leads out of {images}",
    ]


def test_shared_ids_are_a_warning_with_their_rows_told_apart_as_they_are_read(tmp_path, images):
    rows = [GOOD, {**GOOD, "id": 1}, {**GOOD, "id": "1"}, GOOD, *({**GOOD, "id": "x"} for _ in range(7))]
    findings = validate(_file(tmp_path, rows), images)
    assert findings.problems == ()
    assert [(w.row, w.id, w.field, w.message) for w in findings.warnings] == [
        (0, "good", "id", "the id of 2 rows: 0, 3"),
        (1, "1", "id", "the id of 2 rows: 1, 2"),
        (4, "x", "id", "the id of 7 rows: 4, 5, 6, 7, 8, ..."),
    ]


def test_a_bad_picture_is_reported_for_every_row_that_names_it_but_counted_once(tmp_path, images):
    findings = validate(_file(tmp_path, [{**GOOD, "id": number, "image": "no.png"} for number in range(3)]), images)
    assert [problem.row for problem in findings.problems] == [0, 1, 2]
    assert findings.images == 1


def test_without_a_folder_pictures_are_not_opened(tmp_path):
    assert problems(_file(tmp_path, [{**GOOD, "image": "no.png"}]), None) == []


def test_a_decompression_bomb_is_a_problem(tmp_path, images, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 799)
    (problem,) = problems(_file(tmp_path, [GOOD]), images)
    assert "1600 pixels" in problem.message and problem.remedy == "scale the picture down"


def test_broken_json_is_a_problem_of_the_file_and_a_broken_line_one_of_its_row(tmp_path, images):
    path = tmp_path / "rows.json"
    path.write_text('[{"id": 1},\n]')
    (problem,) = problems(path, images)
    assert (problem.row, problem.field, problem.remedy) == (None, "file", "remove the comma")
    assert problem.message == "not JSON: line 1, column 11: trailing comma"
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1\n' + json.dumps(GOOD) + "\n[1]\n{]\n")
    found = problems(path, images)
    assert [(p.row, p.field) for p in found] == [(0, "file"), (2, "row"), (3, "file")]
    assert "line 1, column 9" in found[0].message and "line 4, column 2" in found[2].message


@pytest.mark.parametrize(("name", "content"), [("none.json", "[]"), ("none.jsonl", "\n")])
def test_a_file_without_rows_has_a_problem_as_training_would_say(tmp_path, images, name, content):
    (tmp_path / name).write_text(content)
    (problem,) = validate(tmp_path / name, images).problems
    assert (problem.row, problem.message, problem.remedy) == (None, "no rows", "a training needs at least one")


def test_pictures_and_rows_are_counted_as_they_are_done(tmp_path, images):
    for number in range(70):
        (images / f"{number}.png").symlink_to(images / "a.png")
    told = []
    rows = [{**GOOD, "id": number, "image": f"{number % 70}.png"} for number in range(150)]
    assert validate(_file(tmp_path, rows), images, progress=lambda *step: told.append(step)).problems == ()
    assert told == [("pictures", 64, 70), ("pictures", 70, 70), ("rows", 100, 150), ("rows", 150, 150)]


def test_a_missing_images_folder_is_one_error_and_not_one_a_row(tmp_path, images):
    with pytest.raises(LapilliError, match="no such folder"):
        validate(_file(tmp_path, [GOOD]), images / "nowhere")
