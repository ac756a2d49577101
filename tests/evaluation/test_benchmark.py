"""The registry, and what every benchmark in it has; a benchmark of one's own, through the command line's function."""

import json
import re
from pathlib import Path

import pytest
from tests.evaluation import toy
from tests.parts import joined, picture

from lapilli.cli import run
from lapilli.core.errors import UsageError
from lapilli.core.run import RunDir
from lapilli.evaluation.asking import CONDITIONS, HISTORIES, ask
from lapilli.evaluation.benchmark import BENCHMARKS, TEXT, Entry, benchmark, percent, with_interval
from lapilli.evaluation.published.protocol import ASKED

ROWS = [
    {"id": str(at), "image": f"{at}.png", "text": "What is it?", "answers": ["ring", "a ring" if at % 2 else "star"]}
    for at in range(3)
]


@pytest.fixture
def data(tmp_path):
    (tmp_path / "images").mkdir()
    for at in range(3):
        picture(at).save(tmp_path / f"images/{at}.png")
    (tmp_path / "toy.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return tmp_path


def evaluate(*arguments):
    return run(["eval", str(joined("clip", "llama")), *map(str, arguments)])


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_every_entry_leads_to_a_benchmark_of_its_name(name):
    one = benchmark(name)
    assert one.name == name and BENCHMARKS[name].summary and BENCHMARKS[name].figures
    assert one.rounds and {condition for _, condition in one.rounds} <= {*CONDITIONS, *HISTORIES, TEXT}
    assert len(set(one.rounds)) == len(one.rounds)


def test_an_unknown_name_is_refused_with_the_list_of_the_registry(monkeypatch):
    for wrong in ("vqav2", "", "Scenes", "scenes,pope"):
        with pytest.raises(UsageError, match=f"no benchmark {wrong!r}; there are: {', '.join(BENCHMARKS)}; or give"):
            benchmark(wrong)
    monkeypatch.setitem(BENCHMARKS, "toy", Entry("tests.evaluation.toy", "a toy", "shares"))
    with pytest.raises(UsageError, match=f"there are: {', '.join(BENCHMARKS)}; or give"):
        benchmark("vqav2")


def test_a_benchmark_of_one_s_own_needs_one_entry(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(BENCHMARKS, "toy", Entry("tests.evaluation.toy", "a toy", "shares"))
    assert evaluate("toy", "--data", data, "--questions", 2, "--json", "--out", tmp_path / "run") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["benchmark"], row["condition"], row["share"]["n"]) for row in found["scores"]] == [
        ("toy", "image", 2), ("toy", "language_only", 2),
    ]  # fmt: skip
    assert [row["share"]["estimate"] for row in found["constants"]] == [1]
    answers = RunDir.open(tmp_path / "run").load("answers")
    assert [(row["question"]["id"], row["condition"]) for row in answers] == [
        (str(at), condition) for condition in ("image", "language_only") for at in range(2)
    ]
    assert all(row["normalised"] == toy.normalise(row["given"]) for row in answers)


def test_questions_that_are_not_drawn_need_their_folder(data, capsys, monkeypatch):
    monkeypatch.setitem(BENCHMARKS, "toy", Entry("tests.evaluation.toy", "a toy", "shares"))
    assert evaluate("toy") == 2
    assert "toy: its questions are not drawn but read; give their folder with --data" in capsys.readouterr().err


def test_the_prompt_stands_behind_the_picture_and_alone_without_one(data):
    asked = []

    def answer(samples, _):
        asked.extend(samples)
        return [""] * len(samples)

    questions = toy.read(data, "", 1)
    for condition in ("image", "language_only"):
        ask(toy.BENCHMARK, questions, data, condition, answer)
    assert [(sample.images, sample.turns[0].text) for sample in asked] == [
        (("0.png",), "<image>\nWhat is it? Answer with one word."),
        ((), "What is it? Answer with one word."),
    ]


def test_shares_as_cells():
    assert (percent(0.125), percent(1.0), percent(float("nan"))) == ("12.5", "100.0", "–")
    assert with_interval(0.5, 0.125, 0.875) == "50.0 [12, 88]"
    assert with_interval(float("nan"), 0.0, 1.0) == "–"


def test_the_page_has_every_benchmark_and_shows_one_as_it_is():
    root = Path(__file__).parents[2]
    page = (root / "docs/evaluating.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([\w-]+)` \|", page, re.M) == [*BENCHMARKS, *ASKED]
    (shown,) = re.findall(r"```python\n(.*?)```", page, re.S)
    assert (root / "src/lapilli/evaluation/pope.py").read_text(encoding="utf-8").endswith(shown)


def test_a_figure_without_an_interval_is_printed_without_one():
    nan = float("nan")
    assert [with_interval(*one) for one in ((1.0, nan, nan), (nan, 0.0, 1.0), (0.5, 0.25, 0.75))] == [
        "100.0",
        "–",
        "50.0 [25, 75]",
    ]
