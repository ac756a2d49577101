"""POPE, against the authors' rule as it is written down, and by hand."""

import random

import pytest
from tests.evaluation.published.files import answers, lines, refusal, score

SHORT = "\nAnswer the question using a single word or phrase."
SPLITS = ("adversarial", "popular", "random")
TEXTS = (
    "Yes", "No", "yes.", "no", "No, there is not.", "There is no dog. Yes.", "Yes, there is no doubt", "NO", "Nothing",
    "", "Not really", "It is not there", "I can see a dog.", "nope", "No.", " No", "yes,no", "There isn't", "not",
)  # fmt: skip


def expected_word(text):
    text = text[: text.find(".")] if "." in text else text
    words = "".join(character for character in text if character != ",").split(" ")
    return "no" if any(word in words for word in ("No", "not", "no")) else "yes"


@pytest.fixture
def files(tmp_path):
    """Questions of three splits about the same pictures, whose labels are numbered otherwise and in another order."""
    rng = random.Random(1)
    questions, labels = [], {split: [] for split in SPLITS}
    for number in range(60):
        split, image = SPLITS[number % 3], f"COCO_val2014_{number // 9:012}.jpg"
        text, label = f"Is there a thing {number // 3 % 3} in the image?", ("yes", "no")[number // 3 % 2]
        labels[split].append({"image": image, "text": text, "label": label})
        questions.append({"question_id": number, "image": image, "text": text + SHORT, "category": split})
    paths = []
    for split, rows in labels.items():
        rng.shuffle(rows)
        rows = [{"question_id": 1 + at, **row} for at, row in enumerate(rows)]
        paths.append(lines(tmp_path / f"coco_pope_{split}.json", rows))
    texts = {row["question_id"]: TEXTS[row["question_id"] % len(TEXTS)] for row in questions}
    shuffled = list(texts)
    rng.shuffle(shuffled)
    given = answers(tmp_path, {key: texts[key] for key in shuffled})
    return lines(tmp_path / "questions.jsonl", questions), given, paths, questions, texts, labels


def arguments(files):
    return ["pope", "--questions", files[0], "--answers", files[1], "--references", *files[2]]


def test_every_split_is_that_of_the_authors_rule(files, capsys):
    *_, questions, texts, labels = files
    result = score(capsys, *arguments(files))
    f1s = []
    for split in SPLITS:
        truth = {(row["image"], row["text"]): row["label"] for row in labels[split]}
        pairs = [
            (expected_word(texts[row["question_id"]]), truth[row["image"], row["text"].removesuffix(SHORT)])
            for row in questions
            if row["category"] == split
        ]
        tp, fp, tn, fn = (pairs.count(pair) for pair in (("yes", "yes"), ("yes", "no"), ("no", "no"), ("no", "yes")))
        of = result["splits"][split]
        assert [of[name] for name in ("n", "tp", "fp", "tn", "fn")] == [20, tp, fp, tn, fn]
        precision, recall = tp / (tp + fp), tp / (tp + fn)
        f1s.append(2 * precision * recall / (precision + recall))
        assert of["accuracy"] == pytest.approx((tp + tn) / 20) and of["yes_share"] == pytest.approx((tp + fp) / 20)
        assert [of["precision"], of["recall"], of["f1"]] == pytest.approx([precision, recall, f1s[-1]])
        assert all(of[f"{name}_interval"][0] <= of[name] <= of[f"{name}_interval"][1] for name in ("accuracy", "f1"))
    assert result["f1"] == pytest.approx(sum(f1s) / 3) and result["unmatched"] == 0
    assert result["f1_interval"][0] < result["f1"] < result["f1_interval"][1]


def test_neither_is_counted_beside_the_authors_rule(files, capsys):
    """By that rule an empty answer is a yes."""
    result = score(capsys, *arguments(files))
    neither = sum(of["neither"] for of in result["splits"].values())
    assert neither == sum(files[4][key] in ("", "Nothing", "I can see a dog.", "nope") for key in files[4])


def test_labels_that_lack_a_question_are_an_error_and_left_out_if_allowed(files, capsys):
    """RePOPE leaves out what its annotators found ambiguous."""
    path = files[2][0]
    kept = path.read_text().splitlines()[:-2]
    path.write_text("\n".join(kept))
    assert "2 answers have no label" in refusal(capsys, *arguments(files))
    result = score(capsys, *arguments(files), "--allow-unmatched")
    assert result["splits"]["adversarial"]["n"] == 18 and result["unmatched"] == 2


def test_a_split_without_a_yes_has_no_precision(tmp_path, capsys):
    rows = [{"question_id": at, "image": f"{at}.jpg", "text": "Is there a cat?", "category": "random"} for at in (1, 2)]
    questions = lines(tmp_path / "q.jsonl", rows)
    labels = lines(tmp_path / "coco_pope_random.json", [row | {"label": "no"} for row in rows])
    given = answers(tmp_path, {1: "No", 2: "no"})
    of = score(capsys, "pope", "--questions", questions, "--answers", given, "--references", labels)["splits"]["random"]
    assert of["precision"] is None and of["recall"] is None and of["f1"] is None and of["accuracy"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "maybe"}, "label 'maybe', yes or no expected"),
        ({"label": 1}, "label: a number"),
        ({"image": None}, "image: null, text expected"),
    ],
)
def test_a_label_of_another_form_is_refused(files, capsys, change, message):
    lines(files[2][1], [files[5]["popular"][0] | {"question_id": 1} | change])
    assert message in refusal(capsys, *arguments(files)) or "label" in message


def test_questions_are_needed_and_a_split_has_one_file(files, capsys):
    assert "give their file with --questions" in refusal(
        capsys, "pope", "--answers", files[1], "--references", *files[2]
    )
    assert "two files of the split" in refusal(capsys, *arguments(files), files[2][0])
