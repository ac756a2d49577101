"""`lapilli model`."""

import json

import pytest
from tests.parts import joined, part

from lapilli.cli import run
from lapilli.model.llava import load


def _build(out, **changes):
    options = {"vision": str(part("clip")), "language": str(part("llama")), **changes}
    return run(
        ["model", "build", *(word for name, value in options.items() for word in (f"--{name}", value)), str(out)]
    )


def test_a_model_is_built_and_what_changed_is_said(tmp_path, capsys):
    assert _build(tmp_path / "out", connector="linear") == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "tokens added: <image> (360), <pad> (361); their embeddings are the mean of the other 360" in said.err
    assert load(tmp_path / "out").card.connector == "linear"


def test_a_deep_connector_is_warned_of(tmp_path, capsys):
    assert _build(tmp_path / "out", connector="mlp3x_gelu") == 0
    assert "connector mlp3x_gelu: plain transformers cannot load it, only lapilli can\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"vision": "nowhere"}, 1, "nowhere: no folder with a config.json"),
        ({"connector": "mlp"}, 2, "connector 'mlp': unknown; choose linear"),
        ({"template": "vicuna"}, 2, "template 'vicuna': unknown; choose one of"),
    ],
)
def test_an_error_is_one_line_and_leaves_nothing(tmp_path, capsys, changes, code, message):
    assert _build(tmp_path / "out", **changes) == code
    said = capsys.readouterr().err
    assert said.startswith(f"lapilli: {message}")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused_before_anything_is_read(tmp_path, capsys):
    (tmp_path / "note.txt").write_text("mine")
    assert _build(tmp_path, vision="nowhere") == 1
    assert "exists and is not empty" in capsys.readouterr().err


def test_bridges_are_a_table_and_one_json_object(capsys):
    assert run(["model", "bridges", "--vision", "24", "--language", "48", "--layers", "2"]) == 0
    assert "v = 24, d = 48, L = 2" in capsys.readouterr().out
    assert run(["model", "bridges", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    linear = next(one for one in found["bridges"] if one["name"] == "linear")
    assert linear["parameters"] == 1024 * 4096 + 4096
    assert {one["paper"] for one in found["published"]} == {"LLaVA-1.5", "BLIP-2", "Flamingo-3B"}


def test_a_width_of_nothing_is_refused(capsys):
    assert run(["model", "bridges", "--vision", "0"]) == 2
    assert "vision" in capsys.readouterr().err


def test_info_is_a_table_and_one_json_object(capsys):
    folder = str(joined("clip", "llama"))
    assert run(["model", "info", folder]) == 0
    said = capsys.readouterr().out
    assert "vicuna_v1" in said and "layout hub" in said
    assert run(["model", "info", folder, "--json"]) == 0
    assert [one["role"] for one in json.loads(capsys.readouterr().out)["parts"]] == ["vision", "projector", "language"]
    assert run(["model", "info", str(part("llama"))]) == 1
    assert "no LLaVA (its model_type: llama)" in capsys.readouterr().err
