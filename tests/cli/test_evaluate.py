"""`lapilli eval`, on a tiny random model: what is asked and counted, not how much of it is right."""

import json
import math
import shutil

import pytest
from tests.parts import joined

from lapilli.cli import run
from lapilli.cli.console import results
from lapilli.core.run import RunDir
from lapilli.data.scenes.absent import KINDS
from lapilli.data.scenes.dataset import write_scenes
from lapilli.data.scenes.questions import TYPES
from lapilli.evaluation.benchmark import BENCHMARKS

ROUNDS = [("held_out", name) for name in ("image", "blank", "swapped", "language_only")] + [("compositional", "image")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eval")
    for split in ("held_out", "compositional"):
        write_scenes(folder / split, 12, split)
    return folder


def _evaluate(*arguments):
    return run(["eval", str(joined("clip", "llama")), *map(str, arguments)])


def test_json_is_one_object_with_a_score_of_every_type_under_every_condition(data, capsys):
    assert _evaluate("scenes", "--data", data, "--questions", 2, "--json") == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    found = json.loads(said)
    assert found.keys() == {"scores", "constants"}
    by_key = {(row["split"], row["condition"], row["type"]): row["share"] for row in found["scores"]}
    assert by_key.keys() == {(*key, kind) for key in ROUNDS for kind in (*TYPES, "all")}
    for key in ROUNDS:
        alone = [by_key[(*key, kind)] for kind in TYPES]
        whole = by_key[(*key, "all")]
        assert (whole["n"], whole["correct"]) == tuple(sum(one[name] for one in alone) for name in ("n", "correct"))
        assert all(one["n"] == 2 for one in alone)
        assert all(0 <= one["low"] <= one["estimate"] <= one["high"] <= 1 for one in alone)
    assert {(row["split"], row["type"]) for row in found["constants"]} == {
        (split, kind) for split in ("held_out", "compositional") for kind in TYPES
    }


def test_the_table_has_a_row_for_every_type_and_the_run_folder_every_answer(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(results, "width", 200)
    assert _evaluate("scenes", "--data", data, "--questions", 1, "--out", tmp_path / "run") == 0
    words = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = [line for line in words if line and line[0] in (*TYPES, "all")]
    assert [row[0] for row in rows] == [*TYPES, "all"]
    assert rows[0][:3] in (["color", "1", "0.0"], ["color", "1", "100.0"])
    saved = RunDir.open(tmp_path / "run")
    saved.verify()
    answers = saved.load("answers")
    assert [(one["question"]["split"], one["condition"]) for one in answers] == [key for key in ROUNDS for _ in TYPES]


@pytest.mark.parametrize(
    ("bench", "name"),
    [("scenes", "held_out/questions"), ("scenes", "compositional/questions"), ("pope", "held_out/scenes")],
)
def test_a_run_whose_questions_have_changed_is_not_gone_on_with(bench, name, data, tmp_path, capsys):
    shutil.copytree(data, tmp_path / "data")
    options = (bench, "--data", tmp_path / "data", "--questions", 1, "--json", "--out", tmp_path / "run")
    assert _evaluate(*options) == 0
    first = capsys.readouterr().out
    assert _evaluate(*options) == 0 and capsys.readouterr().out == first
    file = tmp_path / "data" / f"{name}.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[1:] + lines[:1]) + "\n")
    for unfinished in (False, True):
        if unfinished:
            (tmp_path / "run" / "manifest.json").unlink()
        assert _evaluate(*options) == 1
        assert "a run of another recipe (inputs)" in capsys.readouterr().err


def test_several_benchmarks_are_kept_side_by_side(data, tmp_path, capsys):
    """Scores of scenes are those that scenes have alone."""
    options = ("--data", data, "--questions", 2, "--json")
    assert _evaluate("pope", "scenes", "pope", *options, "--out", tmp_path / "run") == 0
    found = json.loads(capsys.readouterr().out)
    assert _evaluate("scenes", *options) == 0
    alone = json.loads(capsys.readouterr().out)
    saved = RunDir.open(tmp_path / "run")
    for part in ("scores", "constants"):
        assert [row for row in found[part] if row["benchmark"] == "scenes"] == alone[part]
        assert list(dict.fromkeys(row["benchmark"] for row in found[part])) == ["pope", "scenes"]
        assert saved.load(part) == found[part]
    of_pope = {(row["condition"], row["type"]): row for row in found["scores"] if row["benchmark"] == "pope"}
    assert of_pope.keys() == {(c, k) for c in ("image", "blank", "swapped") for k in (*KINDS, "all")}
    for row in of_pope.values():
        assert row["accuracy"]["n"] == row["yes"]["n"] == row["other"]["n"] == (6 if row["type"] == "all" else 2)
    answers = [row for row in saved.load("answers") if row["benchmark"] == "pope"]
    assert len(answers) == 3 * 6 and {row["normalised"] for row in answers} <= {"yes", "no", "other"}


def test_tables_of_several_benchmarks_are_printed_in_their_order(data, capsys):
    assert _evaluate("pope", "scenes", "--data", data, "--questions", 1) == 0
    lines = capsys.readouterr().out.splitlines()
    first = [line.split()[0] for line in lines if line.split()]
    names = [*KINDS, "all", "blank", "color", "all"]
    assert [word for word in first if word in names] == names
    assert max(map(len, lines)) <= 80 and "…" not in "".join(lines)


def test_the_help_lists_the_benchmarks(capsys):
    assert run(["eval", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name, entry in BENCHMARKS.items():
        assert f"{name} ({entry.summary})" in shown


def test_scenes_are_drawn_where_none_are_given(capsys):
    assert _evaluate("scenes", "--questions", 2, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {(row["split"], row["condition"]) for row in found["scores"]} == set(ROUNDS)


@pytest.mark.parametrize("names", [["scenes"], ["pope"], ["pope", "scenes"]])
def test_a_file_called_like_a_benchmark_does_not_take_its_place(names, data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in names:
        (tmp_path / name).write_text("somebody's notes")
    assert _evaluate(*names, "--data", data, "--questions", 1, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert list(dict.fromkeys(row["benchmark"] for row in said["scores"])) == names
    (tmp_path / "mine").write_text("somebody's notes")
    assert _evaluate("./scenes" if "scenes" in names else "mine") == 1
    assert "ending ''; save the questions as one of" in capsys.readouterr().err


def test_a_type_that_only_one_split_has_is_no_hindrance(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(results, "width", 200)
    for split, left_out in (("held_out", "reading"), ("compositional", "color")):
        (tmp_path / split).mkdir()
        (tmp_path / split / "images").symlink_to(data / split / "images")
        lines = (data / split / "questions.jsonl").read_text().splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["type"] != left_out]
        (tmp_path / split / "questions.jsonl").write_text("".join(kept))
    assert _evaluate("scenes", "--data", tmp_path, "--questions", 1) == 0
    shown = capsys.readouterr().out
    assert "reading" in shown
    assert "color" in shown


def test_errors_are_one_line(data, tmp_path, capsys):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").touch()
    for arguments, code, message in [
        (("mmmu",), 2, "no benchmark 'mmmu'; there are: scenes, pope"),
        (("scenes", "pope", "mmmu"), 2, "no benchmark 'mmmu'; there are: scenes, pope"),
        (
            ("scenes", "--data", tmp_path / "nowhere"),
            1,
            "held_out/questions.jsonl: no such file; make scenes with",
        ),
        (
            ("pope", "--data", tmp_path / "nowhere"),
            1,
            "held_out/scenes.jsonl: no such file; make the folder with",
        ),
        (("scenes", "--data", data, "--out", tmp_path / "taken"), 1, "taken"),
        (("scenes", "--questions", 0), 2, "--questions"),
        (("scenes", "--device", "abacus"), 2, "device 'abacus': unknown"),
        ((), 2, "BENCH"),
    ]:
        assert _evaluate(*arguments) == code
        said = capsys.readouterr()
        assert said.out == ""
        lines = [line for line in said.err.splitlines() if line.startswith("lapilli:")]
        assert len(lines) == 1
        assert message in lines[0]


def test_text_needs_no_data_and_no_pictures(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(results, "width", 200)
    model = shutil.copytree(joined("clip", "llama"), tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 1_024  # descriptions are longer than 256 of its tokens
    (model / "config.json").write_text(json.dumps(config))
    assert run(["eval", str(model), "text", "--questions", "1", "--out", str(tmp_path / "run")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    names = ["instruction", *TYPES, "all", "perplexity", "perplexity"]
    assert [row[0] for row in rows if row and row[0] in names] == names
    saved = RunDir.open(tmp_path / "run")
    of_type = {row["type"]: row["right"] for row in saved.load("scores") if "type" in row}
    assert of_type["all scenes"]["n"] == 9 and of_type["instruction"]["n"] == 1
    token, word = (row for row in saved.load("scores") if "unit" in row)
    assert token["perplexity"]["value"] == pytest.approx(math.exp(token["nats"]["value"]))
    per_text = [one["nats"]["value"] * one["nats"]["n"] for one in (token, word)]
    assert per_text[0] == pytest.approx(per_text[1], rel=1e-3) and word["nats"]["n"] < token["nats"]["n"]
    assert [row["condition"] for row in saved.load("answers")] == ["text"] * 10 and saved.load("pictures") == []
    page = (tmp_path / "run/eval.html").read_text(encoding="utf-8")
    assert "10 answers, without pictures" in page and "any of: Paris" in page and "<img" not in page
