"""`lapilli eval MODEL my_questions.csv`, on a tiny random model: what is asked, kept, gone on with and refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from tests.parts import joined, picture

from lapilli.cli import run
from lapilli.core.run import RunDir
from lapilli.evaluation.own import SHORT
from lapilli.studies.evaluate import model_files

CONDITIONS = ("image", "blank", "swapped")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(4):
        picture(number, 40, 30).save(tmp_path / f"photos/{number}.jpg")
    rows = [f"{n % 4}.jpg;What is this, {n}?;red|<b>blue</b>;{'color' if n % 2 else 'place'}" for n in range(6)]
    (tmp_path / "mine.csv").write_text("\n".join(["image;question;answers;type", *rows]), encoding="utf-8-sig")
    return tmp_path


def arguments(folder, *more):
    model, file, photos = joined("clip", "llama"), folder / "mine.csv", folder / "photos"
    return ["eval", *map(str, (model, file, "--images", photos, *more))]


def lines(folder):
    return (folder / "run/metrics.jsonl").read_text().splitlines()


def test_every_question_is_asked_under_every_condition_and_kept_with_its_prompt(folder, capsys):
    assert run(arguments(folder, "--short", "--json", "--out", folder / "run")) == 0
    said = json.loads(capsys.readouterr().out)
    keys = [(row["benchmark"], row["condition"], row["type"]) for row in said["scores"]]
    assert keys == [("mine.csv", condition, kind) for condition in CONDITIONS for kind in ("place", "color", "all")]
    assert [row["normalised"]["n"] for row in said["scores"][:3]] == [3, 3, 6]
    saved = RunDir.open(folder / "run")
    saved.verify()
    answers = saved.load("answers")
    assert [(row["question"]["id"], row["condition"]) for row in answers] == [
        (str(line), condition) for condition in CONDITIONS for line in range(2, 8)
    ]
    assert answers[0]["prompt"] == f"What is this, 0?\n{SHORT}" and answers[0]["expected"] == ["red", "<b>blue</b>"]
    assert len(lines(folder)) == 18
    assert {tuple(sorted(row)) for row in map(json.loads, lines(folder))} == {
        ("answer", "benchmark", "condition", "id", "index", "split")
    }
    page = (folder / "run/eval.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 6 and "&lt;b&gt;blue&lt;/b&gt;" in page and "<b>blue" not in page


def test_the_table_fits_a_terminal_and_names_the_page(folder, capsys):
    assert run(arguments(folder, "--out", folder / "run")) == 0
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown[:-1])) <= 80 and "…" not in "".join(shown)
    assert [line.split()[0] for line in shown if line.split()][2:5] == ["place", "color", "all"]
    assert shown[-1] == str(folder / "run/eval.html")


def test_a_finished_run_asks_nothing_and_draws_its_page_again(folder, capsys):
    assert run(arguments(folder, "--json", "--out", folder / "run")) == 0
    first, kept = capsys.readouterr().out, lines(folder)
    (folder / "run/eval.html").unlink()
    assert run(arguments(folder, "--json", "--out", folder / "run")) == 0
    again = capsys.readouterr()
    assert again.out == first and "nothing is measured" in again.err
    assert lines(folder) == kept and (folder / "run/eval.html").is_file()
    for changed in (["--short"], ["--questions", 1], ["--seed", 5]):
        assert run(arguments(folder, *changed, "--out", folder / "run")) == 1
        assert "a run of another recipe" in capsys.readouterr().err
    with (folder / "mine.csv").open("a") as file:
        file.write("\n0.jpg;More?;red;color")
    assert run(arguments(folder, "--out", folder / "run")) == 1
    assert "a run of another recipe (own)" in capsys.readouterr().err


def test_a_run_is_of_the_pictures_that_were_asked_about(folder, capsys):
    assert run(arguments(folder, "--json", "--out", folder / "run")) == 0
    first = capsys.readouterr().out
    picture(9, 40, 30).save(folder / "photos" / "not asked about.jpg")
    assert run(arguments(folder, "--json", "--out", folder / "run")) == 0 and capsys.readouterr().out == first
    picture(9, 80, 70).save(folder / "photos" / "1.jpg")
    assert run(arguments(folder, "--out", folder / "run")) == 1
    assert "a run of another recipe (inputs)" in capsys.readouterr().err


def test_a_killed_run_goes_on_and_asks_nothing_twice(folder, capsys):
    """Killed for real, in the middle of writing if it so happens; the figures are those of a run that was not."""
    rows = [f"{n % 4}.jpg;What is this, {n}?;red;color" for n in range(40)]
    (folder / "mine.csv").write_text("\n".join(["image;question;answers;type", *rows]))
    command = [
        sys.executable,
        "-c",
        "from lapilli.cli import main; main()",
        *arguments(folder, "--out", folder / "run"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = folder / "run/metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (log.is_file() and log.stat().st_size) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = log.read_text().splitlines()
    assert 0 < len(before) < 120 and not (folder / "run/manifest.json").exists()
    with log.open("a") as file:
        file.write('{"benchmark": "mi')  # half a line, as of a machine that lost its power
    assert run(arguments(folder, "--json", "--out", folder / "run")) == 0
    resumed = capsys.readouterr().out
    after = lines(folder)
    assert after[: len(before)] == before
    keys = [(row["condition"], row["index"]) for row in map(json.loads, after)]
    assert sorted(keys) == sorted((condition, index) for condition in CONDITIONS for index in range(40))
    assert run(arguments(folder, "--json")) == 0
    assert capsys.readouterr().out == resumed


def test_benchmarks_of_the_package_have_the_page_and_go_on_too(folder, capsys):
    model = str(joined("clip", "llama"))
    command = ["eval", model, "scenes", str(folder / "mine.csv"), "--images", str(folder / "photos")]
    command += ["--questions", "1", "--json", "--out", str(folder / "run")]
    assert run(command) == 0
    first, kept = json.loads(capsys.readouterr().out), lines(folder)
    for name in ("manifest.json", "results/scores.json", "results/answers.json"):
        (folder / "run" / name).unlink()
    (folder / "run/metrics.jsonl").write_text("".join(f"{line}\n" for line in kept[:20]))
    assert run(command) == 0
    assert json.loads(capsys.readouterr().out) == first and sorted(lines(folder)) == sorted(kept)
    page = (folder / "run/eval.html").read_text()
    assert page.count("<h2>") == 2 and "What it gets right" in page


def test_conversations_have_their_turns_on_the_page_and_are_not_shared_out(folder, capsys):
    rows = [f"{n % 2}.jpg;What is <b>this</b>, {n}?;red;talk {n % 2}" for n in range(4)]
    (folder / "mine.csv").write_text("\n".join(["image;question;answers;conversation", *rows]))
    assert run(arguments(folder, "--json", "--out", folder / "run")) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert {row["turn"] for row in scores if "turn" in row} == {"1", "2", "2+"}
    assert len(lines(folder)) == 3 * 4 + 2 * 2
    page = (folder / "run/eval.html").read_text()
    cards = page.split("<li>")[1:]
    assert (
        len(cards) == 2 and all("turn 1, " in card and "turn 2, " in card for card in cards) and "<b>this" not in page
    )
    assert run(arguments(folder, "--shard", "1/2", "--out", folder / "part")) == 2
    assert "--shard: mine.csv asks behind the answers to earlier questions" in capsys.readouterr().err


def test_errors_are_one_line_and_leave_nothing(folder, capsys):
    (folder / "other").mkdir()
    (folder / "other/mine.csv").write_text("image,question,answer\n")
    (folder / "mine.json").write_text('[{"image": "9.jpg", "question": "What?", "answer": "red"}]')
    (folder / "mine.txt").write_text("What?")
    for more, code, message in [
        (["nowhere.csv"], 1, "nowhere.csv: cannot be read"),
        ([folder / "other/mine.csv"], 2, "mine.csv: two files are called so"),
        ([folder / "mine.json"], 1, "mine.json: question '0': image: '9.jpg': no such file"),
        ([folder / "mine.txt"], 1, "mine.txt: ending '.txt'; save the questions as one of"),
        (["--images", folder / "none"], 1, "none: no such folder; give the folder of the pictures of"),
        (["mmmu"], 2, "no benchmark 'mmmu'"),
    ]:
        assert run(arguments(folder, *more, "--out", folder / "run")) == code
        said = capsys.readouterr()
        errors = [line for line in said.err.splitlines() if line.startswith("lapilli:")]
        assert said.out == "" and len(errors) == 1 and message in errors[0]
        assert not (folder / "run").exists()
    for option in (["--images", str(folder)], ["--short"]):
        assert run(["eval", str(joined("clip", "llama")), "scenes", *option]) == 2
        assert f"{option[0]}: for your own questions; give their file" in capsys.readouterr().err


def test_a_log_that_is_spoilt_is_refused(folder, capsys):
    assert run(arguments(folder, "--out", folder / "run")) == 0
    (folder / "run/manifest.json").unlink()
    for line, message in (('{"a": 1}', "metrics.jsonl:1: answer: missing"), ("[]", "not one object a line")):
        (folder / "run/metrics.jsonl").write_text(f"{line}\n")
        capsys.readouterr()
        assert run(arguments(folder, "--out", folder / "run")) == 1
        assert message in capsys.readouterr().err


def test_shards_put_together_are_the_whole(folder, tmp_path, capsys):
    rows = [f"{n % 4}.jpg;What is this{' now' * (n % 5)}, {n}?;red;color" for n in range(70)]
    (folder / "mine.csv").write_text("\n".join(["image;question;answers;type", *rows]))
    assert run(arguments(folder, "--json", "--out", tmp_path / "whole")) == 0
    whole = json.loads(capsys.readouterr().out)
    for part in "12":
        assert run(arguments(folder, "--json", "--shard", f"{part}/2", "--out", tmp_path / part)) == 0
        count = json.loads(capsys.readouterr().out)["answers"]
        assert 0 < count < 210 and not (tmp_path / part / "eval.html").exists()
    shards = [word for part in "12" for word in ("--answers", tmp_path / part)]
    assert run(arguments(folder, "--json", *shards, "--out", tmp_path / "merged")) == 0
    assert json.loads(capsys.readouterr().out) == whole
    for name in ("metrics.jsonl", "results/answers.json", "results/scores.json", "eval.html"):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert run(arguments(folder, "--questions", 9, *shards, "--out", tmp_path / "other")) == 1
    assert "1: a shard of another evaluation (questions, own); leave it out" in capsys.readouterr().err
    assert run(arguments(folder, "--shard", "1/2", "--out", tmp_path / "1")) == 0
    assert "1 answers" not in capsys.readouterr().out


def put_together(folder, model, photos, *options):
    return run(["eval", *map(str, (model, folder / "mine.csv", "--images", photos, "--json", *options))])


@pytest.mark.parametrize("changed", ["lapilli.json", "preprocessor_config.json", "tokenizer.json"])
def test_a_shard_of_a_model_that_was_asked_otherwise_is_refused(folder, tmp_path, changed, capsys):
    model, photos = tmp_path / "model", folder / "photos"
    shutil.copytree(joined("clip", "llama"), model)
    assert put_together(folder, model, photos, "--shard", "1/2", "--out", tmp_path / "1") == 0
    shard = ("--answers", tmp_path / "1", "--out")
    (model / changed).write_text((model / changed).read_text() + "\n")
    assert put_together(folder, model, photos, *shard, tmp_path / "merged") == 1
    assert "1: a shard of another evaluation (model_files); leave it out" in capsys.readouterr().err


def test_the_base_of_an_adapter_is_of_the_model(tmp_path):
    for name in ("base", "adapter"):
        (tmp_path / name).mkdir()
    (tmp_path / "base/config.json").write_text("{}")
    (tmp_path / "base/model.safetensors").write_bytes(b"weights")
    config = {"base_model_name_or_path": str(tmp_path / "base")}
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps(config))
    before = model_files(tmp_path / "adapter")
    assert set(before) == {"adapter_config.json", "base/config.json", "base/model.safetensors"}
    (tmp_path / "base/model.safetensors").write_bytes(b"other weights")
    after = model_files(tmp_path / "adapter")
    assert [name for name in after if after[name] != before[name]] == ["base/model.safetensors"]


def test_an_unfinished_shard_is_told_and_a_changed_one_refused(folder, tmp_path, capsys):
    shard, photos = tmp_path / "1", folder / "photos"
    options = ("--answers", shard, "--out")
    assert run(arguments(folder, "--json", "--shard", "1/2", "--out", shard)) == 0
    (shard / "metrics.jsonl").write_text((shard / "metrics.jsonl").read_text().replace("image", "blank"))
    assert put_together(folder, joined("clip", "llama"), photos, *options, tmp_path / "a") == 1
    assert "1: missing or changed since the run finished: metrics.jsonl" in capsys.readouterr().err
    (shard / "metrics.jsonl").write_text("")
    (shard / "manifest.json").unlink()
    assert put_together(folder, joined("clip", "llama"), photos, *options, tmp_path / "b") == 0
    assert "1: a shard that has not finished; what it lacks is asked here" in " ".join(capsys.readouterr().err.split())


def test_a_shard_of_questions_that_were_drawn_otherwise_is_refused(folder, tmp_path, capsys):
    shard, command = tmp_path / "1", ["eval", str(joined("clip", "llama")), "pope", "--questions", "1", "--json"]
    assert run([*command, "--shard", "1/2", "--out", str(shard)]) == 0
    merge = [*command, "--answers", str(shard), "--out", str(tmp_path / "merged")]
    before = json.loads((shard / "results/questions.json").read_text())
    (shard / "results/questions.json").write_text(json.dumps(dict.fromkeys(before, "of another version")))
    (shard / "manifest.json").unlink()
    assert run(merge) == 1 and not (tmp_path / "merged/recipe.yaml").exists()
    assert "1: its questions are not those drawn here (pope/held_out); use the version" in capsys.readouterr().err
    (shard / "results/questions.json").write_text(json.dumps(before))
    assert run(merge) == 0


def test_a_shard_of_a_machine_with_other_folders_is_not_refused(folder, tmp_path):
    for name, source in (("model", joined("clip", "llama")), ("photos2", folder / "photos")):
        shutil.copytree(source, tmp_path / name)
    assert run(arguments(folder, "--json", "--shard", "1/2", "--out", tmp_path / "1")) == 0
    options = ("--answers", tmp_path / "1", "--out", tmp_path / "merged")
    assert put_together(folder, tmp_path / "model", tmp_path / "photos2", *options) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--shard", "3/2", "--out", "o"), "--shard 3/2: write I/N"),
        (("--shard", "1/2"), "--shard: the answers are kept in a folder; name it with --out"),
        (("--answers", "a"), "--answers: the answers are kept in a folder; name it with --out"),
        (("--answers", "a", "--shard", "1/2", "--out", "o"), "--answers: for the whole evaluation"),
    ],
)
def test_shards_used_wrongly(folder, options, message, capsys):
    assert run(arguments(folder, *options)) == 2
    assert message in capsys.readouterr().err
