"""A run from questions to a scorecard: sifted, measured by one process or two, broken off, gone on with."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.inspection.runs import path_of
from tests.parts import IMAGE_SIZE, picture
from tests.studies.scorecard.held import log_prob

from lapilli.core.errors import LapilliError
from lapilli.core.run import RunDir
from lapilli.data.pictures import open_picture
from lapilli.data.questions import read_picture_questions
from lapilli.inference.answer import answer
from lapilli.inspection.answer_words import answer_words
from lapilli.inspection.intervention.removal import blurred
from lapilli.inspection.intervention.replacement_pictures import shipped
from lapilli.inspection.recording import answered
from lapilli.model.llava import load
from lapilli.studies.scorecard import sift
from lapilli.studies.scorecard.assemble import scorecard
from lapilli.studies.scorecard.case import case_of
from lapilli.studies.scorecard.curves import Curves
from lapilli.studies.scorecard.job import Job, kept_of
from lapilli.studies.scorecard.plan import Plan
from lapilli.studies.scorecard.run import measure
from lapilli.studies.scorecard.sift import drawn, keep

LEFT_OUT = ("overall_color", "most_pictures", "no_picture")
PLAN = Plan(
    questions=4,
    operators=("drop", "knockout"),
    methods=("centre", "attention, best layer", "direct", "TAM"),
    sanity=2,
    costs=2,
)


def silent(step, done, total):
    pass


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Questions whose right answers are what the model says, with boxes around what they are about."""
    data = tmp_path_factory.mktemp("asked") / "data"
    (data / "images").mkdir(parents=True)
    rows = []
    for number in range(6):
        picture(number).save(data / "images" / f"{number}.png")
        box = [0.1 * number, 0.2, 0.1 * number + 0.4, 0.9]
        rows.append({"id": f"q{number}", "image": f"{number}.png", "question": f"What is in {number}?", "boxes": [box]})
    llava = load(path_of("deep"))
    write(data, [row | {"answer": "-"} for row in rows])
    questions = read_picture_questions(data)
    given = answer(llava, [one.sample for one in questions], lambda name: open_picture(data / "images", name), 4)
    write(data, [row | {"answer": one.text} for row, one in zip(rows, given, strict=True)])
    return data


def write(data, rows):
    (data / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def planned(data, **changed):
    """A job without a run, for what reads none."""
    return Job(Path(), path_of("deep"), data, replace(PLAN, **changed))


def gaps_of(found):
    return {(row["method"], row["operator"]): row for row in found["scores"] if row["metric"] == "gap"}


@pytest.fixture
def job(asked, tmp_path, monkeypatch):
    """What is to be measured, in a new folder; every right answer serves."""
    monkeypatch.setattr(sift, "VISUAL", -np.inf)
    run = RunDir.create(tmp_path / "run", {}, 0)
    job = Job(run.path, path_of("deep"), asked, PLAN)
    given = [(one, one.answer) for one in drawn(job)]
    run.save("kept", keep(load(path_of("deep")), job, given, silent))
    return job


def test_a_run_becomes_a_scorecard(job):
    measure(job, silent, 1)
    found = job.run.load("scorecard")
    assert found["counts"] == {"given": 6, "asked": 4, "right": 4, "kept": 4} | dict.fromkeys(LEFT_OUT, 0)
    assert [method["name"] for method in found["methods"]] == [
        "random",
        "centre",
        "attention, best layer",
        "direct",
        "TAM",
    ]
    gaps = gaps_of(found)
    cases = [job.run.load_arrays(f"case-{number:04d}") for number in range(4)]
    mean = np.mean([Curves(one["morf"][1, 7], one["lerf"][1, 7]).gap for one in cases])
    assert gaps["direct", "knockout"]["value"] == pytest.approx(mean) and gaps["direct", "knockout"]["n"] == 4
    assert {row["metric"] for row in found["scores"]} >= {"pointing", "energy", "precision", "flip", "slope"}
    chance = {metric["name"]: metric["chance"] for metric in found["metrics"]}
    assert [chance[name] for name in ("pointing", "energy", "precision")] == pytest.approx(
        np.mean([one["chance"] for one in cases], axis=0)
    )
    assert {row["test"] for row in found["sanity"]} >= {"random head", "bfloat16", "other seed"}
    assert found["sanity"][0]["method"] == "direct"  # ours first
    same = {row["method"]: row["value"] for row in found["sanity"] if row["test"] == "other seed"}
    assert same.pop("random") < 0.9 and same == pytest.approx(
        {"centre": 1, "attention, best layer": 1, "direct": 1, "TAM": 1}
    )  # draw nothing
    assert len(found["examples"]) == 4 and found["examples"][0]["picture"].startswith("data:image/png;base64,")
    assert str(job.data.parent) not in json.dumps(found)  # where folders lie is nobody's business


def test_a_scorecard_says_how_long_a_map_takes_and_what_the_time_buys(job):
    run, seconds = (
        job.run,
        {"random": [3, 1], "centre": [1, 4], "attention, best layer": [3, 3], "direct": [9, 5], "TAM": [6, 10]},
    )
    rest = {"forwards": 2.0, "backwards": 1, "memory": None}
    run.save("cost", {name: [{"seconds": float(one)} | rest for one in some] for name, some in seconds.items()})
    measure(job, silent, 1)
    found = scorecard(job)
    said = [tuple(method["seconds"][key] for key in ("value", "low", "high", "n")) for method in found["methods"]]
    assert said == [(2, 1, 3, 2), (2.5, 1, 4, 2), (3, 3, 3, 2), (7, 5, 9, 2), (8, 6, 10, 2)]
    gaps, names = gaps_of(found), list(seconds)  # the fastest first
    for operator, front in found["front"].items():
        of = [gaps[name, operator]["value"] for name in names]
        assert front == [name for number, name in enumerate(names) if of[number] > max(of[:number], default=-np.inf)]


def test_two_processes_measure_the_same(job, tmp_path):
    measure(job, silent, 1)
    other = RunDir.create(tmp_path / "other", {}, 0)
    other.save("kept", job.run.load("kept"))
    measure(replace(job, folder=other.path), silent, 2)
    for number in range(4):
        one, two = (run.load_arrays(f"case-{number:04d}") for run in (job.run, other))
        for name in one:
            np.testing.assert_allclose(one[name], two[name], rtol=1e-4, atol=2e-4, err_msg=name)


def test_what_is_there_is_not_measured_again(job):
    def stop(step, done, total):
        if step == "cases" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(job, stop, 1)
    files = sorted((job.folder / "results").glob("case-*.npz"))
    times = [file.stat().st_mtime_ns for file in files]
    assert len(files) == 2 and not list((job.folder / "results").glob(".*"))
    measure(job, silent, 1)
    assert [file.stat().st_mtime_ns for file in files] == times
    assert len(list((job.folder / "results").glob("case-*.npz"))) == 4


def test_questions_that_do_not_serve_are_counted(asked, monkeypatch):
    llava, questions, job = load(path_of("deep")), read_picture_questions(asked), planned(asked)
    with pytest.raises(LapilliError, match="of 6 questions, one of a picture, 0 are answered"):
        keep(llava, job, [(one, "something else") for one in questions], silent)
    monkeypatch.setattr(sift, "VISUAL", np.inf)
    with pytest.raises(LapilliError, match="6 are answered rightly, and none needs its picture"):
        keep(llava, job, [(one, one.answer) for one in questions], silent)


def losses(llava, data, question):
    """What words lose without the picture, by whole runs: the key word blurred and swapped, and the most swapped."""
    seen = open_picture(data / "images", question.image)
    encoded = answered(llava, question.sample, question.answer)
    case = case_of(llava, question.sample, encoded, picture=seen, other=seen, seed=0)
    _, words = answer_words(case.trace)

    def of(word, view):
        one = replace(case, word=slice(*word))
        return log_prob(one, case.pixels) - log_prob(one, llava.pixels([view]))

    by_word = {word: of(word, blurred(case.view)) for word in words}
    medians = {word: np.median([of(word, other) for other in shipped(IMAGE_SIZE)]) for word in words}
    key = max(by_word, key=by_word.get)
    return by_word[key], medians[key], max(medians.values())


def test_what_a_right_answer_needs_is_what_its_words_lose_without_their_picture(asked, monkeypatch):
    llava, questions = load(path_of("deep")), read_picture_questions(asked)
    found = np.array([losses(llava, asked, one) for one in questions])
    seen = set()
    for bar in np.quantile(found, np.linspace(0.05, 0.95, 10)):
        blur, key, most = (found > bar).T
        wanted = {
            "kept": blur & key,
            "overall_color": ~blur & most,
            "most_pictures": blur & ~key,
            "no_picture": ~(blur | most),
        }
        monkeypatch.setattr(sift, "VISUAL", bar)
        if (blur & key).sum() < 2:
            continue
        job = planned(asked, questions=len(questions))
        counts = keep(llava, job, [(one, one.answer) for one in questions], silent)["counts"]
        assert counts == {"asked": 6, "right": 6} | {name: int(some.sum()) for name, some in wanted.items()}
        seen |= {name for name, count in counts.items() if count}
    assert seen >= {"kept", *LEFT_OUT}


def test_questions_are_drawn_one_of_a_picture(asked, tmp_path):
    lines = (asked / "questions.jsonl").read_text().splitlines()
    (tmp_path / "images").symlink_to(asked / "images")
    write(tmp_path, [{**json.loads(line), "id": f"{turn}{line[8:10]}"} for line in lines for turn in "ab"])
    found = drawn(planned(tmp_path, seed=1))
    assert sorted(one.image for one in found) == sorted(one.image for one in read_picture_questions(asked))
    assert [one.id for one in found] != [one.id for one in drawn(planned(tmp_path, seed=2))]


MEASURING = """
import sys
from pathlib import Path

from tests.studies.scorecard.test_run import PLAN, silent

from lapilli.studies.scorecard.job import Job
from lapilli.studies.scorecard.run import measure

run, model, data = map(Path, sys.argv[1:])
measure(Job(run, model, data, PLAN), silent, 2)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc, in which Linux lists processes")
def test_processes_end_when_their_parent_is_killed(job):
    """Else they would go on writing into a folder that somebody else may have gone on with."""
    parent = subprocess.Popen([sys.executable, "-c", MEASURING, job.folder, job.model, job.data])
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    assert _within(60, lambda: list((job.folder / "results").glob("case-*.npz")))
    pool = [Path("/proc", child) for child in children.read_text().split()]
    assert len(pool) >= 2
    parent.kill()
    parent.wait()
    assert _within(20, lambda: not any(child.exists() for child in pool))


def test_what_an_older_version_kept_is_not_gone_on_with():
    with pytest.raises(LapilliError, match="begun by an older version: no count of overall_color, most_pictures"):
        kept_of({"counts": {"asked": 6, "right": 6, "kept": 4}, "kept": []})


def _within(seconds, holds):
    end = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < end:
        time.sleep(0.05)
    return found
