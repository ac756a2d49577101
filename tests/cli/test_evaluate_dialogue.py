"""`lapilli eval MODEL dialogue`, on a tiny random model: its own answers stand before each question, and are kept."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from tests.parts import joined

from lapilli.cli import run
from lapilli.core.run import RunDir
from lapilli.data.sample import Sample, Turn
from lapilli.data.scenes.dataset import write_scenes
from lapilli.evaluation.answer_log import BATCH
from lapilli.inference.answer import answer
from lapilli.inference.history import holdable
from lapilli.model.llava import load

CONDITIONS = ("image", "teacher_forced", "no_history", "blank")
COUNT = BATCH + 8  # two batches of first turns


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dialogue")
    write_scenes(folder / "held_out", 60, "held_out")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that has room for whole conversations."""
    folder = shutil.copytree(joined("clip", "llama"), tmp_path_factory.mktemp("model") / "model")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 512
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def arguments(data, model):
    def of(*more):
        return ["eval", *map(str, (model, "dialogue", "--data", data, "--questions", COUNT, *more))]

    return of


@pytest.fixture(scope="module")
def whole(arguments, tmp_path_factory):
    """The folder of a run that was not interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert run(arguments("--json", "--out", out)) == 0
    return out


def lines(folder):
    return (folder / "metrics.jsonl").read_text().splitlines()


def test_every_turn_is_kept_with_its_conversation(whole):
    saved = RunDir.open(whole)
    saved.verify()
    answers = saved.load("answers")
    keys = [(row["condition"], row["question"]["id"]) for row in answers]
    assert len(set(keys)) == len(keys) == len(lines(whole))
    later = sum(row["question"]["turn"] > 1 for row in answers if row["condition"] == "image")
    counts = {of: sum(row["condition"] == of for row in answers) for of in CONDITIONS}
    assert counts == {"image": COUNT + later, "teacher_forced": later, "no_history": later, "blank": COUNT + later}
    scores = saved.load("scores")
    (every,) = (
        row for row in scores
        if row.get("condition") == "image" and (row["turn"], row["earlier"]) == ("2+", "any")
    )  # fmt: skip
    assert every["share"]["n"] == later
    assert {row["turn"] for row in scores} == {row["turn"] for row in saved.load("constants")} == {*"1234", "2+"}


def test_a_later_question_is_answered_behind_the_model_s_own_answers(data, model, whole):
    """The logged answer is that of the whole conversation, asked alone."""
    answers = RunDir.open(whole).load("answers")
    rows = [row for row in answers if row["condition"] == "image"]
    last = next(row for row in rows if row["question"]["turn"] == 3)
    talk = [row for row in rows if row["question"]["conversation"] == last["question"]["conversation"]][:3]
    turns = [Turn(role, text) for row in talk for role, text in (("user", row["prompt"]), ("assistant", row["given"]))]
    first = Turn("user", f"<image>\n{talk[0]['prompt']}")
    llava = load(model)
    sample = holdable(llava, Sample("s", (last["question"]["image"],), (first, *turns[1:-1])))
    assert answer(llava, [sample], data / "held_out/images")[0].text == last["given"]


def test_the_table_fits_a_terminal_and_the_page_has_whole_conversations(arguments, whole, capsys):
    assert run(arguments("--out", whole)) == 0  # of a finished run: it is drawn again
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown[:-1])) <= 80 and "…" not in "".join(shown) and shown[-1] == str(whole / "eval.html")
    names = [line.split("  ")[0].strip() for line in shown if line.strip() and line.strip()[0] in "1234"]
    assert names[:2] == ["1", "2"] and "2+ wrong" in names and "2 wrong" in names
    page = (whole / "eval.html").read_text(encoding="utf-8")
    cards = page.split("<li>")[1:]
    assert len(cards) == COUNT and f"Wrong at some turn: {COUNT} conversations" in page
    assert all("turn 1, " in card and "turn 2, " in card for card in cards)
    assert page.count("after the right answers: ") == page.count("without the earlier turns: ") > COUNT


@pytest.mark.parametrize("kept", [5, COUNT, COUNT + 9, -3])
def test_a_run_that_was_cut_off_at_any_turn_goes_on(kept, arguments, whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / "run")
    for name in ("manifest.json", "results/scores.json", "results/answers.json"):
        (out / name).unlink()
    (out / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines(out)[:kept]) + '{"benchmark": "dia')
    assert run(arguments("--json", "--out", out)) == 0
    for name in ("metrics.jsonl", "results/answers.json", "results/scores.json", "eval.html"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_killed_run_goes_on_and_asks_nothing_twice(arguments, whole, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-c", "from lapilli.cli import main; main()", *arguments("--out", out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log, deadline = out / "metrics.jsonl", time.monotonic() + 240
    while not (log.is_file() and log.read_bytes().count(b"\n") > COUNT) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = lines(out)
    assert COUNT < len(before) < len(lines(whole)) and not (out / "manifest.json").exists()
    assert run(arguments("--json", "--out", out)) == 0
    assert lines(out)[: len(before)] == before
    for name in ("metrics.jsonl", "results/answers.json", "results/scores.json", "eval.html"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.parametrize("options", [("--shard", "1/2"), ("--answers", "nowhere")])
def test_conversations_are_not_shared_out(options, arguments, tmp_path, capsys):
    assert run(arguments(*options, "--out", tmp_path / "run")) == 2
    message = f"lapilli: {options[0]}: dialogue asks behind the answers to earlier questions"
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_there_are_no_choices(arguments, capsys):
    assert run(arguments("--choose")) == 2
    assert "--choose: dialogue has no choices; leave it out" in capsys.readouterr().err
