"""`lapilli scorecard`, from the command line to the page."""

import json
import re

import numpy as np
import pytest
from tests.inspection.runs import path_of
from tests.parts import picture

from lapilli.cli import run
from lapilli.cli.console import results
from lapilli.cli.scorecard_tables import print_gaps, print_head
from lapilli.core.run import RunDir
from lapilli.studies.scorecard import run as runs
from lapilli.studies.scorecard import sift

FEW = ("--method", "direct", "--method", "centre", "--operators", "drop,knockout", "--questions", 2, "--processes", 1)


def _scorecard(*arguments):
    return run(["scorecard", *map(str, arguments)])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three pictures and questions whose right answers are what the model says."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir()
    rows = []
    for number in range(3):
        picture(number).save(folder / "images" / f"{number}.png")
        rows.append({"id": f"q{number}", "image": f"{number}.png", "question": "What is it?", "answer": "-"})
    from lapilli.data.pictures import open_picture
    from lapilli.data.questions import read_picture_questions
    from lapilli.inference.answer import answer
    from lapilli.model.llava import load

    file = folder / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [one.sample for one in read_picture_questions(folder)]
    given = answer(load(path_of("deep")), asked, lambda name: open_picture(folder / "images", name))
    file.write_text(
        "".join(json.dumps(row | {"answer": one.text}) + "\n" for row, one in zip(rows, given, strict=True))
    )
    return folder


@pytest.fixture(autouse=True)
def every_answer_serves(monkeypatch):
    monkeypatch.setattr(sift, "VISUAL", -np.inf)


def test_json_is_one_object_and_the_folder_is_whole(data, tmp_path, capsys):
    out = tmp_path / "card"
    assert _scorecard(path_of("deep"), data, "--out", out, *FEW, "--json") == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert said.out.count("\n") == 1 and said.err == ""
    assert [method["name"] for method in found["methods"]] == ["random", "centre", "direct"]
    assert not {row["metric"] for row in found["scores"]} & {"pointing", "energy"}  # nobody knows where things are
    saved = RunDir.open(out)
    saved.verify()
    page = (out / "scorecard.html").read_text()
    assert "direct" in page and str(tmp_path) not in page
    assert (found["counts"]["given"], found["counts"]["kept"]) == (3, 2)


def test_what_is_left_out_is_counted_apart(capsys):
    counts = {"given": 9, "asked": 9, "right": 8, "kept": 2}
    for left_out, said in (
        ({}, ""),
        ({"overall_color": 4}, "left out: 4 where the picture's overall color is enough"),
        ({"most_pictures": 1, "no_picture": 0}, "left out: 1 that most pictures leave about as likely"),
        ({"overall_color": 3, "no_picture": 3}, "color is enough, 3 that need no picture"),
    ):
        print_head({"losses": [], "counts": counts | left_out})
        found = capsys.readouterr().out
        assert said in found and ("left out" in found) == bool(left_out)


def test_of_two_questions_our_best_is_compared_on_one_without_an_interval(data, tmp_path, capsys):
    ours = ["--method", "direct", "--method", "all paths, to tokens", "--operators", "drop", "--questions", 2]
    assert _scorecard(path_of("deep"), data, "--out", tmp_path / "card", *ours) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"chosen on 1 question and compared on 1: gap −?\d\.\d{3} [^\[–]", said)
    assert "Cannot be tested: too few questions (1 to compare on)." in said


@pytest.mark.parametrize(
    ("ends", "said"), [((None, None), "0.25"), ((0.2, None), "0.25"), ((0.2, 0.3), "0.25 [0.20, 0.30]")]
)
def test_the_table_of_gaps_has_the_intervals_that_there_are(ends, said, capsys):
    head = {"method": "direct", "operator": "drop", "metric": "gap"}
    print_gaps({
        "settings": {"primary": "drop", "operators": [{"name": "drop"}]}, "counts": {"kept": 1},
        "scores": [head | {"value": 0.25, "low": ends[0], "high": ends[1], "n": 1}],
        "methods": [{"name": "direct", "ours": True, "seconds": {"value": 0.1}}],
    })  # fmt: skip
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("direct"))
    assert line.split("*")[1].split("–")[0].strip() == said


def test_a_table_is_printed_and_another_card_drawn_beside_it(data, tmp_path, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    assert _scorecard(path_of("deep"), data, "--out", one, *FEW) == 0
    said = capsys.readouterr().out
    assert "direct *" in said and "knockout" in said and said.strip().endswith("scorecard.html")
    assert "likeness to the first map" in said  # the sanity block
    assert "With fewer than 30 questions intervals are too narrow" in said
    assert _scorecard(path_of("deep"), data, "--out", two, *FEW, "--seed", 1, "--beside", one, "--json") == 0
    assert (two / "scorecard.html").stat().st_size > (one / "scorecard.html").stat().st_size
    capsys.readouterr()

    def again(*beside):
        assert _scorecard(path_of("deep"), data, "--out", two, *FEW, "--seed", 1, *beside, "--json") == 0
        return (two / "scorecard.html").read_text(), json.loads(capsys.readouterr().out)

    measured = {file: file.stat().st_mtime_ns for file in (two / "results").iterdir()}
    (alone, found), (both, same) = again(), again("--beside", one)
    tau = same.pop("between_models")
    assert len(both) > len(alone) and found == same
    assert (
        f"{found['model']} (one)" in both and f"{found['model']} (" not in alone
    )  # of one model: the folder tells them apart
    assert (tau["one"], tau["n"]) == (found["model"], 3) and -1 <= tau["low"] <= tau["tau"] <= tau["high"] <= 1
    assert {file: file.stat().st_mtime_ns for file in (two / "results").iterdir()} == measured
    RunDir.open(two).verify()


def test_what_is_drawn_beside_it_is_another_scorecard_that_has_finished(data, tmp_path, capsys):
    out, begun = tmp_path / "card", tmp_path / "begun"
    RunDir.create(begun, {}, 0).save("scorecard", {})  # measured, and broken off before it had finished
    for beside, code, message in (
        (out, 2, "that is --out itself"),
        (begun, 2, "no scorecard that has finished is there"),
        (tmp_path / "nothing", 1, "not a run folder"),
    ):
        assert _scorecard(path_of("deep"), data, "--out", out, *FEW, "--beside", beside) == code
        assert message in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize(("done", "goes_on"), [(0, False), (1, True)])
def test_interrupted_it_says_that_the_same_command_goes_on(done, goes_on, data, tmp_path, monkeypatch, capsys):
    out, score = tmp_path / "card", runs.score
    scored = []

    def interrupted(*arguments, **options):
        if len(scored) == done:
            raise KeyboardInterrupt
        scored.append(score(*arguments, **options))
        return scored[-1]

    monkeypatch.setattr(runs, "score" if goes_on else "sifted", interrupted)
    assert _scorecard(path_of("deep"), data, "--out", out, *FEW) == 130
    assert ("stopped; the same command goes on" in capsys.readouterr().err) == out.exists() == goes_on
    monkeypatch.undo()
    monkeypatch.setattr(sift, "VISUAL", -np.inf)
    assert _scorecard(path_of("deep"), data, "--out", out, *FEW) == 0
    RunDir.open(out).verify()


def test_without_a_question_that_serves_no_run_is_begun(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sift, "VISUAL", np.inf)
    assert _scorecard(path_of("deep"), data, "--out", tmp_path / "card", *FEW) == 1
    assert "none needs its picture" in capsys.readouterr().err and not (tmp_path / "card").exists()


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("--operators", "smash"), "operator 'smash': unknown", 2),
        (("--questions", "1"), "should be greater than or equal to 2", 2),
        (("--method", "magic"), "method 'magic': unknown", 2),
        (("--plus", "nothing.py"), "nothing.py: no Python file", 1),
    ],
)
def test_nothing_is_begun_with_what_is_not_there(arguments, message, code, data, tmp_path, capsys):
    out = tmp_path / "card"
    assert _scorecard(path_of("deep"), data, "--out", out, *arguments) == code
    assert message in capsys.readouterr().err and not out.exists()


def test_models_and_questions_must_be_there(data, tmp_path, capsys):
    out = tmp_path / "card"
    assert _scorecard(tmp_path / "none", data, "--out", out) == 2
    assert "none: no such folder" in capsys.readouterr().err
    assert _scorecard(tmp_path, data, "--out", out) == 1
    assert _scorecard(path_of("deep"), tmp_path, "--out", out) == 1
    assert "questions.jsonl: no such file; make scenes" in capsys.readouterr().err and not out.exists()
    assert _scorecard(path_of("deep"), data.parent, "--out", out) == 1
    assert f"give a folder that has one: {data}" in capsys.readouterr().err and not out.exists()


def test_another_recipe_needs_another_folder(data, tmp_path, capsys):
    out = tmp_path / "card"
    assert _scorecard(path_of("deep"), data, "--out", out, *FEW) == 0
    (out / "manifest.json").unlink()
    assert _scorecard(path_of("deep"), data, "--out", out, *FEW, "--seed", 9) == 1
    assert "of another recipe" in capsys.readouterr().err


def test_what_a_file_lists_is_part_of_the_recipe(data, tmp_path, capsys):
    """Half of the cases measured by one function and half by another would be neither."""
    out, mine = tmp_path / "card", tmp_path / "mine.py"
    text = (
        "import numpy as np\n"
        "from lapilli.studies.scorecard.method import Method\n\n\n"
        'def mine(case):\n    """Nothing."""\n    return np.zeros(len(case.patches))\n\n\n'
        'METHODS = (Method("mine", "floor", mine),)\n'
    )
    mine.write_text(text)
    assert _scorecard(path_of("deep"), data, "--out", out, *FEW, "--plus", mine, "--method", "mine", "--json") == 0
    assert "mine" in {method["name"] for method in json.loads(capsys.readouterr().out)["methods"]}
    (out / "manifest.json").unlink()
    mine.write_text(text.replace("zeros", "ones"))
    assert _scorecard(path_of("deep"), data, "--out", out, *FEW, "--plus", mine, "--method", "mine") == 1
    assert "of another recipe" in capsys.readouterr().err


def test_a_device_that_is_not_there_is_said_first(data, tmp_path):
    assert _scorecard(path_of("deep"), data, "--out", tmp_path / "card", *FEW, "--device", "cuda:9") != 0
    assert not (tmp_path / "card").exists()


ODD = """
import numpy as np
from lapilli.studies.scorecard.method import Method


def odd(case):
    \"\"\"Nothing.\"\"\"
    return np.zeros(len(case.patches))


METHODS = [Method("[bold]mine [/x] :smile:", "floor", odd)]
"""


def test_a_method_of_ones_own_is_always_measured_and_its_name_is_no_markup(data, tmp_path, capsys):
    mine = tmp_path / "mine.py"
    mine.write_text(ODD)
    assert _scorecard(path_of("deep"), data, "--out", tmp_path / "card", *FEW, "--plus", mine) == 0
    said = capsys.readouterr().out
    assert "[/x]" in said and ":smile:" in said and "[bold]" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_here\n", "No module named 'nothing_here'; install it"),
        (ODD.replace('"floor"', '"cheap"'), "is of family 'cheap'; choose among floor, zero-pass"),
        ("METHODS = (1,)\n", "lists no METHODS"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text, said, data, tmp_path, capsys):
    mine = tmp_path / "mine.py"
    mine.write_text(text)
    assert _scorecard(path_of("deep"), data, "--out", tmp_path / "card", "--plus", mine) == 1
    assert f"{mine}: " in (told := capsys.readouterr().err) and said in told


def test_the_sanity_table_is_whole_on_a_narrow_terminal(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, "_width", 80)
    assert _scorecard(path_of("deep"), data, "--out", tmp_path / "card", *FEW) == 0
    said = capsys.readouterr().out
    rows = [line.split() for line in said.partition("bfloat16")[2].splitlines()]
    assert "…" not in said and [row[0] for row in rows if len(row) == 12] == ["direct", "random", "centre"]
