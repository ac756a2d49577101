"""Files of one's own questions: what programs write is read, what is no question is refused in one line."""

import codecs
import json
import re
from pathlib import Path

import pytest
from tests.parts import picture

from lapilli.core.errors import LapilliError
from lapilli.data.scenes.dataset import write_scenes
from lapilli.data.scenes.facts import read_scenes
from lapilli.evaluation.own import own_benchmark
from lapilli.evaluation.question_file import SPELLINGS, OwnQuestion, compared, read_question_file

ROW = {"image": "a.png", "question": "What?", "answer": "red"}
PLAIN = "image,question,answer\na.png,What?,red\n"
EXPECTED = [OwnQuestion("2", "a.png", "", "What?", ("red",))]


@pytest.fixture
def write(tmp_path):
    def written(content, name="mine.csv"):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return written


TABLES = {
    "commas": PLAIN,
    "semicolons": PLAIN.replace(",", ";"),
    "tabs": PLAIN.replace(",", "\t"),
    "a byte order mark": codecs.BOM_UTF8 + PLAIN.encode(),
    "lines that end as on Windows": PLAIN.replace("\n", "\r\n"),
    "lines that end as on an old Mac": PLAIN.replace("\n", "\r"),
    "no end of the last line": PLAIN.rstrip(),
    "empty cells behind": "image,question,answer,,\na.png,What?,red,,,\n",
    "empty lines behind": f"{PLAIN}\n,,\n  \n",
    "spaces": "image , question,answer\n a.png,What? , red \n",
    "capitals": "Image,QUESTION,Answer\na.png,What?,red\n",
    "other names": "Picture,q,answers\na.png,What?,red\n",
    "another order, and a column that is not read": "answer,note,question,image\nred,x,What?,a.png\n",
    "quotes": '"image","question","answer"\n"a.png","What?","red"\n',
    "a column of types that is empty": "image,question,answer,type\na.png,What?,red,\n",
    "a path with dots": "image,question,answer\n./a.png,What?,red\n",
}


@pytest.mark.parametrize("kind", list(TABLES))
def test_tables_as_people_write_them(kind, write):
    assert read_question_file(write(TABLES[kind])) == EXPECTED


def test_rows_of_a_conversation_are_its_turns_in_their_order(write):
    rows = ["a.png,A?,red,x", "b.png,B?,red,y", "a.png,C?,red,", "./a.png,D?,red,x", "a.png,E?,red,x", "b.png,F?,red,y"]
    questions = read_question_file(write("\n".join(["image,question,answer,Conversation", *rows])))
    assert [(one.question, one.conversation, one.turn) for one in questions] == [
        ("A?", "x", 1), ("B?", "y", 1), ("C?", "", 1), ("D?", "x", 2), ("E?", "x", 3), ("F?", "y", 2),
    ]  # fmt: skip
    lines = [json.dumps(ROW | {"conversation": name}) for name in (7, None, 7, "")]
    questions = read_question_file(write("\n".join(lines), "mine.jsonl"))
    assert [(one.conversation, one.turn) for one in questions] == [("7", 1), ("", 1), ("7", 2), ("", 1)]


def test_a_conversation_is_about_one_picture(write):
    text = "image,question,answer,conversation\na.png,A?,red,x\nb.png,B?,red,x\n"
    message = r"mine\.csv, line 3: image: 'b\.png': conversation 'x' is about 'a\.png'; a conversation is about one"
    with pytest.raises(LapilliError, match=message):
        read_question_file(write(text))


def test_quoted_cells_may_hold_separators_quotes_and_line_breaks(write):
    text = 'image;question;answer\na.png;"one; ""two""\nthree?";red\nb.png;What?;blue|dark blue | \n'
    first, second = read_question_file(write(text))
    assert first.question == 'one; "two"\nthree?'
    assert (second.id, second.answers) == ("4", ("blue", "dark blue"))  # its line, as editors count


def test_json_holds_lists_numbers_and_truth_values(write):
    answers = [True, False, 3, 2.5, 4.0, ["red", "dark red"], [1, "one"], "a|b"]
    rows = [ROW | {"answer": answer} for answer in answers]
    expected = [("yes",), ("no",), ("3",), ("2.5",), ("4",), ("red", "dark red"), ("1", "one"), ("a|b",)]
    for file in (
        write(json.dumps(rows), "mine.json"),
        write(codecs.BOM_UTF8 + "\r\n".join(map(json.dumps, rows)).encode(), "mine.jsonl"),
    ):
        questions = read_question_file(file)
        assert [question.answers for question in questions] == expected
        assert [question.id for question in questions] == [str(number) for number in range(len(rows))]


def test_llava_s_own_rows_with_an_answer(write):
    row = {"question_id": 7, "image": "a.png", "text": "What?", "category": "conv", "answer": "red"}
    assert read_question_file(write(json.dumps(row), "mine.jsonl")) == [
        OwnQuestion("7", "a.png", "conv", "What?", ("red",))
    ]


def test_types_of_some_rows_and_accents_in_two_forms(write):
    rows = [ROW | {"type": "a  color"}, ROW | {"type": None}, ROW | {"type": float("nan"), "answer": "cafe\u0301"}]
    questions = read_question_file(write(json.dumps(rows), "mine.json"))
    assert [question.type for question in questions] == ["a color", "other", "other"]
    assert questions[2].answers == ("caf\u00e9",)


BROKEN = {
    "an empty file": ("mine.csv", "", "mine.csv: empty; the first line names the columns"),
    "no rows": ("mine.csv", "image,question,answer\n", "no questions; write a row for each"),
    "no rows of JSON": ("mine.json", "[]", "no questions"),
    "a column that is missing": (
        "mine.csv", "image,question,response\na.png,What?,red\n",
        "no answer (answer or answers); its columns are 'image', 'question', 'response'; name them image",
    ),
    "a key that is missing": ("mine.jsonl", '{"image": "a.png"}', "row 0: no question (question or q or text); answer"),
    "no names of columns": ("mine.csv", "a.png,What?,red\n", "its columns are 'a.png', 'What?', 'red'"),
    "two columns of a name": ("mine.csv", "image,image,question,answer\n", "two columns are called 'image'"),
    "two columns of a meaning": ("mine.csv", "image,q,question,answer\n", "'q' and 'question' both mean the question"),
    "too many cells": (
        "mine.csv", PLAIN + "b.png,Red, or blue?,red\n", "line 3: 4 cells, but 3 columns: 'red' is in none; put a cell",
    ),
    "too few cells": ("mine.csv", PLAIN + "b.png,What?\n", "line 3: answer: empty; write the right answer"),
    "a quote that is not closed": ("mine.csv", PLAIN + 'b.png,"What?,red\nc.png,What?,red\n', "line 3: unexpected end"),
    "another encoding": (
        "mine.csv", PLAIN.encode() + "é.png,What?,red\n".encode("cp1252"),
        "line 3: byte 0xe9 is not UTF-8; save it as UTF-8 (in Excel",
    ),
    "UTF-16": ("mine.csv", PLAIN.encode("utf-16"), "UTF-16 text, a table of separated values expected; save it as UTF"),
    "a workbook under another name": ("mine.csv", b"PK\x03\x04rest", "a zip archive, a table of separated values exp"),
    "a workbook": ("mine.xlsx", b"PK\x03\x04rest", "ending '.xlsx'; save the questions as one of .csv, .tsv, .json"),
    "no question": ("mine.csv", PLAIN + "b.png,,red\n", "line 3: question: empty; write it, or remove the row"),
    "a question of nothing to see": ("mine.csv", PLAIN + "b.png,\u200b,red\n", "line 3: question: empty"),
    "no picture": ("mine.csv", PLAIN + ",What?,red\n", "line 3: image: empty"),
    "an answer of separators": ("mine.csv", PLAIN.replace("answer", "answers") + "b.png,What?,|\n", "answer: empty"),
    "an answer of which nothing is compared": ("mine.csv", PLAIN + "b.png,What?,.\n", "'.': nothing in it is compared"),
    "an empty list of answers": ("mine.json", json.dumps([ROW | {"answer": []}]), "row 0: answer: empty"),
    "an answer that is null": ("mine.json", json.dumps([ROW | {"answer": None}]), "row 0: answer: null, text expected"),
    "an answer that is an object": ("mine.json", json.dumps([ROW | {"answer": {}}]), "answer: an object, text exp"),
    "an answer that is NaN": ("mine.json", json.dumps([ROW, ROW | {"answer": float("nan")}]), "row 1: answer: nan: a"),
    "an answer that is infinite": ("mine.json", json.dumps([ROW | {"answer": float("inf")}]), "number, text expected"),
    "a missing value of pandas": ("mine.csv", PLAIN + "b.png,What?,NaN\n", "line 3: answer: NaN: a value"),
    "a picture that is a number": ("mine.json", json.dumps([ROW | {"image": 5}]), "row 0: image: a number, text exp"),
    "an answer of 10 MB": ("mine.csv", PLAIN + f"b.png,What?,{'x' * 10_000_000}\n", "line 3: field larger than field"),
    "an answer of 10 MB in JSON": (
        "mine.json", json.dumps([ROW | {"answer": "x" * 10_000_000}]), "answer: 10,000,000 characters, up to 10,000",
    ),
    "half a character": ("mine.json", json.dumps([ROW | {"question": "\ud800?"}]), "question: half a character"),
    "the mark of a picture": ("mine.csv", PLAIN + "b.png,<image> What?,red\n", "'<image> What?' holds <image>; remove"),
    "the type of all": ("mine.json", json.dumps([ROW | {"type": "all"}]), "type: 'all'; it means all types together"),
    "an id that is there twice": (
        "mine.json", json.dumps([ROW | {"id": 7}, ROW | {"id": "7"}]), "row 1: id '7': another row has it",
    ),
    "rows that are lists": ("mine.json", "[[1, 2]]", "row 0: a list, an object expected"),
    "no JSON": ("mine.json", "{", "not JSON"),
    "a list that has no end": ("mine.jsonl", '{"image": ', "row 0: file: not JSON"),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(BROKEN))
def test_what_is_no_question_is_refused_with_its_place_and_a_remedy(kind, write):
    name, content, message = BROKEN[kind]
    with pytest.raises(LapilliError) as refusal:
        read_question_file(write(content, name))
    text = str(refusal.value)
    assert message in text and name in text and ";" in text
    assert len(text) < 500 and "\n" not in text


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    for name, message in (
        ("nowhere.csv", "No such file"),
        ("nowhere.json", "No such file"),
        ("folder.csv", "not a file"),
    ):
        with pytest.raises(LapilliError, match=message):
            read_question_file(tmp_path / name)


PICTURES = {
    "missing": ("b.png", "no such file; put the picture there, or correct its path"),
    "out of the folder": ("../out.png", "leads out of"),
    "an absolute path": ("/etc/passwd", "an absolute path; write the path as seen from"),
    "as on Windows": ("sub\\a.png", r"no such file: written with \ as on Windows"),
    "an address": ("https://example.org/a.png", "an address; fetch the picture into"),
    "no picture": ("text.png", "not a picture; save it as one of JPEG"),
    "damaged": ("half.png", "cannot be decoded"),
    "a folder": ("sub", "not a file"),
    "a zero byte": ("a\0.png", "not a usable path"),
}


@pytest.mark.parametrize("kind", list(PICTURES))
def test_pictures_that_cannot_be_opened_are_refused_before_anything_is_asked(kind, write, tmp_path):
    images = tmp_path / "images"
    (images / "sub").mkdir(parents=True)
    picture(0).save(images / "a.png")
    picture(1).save(tmp_path / "out.png")
    (images / "text.png").write_text("no picture")
    (images / "half.png").write_bytes((images / "a.png").read_bytes()[:200])
    name, message = PICTURES[kind]
    file = write(json.dumps([ROW, ROW | {"image": name, "id": "x"}]), "mine.json")
    with pytest.raises(LapilliError) as refusal:
        own_benchmark(file, images)
    assert f"{file}: question 'x': image: " in str(refusal.value) and message in str(refusal.value)


def test_of_many_pictures_that_are_missing_the_first_is_named_and_the_others_counted(write, tmp_path):
    file = write(json.dumps([ROW | {"image": f"{number}.png"} for number in range(5)]), "mine.json")
    with pytest.raises(LapilliError, match=r"question '0': .*'0\.png'.* \(and 4 more pictures\); pictures: "):
        own_benchmark(file, tmp_path)
    with pytest.raises(LapilliError, match="nowhere: no such folder; give the folder of the pictures of"):
        own_benchmark(file, tmp_path / "nowhere")


def test_what_the_normaliser_leaves_nothing_of_is_compared_in_lower_case():
    assert [compared(text) for text in ("A", "a.", "The", "a dog", "", ".")] == ["a", "a", "the", "dog", "", ""]


def test_the_page_has_the_spellings():
    page = (Path(__file__).parents[2] / "docs/evaluating.md").read_text(encoding="utf-8")
    for name, spellings in SPELLINGS.items():
        listed = ", ".join(f"`{spelling}`" for spelling in spellings)
        assert re.search(rf"^\| {name}\b.* \| {listed} \|", page, re.M), name


def test_the_pages_example_can_be_asked_about_the_pictures_of_the_quickstart(write, tmp_path):
    page = (Path(__file__).parents[2] / "docs/evaluating.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```csv\n(.*?)```", page.split("### An example")[1].split("\n## ")[0], re.S)
    questions = read_question_file(write(block, "my_questions.csv"))
    write_scenes(tmp_path / "held_out", 8, "held_out", 0)  # the first that the quickstart draws
    assert len(own_benchmark(tmp_path / "my_questions.csv", tmp_path / "held_out/images").read(tmp_path, "", 0)) == 20
    scenes = read_scenes(tmp_path / "held_out")
    for question in questions:
        things, (answer, *_) = scenes[question.image].things, question.answers
        if question.type == "color":
            assert answer in {thing.color for thing in things}
        if question.type == "shape":
            assert answer.split()[-1] in {thing.shape for thing in things}
        if question.type == "reading":
            assert answer in {thing.character for thing in things}
