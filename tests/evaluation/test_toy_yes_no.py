"""The example of a yes-or-no benchmark, which CONTRIBUTING names; so would the test of a new one."""

import json

import pytest
from tests.evaluation.toy_yes_no import BENCHMARK
from tests.parts import joined, picture

from lapilli.cli import run
from lapilli.core.errors import LapilliError
from lapilli.evaluation.asking import evaluate
from lapilli.evaluation.benchmark import BENCHMARKS, Entry

LABELS = ("yes", "no", "yes", "no", "yes")


def written(folder, *labels):
    (folder / "images").mkdir(exist_ok=True)
    rows = []
    for number, label in enumerate(labels):
        picture(number).save(folder / f"images/{number}.png")
        rows.append({"image": f"{number}.png", "question": "Is there a kite?", "label": label})
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_figures_of_known_answers(tmp_path):
    """Yes, yes, yes, no, no: of three yeses two are right, of three that are there two are found."""
    answers = ["Yes.", "Yes, it is.", "yes", "No.", "no"]
    result = evaluate(BENCHMARK, written(tmp_path, *LABELS), 10, lambda samples, pictures: answers)
    score = next(one for one in result.scores if one.condition == "image" and one.type == "all")
    assert (score.accuracy.estimate, score.accuracy.n) == (pytest.approx(3 / 5), 5)
    assert score.precision.estimate == score.recall.estimate == score.f1.value == pytest.approx(2 / 3)
    shown = BENCHMARK.table(result.scores, result.constants)
    assert [row[:2] for row in shown.rows] == [["image", "5"], ["blank", "5"], ["always yes", "5"]]
    assert all(len(row) == len(shown.columns) for row in shown.rows)


def test_a_model_is_asked(tmp_path, capsys, monkeypatch):
    entry = Entry("tests.evaluation.toy_yes_no", "yes or no: your own questions", "accuracy, precision, recall, F1")
    monkeypatch.setitem(BENCHMARKS, "toy_yes_no", entry)
    arguments = ["toy_yes_no", "--data", str(written(tmp_path, *LABELS)), "--questions", "3", "--json"]
    assert run(["eval", str(joined("clip", "llama")), *arguments]) == 0
    found = json.loads(capsys.readouterr().out)["scores"]
    assert {row["condition"]: row["accuracy"]["n"] for row in found} == {"image": 3, "blank": 3}


@pytest.mark.parametrize(("labels", "what"), [((), "no questions"), (("yes", "perhaps"), "questions.jsonl:2: label")])
def test_what_cannot_be_asked_is_refused(tmp_path, labels, what):
    with pytest.raises(LapilliError, match=what):
        BENCHMARK.read(written(tmp_path, *labels), "", 10)


def test_a_missing_picture_is_named(tmp_path):
    written(tmp_path, *LABELS)
    (tmp_path / "images/1.png").unlink()
    with pytest.raises(LapilliError, match=r"question '1': .*1\.png"):
        BENCHMARK.read(tmp_path, "", 10)
