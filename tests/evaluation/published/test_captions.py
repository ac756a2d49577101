"""Captions, against pycocoevalcap's own functions over all of them, and by hand."""

import random

import numpy as np
import pytest
from tests.evaluation.published.files import lines, refusal, score, whole

pytest.importorskip("pycocoevalcap", reason="no pycocoevalcap")

from lapilli.evaluation.published.captions import bleu, judge, words
from lapilli.evaluation.published.captions import read_captions as read

WORDS = ["a", "the", "dog", "cat", "sits", "runs", "on", "under", "red", "small", "table", "mat"]


def captions(count, seed=2):
    rng = random.Random(seed)
    text = lambda: " ".join(rng.choices(WORDS, k=rng.randint(1, 9)))  # noqa: E731
    return {f"{at}": text() for at in range(count)}, {
        f"{at}": [text() for _ in range(1 + at % 5)] for at in range(count)
    }


@pytest.fixture
def files(tmp_path):
    made, labels = captions(40)
    made["3"], made["4"] = "", labels["4"][0]
    given = lines(tmp_path / "a.jsonl", [{"image_id": int(key), "caption": text} for key, text in made.items()])
    return given, whole(tmp_path / "labels.json", labels), made, labels


def test_all_figures_are_the_library_s(files, capsys):
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    given, path, made, labels = files
    result = score(capsys, "captions", "--answers", given, "--references", path)
    captions = {key: [text] for key, text in made.items()}
    assert result["cider"] == pytest.approx(Cider().compute_score(labels, captions)[0], abs=1e-12)
    assert result["rouge_l"] == pytest.approx(Rouge().compute_score(labels, captions)[0], abs=1e-12)
    expected = Bleu(4).compute_score(labels, captions, verbose=0)[0]
    assert [result[f"bleu_{n}"] for n in range(1, 5)] == pytest.approx(expected, rel=1e-9)
    for name in ("cider", "rouge_l", "bleu_4"):
        assert result[f"{name}_interval"][0] < result[name] < result[f"{name}_interval"][1]
    assert (result["n"], result["tokenizer"], result["audit"]["empty"]) == (40, "words", 1 / 40)


def test_labels_as_coco_has_them(files, tmp_path, capsys):
    given, path, _, labels = files
    annotations = [{"image_id": int(key), "id": 1, "caption": text} for key, texts in labels.items() for text in texts]
    coco = whole(tmp_path / "coco.json", {"annotations": annotations})
    one, other = (score(capsys, "captions", "--answers", given, "--references", of) for of in (path, coco))
    assert one == other


def test_raw_words_are_others_than_plain_ones(tmp_path, capsys):
    """Capitals and full stops are part of words that are split at spaces alone."""
    given = lines(tmp_path / "a.jsonl", [{"image_id": at, "caption": f"A Dog {at}."} for at in range(3)])
    labels = whole(tmp_path / "labels.json", {str(at): [f"a dog {at}"] for at in range(3)})
    result = score(capsys, "captions", "--answers", given, "--references", labels)
    assert (
        result["cider"] > 1 and result["cider_whitespace"] == 0 and words("A dog's Tail, here!") == "a dog's tail here"
    )


def test_bleu_by_hand(tmp_path):
    """Three of four words are in the label, one of three pairs; as long as the label."""
    given = lines(tmp_path / "a.jsonl", [{"image_id": 1, "caption": "the dog red sits"}])
    rows = judge([(read(given)[0], ("the dog sits down",))])
    weights = np.ones((1, 1))
    assert bleu(weights, rows, 1)[0] == pytest.approx(3 / 4)
    assert bleu(weights, rows, 2)[0] == pytest.approx((3 / 4 * 1 / 3) ** 0.5)


@pytest.mark.parametrize("labels", [[""], ["..."], [" ", "!?"], ["\u200b", ""]])
def test_labels_without_words_are_refused(tmp_path, capsys, labels):
    given = lines(tmp_path / "a.jsonl", [{"image_id": at, "caption": "a dog"} for at in (1, 2)])
    for of in ({"1": labels, "2": ["a dog"]}, {"1": labels, "2": labels}):
        command = ["captions", "--answers", given, "--references", whole(tmp_path / "labels.json", of)]
        assert "a.jsonl:1: no caption of picture '1' among the labels has words" in refusal(capsys, *command)


@pytest.mark.parametrize("value", [[], {"1": []}, {"1": "a"}, {"annotations": [1]}, {"annotations": [{"image_id": 1}]}])
def test_other_labels_are_refused(files, tmp_path, capsys, value):
    assert "labels" in refusal(
        capsys, "captions", "--answers", files[0], "--references", whole(tmp_path / "labels.json", value)
    )
