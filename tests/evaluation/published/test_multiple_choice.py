"""ScienceQA, SEED-Bench, MMBench and MME: rules for letters and for yes and no, by cases and by hand."""

import json

import pytest
from tests.evaluation.published.files import answers, lines, refusal, score, whole

from lapilli.cli import run
from lapilli.evaluation.published.mmbench import chosen_letter
from lapilli.evaluation.published.scienceqa import letter_of

LETTERS = {
    "B": "B", "B. the dog": "B", "B.": "", "B ": "", " B": "", "b": "", "The answer is B.": "B", "The answer is B": "",
    "The answer is B, so": "B", "The answer is A. The answer is B.": "", "It is B. ": "", "": "", "F": "", "G. x": "",
    "Because. The answer is E.": "E", "The answer is G.": "G", "A.": "", "A. ": "A", "A.  ": "A", "AB": "",
}  # fmt: skip


@pytest.mark.parametrize("text", list(LETTERS))
def test_letters_of_scienceqa(text):
    assert letter_of(text) == LETTERS[text]


def test_scienceqa(tmp_path, capsys):
    labels = {"1": ("B", True), "2": ("A", False), "3": ("C", True), "4": ("D", False), "5": ("A", True)}
    references = whole(tmp_path / "l.json", {key: {"answer": a, "image": image} for key, (a, image) in labels.items()})
    texts = {1: "B", 2: "A. yes", 3: "The answer is D.", 4: "no idea", 5: "The answer is G."}
    result = score(capsys, "scienceqa", "--answers", answers(tmp_path, texts), "--references", references)
    assert (result["accuracy"], result["n"], result["unparsed"], result["not_offered"]) == (0.4, 5, 1, 1)
    assert result["image_accuracy"] == pytest.approx(1 / 3) and result["n_image"] == 3
    assert result["accuracy_interval"][0] < 0.4 < result["accuracy_interval"][1]


def test_problems_as_the_authors_have_them(tmp_path, capsys):
    problem = {
        "question": "?",
        "choices": ["x", "y"],
        "answer": 1,
        "image": "image.png",
        "split": "test",
        "subject": "s",
    }
    problems = {"1": problem, "2": problem | {"image": None}, "3": problem | {"split": "train"}}
    references = whole(tmp_path / "problems.json", problems)
    command = ["scienceqa", "--answers", answers(tmp_path, {1: "B", 2: "C"}), "--references", references]
    result = score(capsys, *command)
    assert (result["accuracy"], result["image_accuracy"], result["not_offered"]) == (0.5, 1, 1)
    command[2] = answers(tmp_path, {1: "B"})
    assert "1 labels have no answer: '2'" in refusal(capsys, *command)
    assert score(capsys, *command, "--allow-unmatched")["accuracy"] == 0.5  # what is missing counts as wrong


def test_seed(tmp_path, capsys):
    rows = [("1", "A", "image", 1), ("2", "B", "image", 2), ("3", "C", "video", 10), ("4", "D", "video", 10)]
    names = ("question_id", "answer", "data_type", "question_type_id")
    content = {
        "questions": [dict(zip(names, row, strict=True)) for row in rows],
        "question_type": {"Scene": 1, "Act": 10},
    }
    texts = {1: "A", 2: "B.", 3: "C", 4: "(D) it"}
    result = score(
        capsys, "seed", "--answers", answers(tmp_path, texts), "--references", whole(tmp_path / "s.json", content)
    )
    assert (result["accuracy"], result["image"]["accuracy"], result["video"]["accuracy"]) == (0.5, 0.5, 0.5)
    assert result["lenient_accuracy"] == 1 and result["by_type"]["Scene"]["accuracy"] == 1
    assert result["by_type"]["Act"]["n"] == 2


@pytest.mark.parametrize("shown", ["n", "accuracy", "", "unparsed", "by_type"])
def test_seed_shows_pictures_and_films(tmp_path, capsys, shown):
    """Another name would stand in place of a figure."""
    rows = [{"question_id": 1, "answer": "A", "data_type": shown}]
    command = ["seed", "--answers", answers(tmp_path, {1: "A"}), "--references"]
    assert "data_type" in refusal(capsys, *command, whole(tmp_path / "s.json", {"questions": rows}))


@pytest.mark.parametrize("bench", ["mme", "seed", "mmbench"])
def test_two_labels_of_one_question_are_refused(tmp_path, capsys, bench):
    """Else the last one would hold."""
    rows = [{"question_id": 1, "answer": letter, "data_type": "image"} for letter in "AB"]
    contents = {
        "mme": "1.jpg\tIs it?\tYes\n1.png\tIs  it?\tNo\n",
        "seed": json.dumps({"questions": rows}),
        "mmbench": "index\tanswer\tA\n1\tA\tx\n1.0\tB\tx\n",
    }
    (tmp_path / "labels.tsv").write_text(contents[bench])
    message = refusal(capsys, bench, "--answers", answers(tmp_path, {1: "A"}), "--references", tmp_path / "labels.tsv")
    assert "another row has another label" in message and "labels.tsv" in message


CHOICES = {"A": "a dog", "B": "a cat", "C": "a dog house"}
CHOSEN = {
    "A": "A", "B.": "B", "(C)": "C", "The answer is B": "B", "A or B": "", "A cat is here": "B", "it is a cat": "B",
    "a dog house": "", "none": "", "": "", "D": "", "Option A": "A", "the choice A is right": "",
}  # fmt: skip


@pytest.mark.parametrize("text", list(CHOSEN))
def test_letters_of_mmbench(text):
    assert chosen_letter(text, CHOICES) == CHOSEN[text]


@pytest.fixture
def mmbench(tmp_path):
    """Two questions, the first in two rotations, each with a picture of 200 KB in the table."""
    header = "index\tquestion\tA\tB\thint\tanswer\tl2-category\timage"
    rows = ["1\tWhat?\tdog\tcat\t\tA\tkind\t", "1000001\tWhat?\tcat\tdog\t\tB\tkind\t", "2\tWho?\tme\tyou\t\tB\twho\t"]
    file = tmp_path / "mmbench.tsv"
    file.write_text("\n".join([header, *(row + "x" * 200_000 for row in rows)]))
    return file


def test_a_question_is_right_in_all_rotations(mmbench, tmp_path, capsys):
    command = ["mmbench", "--references", mmbench, "--answers"]
    result = score(capsys, *command, answers(tmp_path, {1: "A", 1000001: "A", 2: "B. you"}))
    assert (result["accuracy"], result["n"], result["rows"]) == (0.5, 2, 3)
    assert result["single_accuracy"] == pytest.approx(2 / 3) and result["by_category"]["who"]["accuracy"] == 1
    result = score(capsys, *command, answers(tmp_path, {1: "A", 1000001: "B", 2: "B"}))
    assert result["accuracy"] == 1


def test_the_spreadsheet_for_the_server(mmbench, tmp_path, capsys):
    openpyxl = pytest.importorskip("openpyxl", reason="no openpyxl")
    given, out = answers(tmp_path, {1: "A\x0b", 1000001: "=1+1", 2: "B"}), tmp_path / "upload.xlsx"
    score(capsys, "mmbench", "--references", mmbench, "--answers", given, "--upload", out)
    rows = [[cell.value for cell in row] for row in openpyxl.load_workbook(out).active.rows]
    assert rows[0] == ["index", "question", "A", "B", "answer", "prediction"]
    assert [row[-1] for row in rows[1:]] == ["A", "=1+1", "B"]
    cells = [row[-1] for row in openpyxl.load_workbook(out).active.iter_rows(min_row=2)]
    assert all(cell.data_type == "s" for cell in cells)  # an answer is no formula


def test_files_are_compared_by_questions_over_all_rotations(mmbench, tmp_path, capsys):
    texts = {1: "A", 1000001: "B", 2: "B"}, {1: "A", 1000001: "A", 2: "B"}
    files = [answers(tmp_path, of, f"{at}.jsonl") for at, of in enumerate(texts)]
    (row,) = score(capsys, "mmbench", "--references", mmbench, "--answers", *files)["comparisons"]
    assert (row["n"], row["difference"], row["score"]) == (2, 0.5, "accuracy over all rotations")
    assert (row["first_only"], row["second_only"], row["test"]) == (1, 0, "McNemar, exact")


def test_a_table_without_answers_is_uploaded_and_not_scored(mmbench, tmp_path, capsys):
    openpyxl = pytest.importorskip("openpyxl", reason="no openpyxl")
    table, out = tmp_path / "test.tsv", tmp_path / "upload.xlsx"
    table.write_text("index\tquestion\tA\tB\n1\tWhat?\tdog\tcat\n2\tWho?\tme\tyou\n")
    command = ["mmbench", "--references", table, "--upload", out, "--answers"]
    for texts, fault in (({1: "A"}, "1 questions have no answer: '2'"), ({1: "A", 2: "B", 3: "C"}, "1 answers are to")):
        assert fault in refusal(capsys, *command, answers(tmp_path, texts)) and not out.exists()
    assert run(["score", *map(str, command), str(answers(tmp_path, {1: "A", 2: "B"}))]) == 0
    rows = [[cell.value for cell in row] for row in openpyxl.load_workbook(out).active.rows]
    assert rows == [
        ["index", "question", "A", "B", "prediction"],
        ["1", "What?", "dog", "cat", "A"],
        ["2", "Who?", "me", "you", "B"],
    ]


PROMPT = "\nAnswer the question using a single word or phrase."


def mme(tmp_path, texts):
    """Two pictures of a task of perception, one of a task of cognition; two questions about each."""
    for task, count in (("OCR", 2), ("code_reasoning", 1)):
        rows = [
            f"{at:04}.jpg\tIs it {word}?  Please answer yes or no.\t{label}\n"
            for at in range(count)
            for word, label in (("one", "Yes"), ("two", "No"))
        ]
        (tmp_path / f"{task}.txt").write_text("".join(rows))
    keys = [("OCR", 0), ("OCR", 1), ("code_reasoning", 0)]
    rows = [
        {"question_id": f"{task}/{at:04}.png", "prompt": f"Is it {word}? Please answer yes or no.{PROMPT}", "text": ""}
        for task, at in keys
        for word in ("one", "two")
    ]
    given = lines(tmp_path / "a.jsonl", [row | {"text": text} for row, text in zip(rows, texts, strict=True)])
    return ["mme", "--answers", given, "--references", tmp_path / "OCR.txt", tmp_path / "code_reasoning.txt"]


def test_mme(tmp_path, capsys):
    result = score(capsys, *mme(tmp_path, ["Yes", "no.", "yes", "Yes", "Maybe", "No"]))
    assert result["tasks"]["OCR"]["score"] == pytest.approx(75 + 50)
    assert result["tasks"]["code_reasoning"]["score"] == pytest.approx(50 + 0)
    assert result["perception"] == pytest.approx(125) and result["cognition"] == pytest.approx(50)
    assert result["perception_interval"][0] < 125 < result["perception_interval"][1] and result["unparsed"] == 1


@pytest.mark.parametrize(
    ("text", "right"), [("yes", 1), ("YES!", 1), ("The yes", 0), (" yes", 1), ("a yes", 0), ("no", 0), ("noyes", 0)]
)
def test_four_characters_decide(tmp_path, capsys, text, right):
    result = score(capsys, *mme(tmp_path, [text, "no", "yes", "no", "yes", "no"]))
    assert result["tasks"]["OCR"]["accuracy"] == (3 + right) / 4
