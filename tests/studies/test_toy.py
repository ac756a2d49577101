"""The example of a study, which CONTRIBUTING names, does what it says; so would the test of a new one."""

import json

import pytest
from tests.parts import joined, picture
from tests.studies.toy import RESULT, toy

from lapilli.cli import app, run
from lapilli.core.run import RunDir


@pytest.fixture
def command():
    """The command, which a study that ships adds in cli/study.py, with a dozen samples."""
    app.command("toy")(toy)
    yield "toy"
    app.registered_commands.pop()


@pytest.fixture
def arguments(command, tmp_path):
    (tmp_path / "images").mkdir()
    rows = []
    for number in range(12):
        picture(number).save(tmp_path / f"images/{number}.png")
        turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A kite."}]
        rows.append({"id": str(number), "image": f"{number}.png", "conversations": turns})
    (tmp_path / "data.json").write_text(json.dumps(rows))
    models = joined("clip", "llama"), joined("clip", "llama", "linear")
    files = ["--images", tmp_path / "images", "--out", tmp_path / "run"]
    return [command, *map(str, [*models, tmp_path / "data.json", *files, "--device", "cpu"])]


def test_two_models_are_compared_and_what_is_done_is_not_done_again(arguments, tmp_path, capsys):
    assert run(arguments) == 0
    assert "image_mean" in capsys.readouterr().out
    made = RunDir.open(tmp_path / "run")
    made.verify()
    rows = made.load(RESULT)
    assert {(row["position"], row["n"]) for row in rows} == {("image_mean", 12), ("question_end", 12)}
    over_depth = ["layers.0.resid_pre", "layers.0.resid_post", "layers.1.resid_post", "final_norm"]
    assert [row["site"].removeprefix("llm.") for row in rows if row["position"] == "image_mean"] == over_depth
    by_site = {(row["position"], row["site"]): row["value"] for row in rows}
    assert by_site["question_end", "llm.layers.0.resid_pre"] is None  # the same token everywhere: nothing varies
    assert 0.2 < by_site["image_mean", "llm.final_norm"] < 1
    assert "Linear CKA over depth" in (tmp_path / "run/toy.html").read_text()
    before = made.product(RESULT).stat().st_mtime_ns
    assert run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[RESULT] == rows
    assert made.product(RESULT).stat().st_mtime_ns == before


def test_a_model_beside_itself_is_the_same_at_every_layer(arguments, tmp_path):
    arguments[2] = arguments[1]
    assert run(arguments) == 0
    values = [row["value"] for row in RunDir.open(tmp_path / "run").load(RESULT)]
    assert [value for value in values if value is not None] == pytest.approx([1] * sum(v is not None for v in values))


def test_too_few_samples_leave_nothing(arguments, tmp_path, capsys):
    rows = json.loads((tmp_path / "data.json").read_text())
    (tmp_path / "data.json").write_text(json.dumps(rows[:4]))
    assert run(arguments) == 2
    assert "4 samples, at least 5 are needed" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
