"""`lapilli doctor`."""

import json
import shutil

import torch
import transformers
from tests.parts import joined

from lapilli.cli import run


def test_what_is_installed_is_a_table_and_one_json_object(capsys):
    assert run(["doctor"]) == 0
    said = capsys.readouterr().out
    assert transformers.__version__ in said
    assert "'lapilli[quant]'" in said
    assert run(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["torch"] == torch.__version__
    assert found["devices"][0].startswith("cpu")
    assert (found["model"], found["checks"]) == (None, [])


def test_a_model_is_checked(tmp_path, capsys):
    model = shutil.copytree(joined("siglip", "qwen2"), tmp_path / "model")
    assert run(["doctor", str(model)]) == 0
    assert capsys.readouterr().out.count("ok     ") == 7
    (model / "generation_config.json").write_text("{}")
    assert run(["doctor", str(model)]) == 1
    assert "FAILED an answer's end is stored" in capsys.readouterr().out
    assert run(["doctor", str(model), "--json"]) == 1
    assert sum(not check["holds"] for check in json.loads(capsys.readouterr().out)["checks"]) == 1


def test_no_model(capsys):
    assert run(["doctor", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith(
        "lapilli: nowhere: no such folder; give that of a model, or its id on the hub"
    )
