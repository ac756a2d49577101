"""GQA, VQAv2, VizWiz, TextVQA and COCO-QA: small cases by hand and against the rules as they are written down."""

import json
from itertools import combinations

import pytest
from tests.evaluation.published.files import answers, lines, refusal, score, whole

from lapilli.cli import run
from lapilli.evaluation.normalize import normalize_answer
from lapilli.evaluation.published.annotators import normalised_accuracy, server_accuracy, soft_accuracy
from lapilli.evaluation.published.cocoqa import contained


def leave_one_out(answer, annotators):
    """Every nine of the ten annotators judge the answer: min(1, k / 3)."""
    subsets = list(combinations(annotators, len(annotators) - 1))
    return sum(min(1, subset.count(answer) / 3) for subset in subsets) / len(subsets)


@pytest.mark.parametrize("agreeing", range(11))
def test_the_accuracy_among_ten_annotators(agreeing):
    annotators = ["cat"] * agreeing + ["dog"] * (10 - agreeing)
    assert soft_accuracy("cat", annotators) == pytest.approx(leave_one_out("cat", annotators))
    if agreeing in (1, 2, 3, 4):  # the known steps
        assert soft_accuracy("cat", annotators) == pytest.approx({1: 0.3, 2: 0.6, 3: 0.9, 4: 1.0}[agreeing])


@pytest.mark.parametrize(
    ("answer", "annotators", "normalised", "server"),
    [
        ("the dog", ["A dog"] * 10, 1, 0),  # the server leaves labels alone on which all agree
        ("dog", ["dog"] * 10, 1, 1),
        ("Two", ["2"] * 4 + ["two"] * 6, 1, 1),
        ("Macy's", ["macy's"] * 10, 1, 0),
        ("Macy's", ["macy's"] * 9 + ["store"], 1, 0),  # the server's normaliser leaves 's where it is
        ("red,white", ["red,white"] * 9 + ["flag"], 1, 0),  # and a comma between words becomes a space
        ("red, white", ["red,white"] * 9 + ["flag"], 0, 1),
        ("1,000", ["1,000"] * 9 + ["many"], 1, 1),
        ("1,000-foot", ["1,000-foot"] * 9 + ["far"], 1, 0),  # "1000 foot", and "1000foot"
        ("The Dog", ["A dog"] * 9 + ["cat"], 1, 1),
        ("1/2", ["1 2"] * 3 + ["half"] * 7, 0.9, 0.9),
        ("", ["a"] * 9 + ["b"], 1, 1),  # nothing is left of "a", as of nothing
    ],
)
def test_two_programs_on_labels_that_are_not_normal(answer, annotators, normalised, server):
    assert normalised_accuracy(answer, annotators) == pytest.approx(normalised)
    assert server_accuracy(answer, annotators) == pytest.approx(server)


def test_vqa(tmp_path, capsys):
    labels = whole(
        tmp_path / "labels.json", {"1": ["red"] * 10, "2": ["1"] * 2 + ["2"] * 8, "x3": ["cat"] * 3 + ["dog"] * 7}
    )
    result = score(
        capsys, "vqa", "--answers", answers(tmp_path, {1: "Red.", 2: "one", "x3": "A cat"}), "--references", labels
    )
    assert result["accuracy"] == pytest.approx((1 + 0.6 + 0.9) / 3) and result["n"] == 3 and result["unmatched"] == 0
    assert result["accuracy_interval"][0] < result["accuracy"] < result["accuracy_interval"][1]


@pytest.mark.parametrize("missing", ["answer", "label"])
def test_what_does_not_match_is_listed_or_left_out(tmp_path, capsys, missing):
    texts = {"1": "red", "2": "blue", "3": "red"}
    labels = {key: ["red"] * 10 for key in texts}
    (texts if missing == "answer" else labels).pop("2")
    command = ["vqa", "--answers", answers(tmp_path, texts), "--references", whole(tmp_path / "labels.json", labels)]
    what = "1 labels have no answer: '2'" if missing == "answer" else "1 answers have no label: '2'"
    assert what in refusal(capsys, *command)
    result = score(capsys, *command, "--allow-unmatched")
    assert (result["n"], result["unmatched"], result["accuracy"]) == (2, 1, 1)


def test_annotations_as_vqav2_and_vizwiz_have_them(tmp_path, capsys):
    of = [{"answer": "red", "answer_confidence": "yes", "answer_id": at} for at in range(10)]
    rows = [{"question_id": 7, "image_id": 1, "answers": of, "answer_type": "other"}]
    labels = whole(tmp_path / "v2.json", {"annotations": rows})
    result = score(capsys, "vqa", "--answers", answers(tmp_path, {"7": "red"}), "--references", labels)
    assert result["accuracy"] == 1 and result["by_answer_type"]["other"]["n"] == 1
    labels = whole(tmp_path / "vizwiz.json", [{"image": "VizWiz_val_1.jpg", "question": "?", "answers": of}])
    given = answers(tmp_path, {"VizWiz_val_1.jpg": "Unanswerable"})
    result = score(capsys, "vqa", "--answers", given, "--references", labels)
    assert result["accuracy"] == 0 and result["unanswerable_share"] == 1


def test_uploads_need_no_labels(tmp_path, capsys):
    given, out = answers(tmp_path, {1: "The dog.", 3: "Two"}), tmp_path / "upload.json"
    questions = lines(tmp_path / "q.jsonl", [{"question_id": at, "image": "a.jpg", "text": "?"} for at in (1, 2, 3)])
    command = ["score", "vqa", "--answers", str(given), "--questions", str(questions), "--upload", str(out)]
    assert "0 answers are to none of its questions, 1 questions have no answer: '2'" in refusal(capsys, *command[1:])
    assert not out.exists() and run([*command, "--allow-unmatched"]) == 0
    assert json.loads(out.read_text()) == [
        {"question_id": 1, "answer": "dog"}, {"question_id": 2, "answer": ""}, {"question_id": 3, "answer": "2"},
    ]  # fmt: skip
    assert run(["score", "gqa", "--answers", str(given), "--upload", str(out)]) == 0
    assert json.loads(out.read_text())[0] == {"questionId": "1", "prediction": "the dog"}
    capsys.readouterr()
    assert "--upload" in refusal(capsys, "seed", "--answers", given, "--upload", out)


@pytest.mark.parametrize("bench", ["vqa", "gqa"])
def test_answers_to_other_questions_are_not_uploaded(tmp_path, capsys, bench):
    """The server would take the empty answers that are left, and score them."""
    questions = lines(tmp_path / "q.jsonl", [{"question_id": at, "image": "a.jpg", "text": "?"} for at in (1, 2, 3)])
    out = tmp_path / "upload.json"
    for texts, option in (({1: "a", 2: "b", 3: "c", 4: "d"}, ()), ({4: "a", 5: "b"}, ("--allow-unmatched",))):
        command = [bench, "--answers", answers(tmp_path, texts), "--questions", questions, "--upload", out, *option]
        assert f"{len([key for key in texts if key > 3])} answers are to none" in refusal(capsys, *command)
    twice = lines(tmp_path / "twice.jsonl", [{"question_id": 1, "text": text} for text in ("a", "b")])
    assert "a second answer to '1'" in refusal(capsys, bench, "--answers", twice, "--upload", out)
    assert not out.exists()


@pytest.mark.parametrize("name", ["²", "٣", "9" * 5000, "007", "VizWiz_test_1.jpg", "-1"])
def test_names_that_only_look_like_numbers_are_pictures(tmp_path, name):
    out = tmp_path / "upload.json"
    assert run(["score", "vqa", "--answers", str(answers(tmp_path, {name: "Two"})), "--upload", str(out)]) == 0
    assert json.loads(out.read_text()) == [{"image": name, "answer": "2"}]


def test_gqa(tmp_path, capsys):
    kinds = {"1": ("yes", "verify"), "2": ("table", "query"), "3": ("left", "choose"), "4": ("dog", "query")}
    labels = {
        key: {"answer": answer, "imageId": "9", "types": {"structural": kind}} for key, (answer, kind) in kinds.items()
    }
    texts = {"1": "Yes.", "2": "table", "3": "Left..", "4": "a dog"}
    result = score(
        capsys, "gqa", "--answers", answers(tmp_path, texts), "--references", whole(tmp_path / "l.json", labels)
    )
    assert (result["accuracy"], result["n"]) == (0.75, 4)
    assert (result["binary"]["accuracy"], result["open"]["accuracy"]) == (1, 0.5)
    assert result["by_structure"]["query"]["n"] == 2


@pytest.mark.parametrize("label", [{"imageId": "1"}, {"answer": None}, {"answer": 1}, {}])
def test_questions_of_gqa_without_an_answer_are_refused(tmp_path, capsys, label):
    """Those of the test split: every answer would be wrong, and an empty one right."""
    labels = whole(tmp_path / "l.json", {"1": {"answer": "yes"}, "2": label})
    command = ["gqa", "--answers", answers(tmp_path, {1: "yes", 2: ""}), "--references", labels]
    assert "l.json: 2: answer: " in refusal(capsys, *command)


OCR = "What is it?\nReference OCR token: a, b\nAnswer the question using a single word or phrase."
TOKENS_FIRST = "Reference OCR token: a, b\nwhat IS it?\nAnswer the question using a single word or phrase."
OLDER = "OCR tokens: a, b. Question: What is it? Short answer:"


@pytest.mark.parametrize("prompt", [OCR, TOKENS_FIRST, OLDER, "What is it?\nAnswer briefly."])
def test_textvqa_finds_the_question_in_the_prompt(tmp_path, capsys, prompt):
    rows = [
        {"image_id": "im", "question": "What is it?", "answers": ["a"] * 2 + ["stop"] * 8},
        {"image_id": "im", "question": "Who?", "answers": ["me"] * 10},
    ]
    given = lines(
        tmp_path / "a.jsonl",
        [
            {"question_id": "im", "prompt": "Who?\nAnswer briefly.", "text": "you"},
            {"question_id": "im", "prompt": prompt, "text": "STOP!"},
        ],
    )
    result = score(capsys, "textvqa", "--answers", given, "--references", whole(tmp_path / "l.json", {"data": rows}))
    assert (result["accuracy"], result["n"]) == (0.5, 2)


CASES = [
    ("red", "red", 1, 1, 1), ("Red.", "red", 1, 1, 1), ("It is red", "red", 1, 0, 1), ("", "red", 1, 0, 0),
    ("The batter is tapping it", "bat", 1, 0, 0), ("2", "two", 1, 0, 1), ("12", "two", 1, 0, 0), ("10", "ten", 1, 0, 1),
    ("blue", "red", 0, 0, 0), ("one two three four five red", "red", 1, 0, 0), ("re", "red", 1, 0, 0),
    ("A", "a", 0, 1, 0), ("a", "a", 1, 1, 0),
]  # fmt: skip


def test_cocoqa(tmp_path, capsys):
    rows = [{"predicted_answer": answer, "ground_truth": label} for answer, label, *_ in CASES]
    result = score(capsys, "cocoqa", "--answers", lines(tmp_path / "a.jsonl", rows))
    for name, column in (("containment", 2), ("exact", 3), ("length_controlled", 4)):
        assert result[name] == pytest.approx(sum(case[column] for case in CASES) / len(CASES)), name
        assert result[f"{name}_interval"][0] < result[name] < result[f"{name}_interval"][1]
    assert result["n"] == len(CASES) and result["empty"] == 1 and result["agreement"]["exact"]["same"] < 1


@pytest.mark.parametrize(("answer", "label", "right"), [case[:3] for case in CASES])
def test_containment_both_ways(answer, label, right):
    assert contained(answer, label) == bool(right)


def test_the_normaliser_is_handed_out():
    from lapilli import evaluation

    assert evaluation.normalize_answer is normalize_answer
