"""`lapilli doctor`, and the warning where a release has not been tested."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
import transformers
from tests.parts import joined

from lapilli.cli import run
from lapilli.core import dependencies
from lapilli.selftest import installation

STEPS = 6  # with the devices


@pytest.fixture
def later(monkeypatch):
    """A transformers that says it is of a release that has yet to come."""
    monkeypatch.setattr(dependencies, "versions", lambda names: dict.fromkeys(names, "99.1.0"))
    dependencies.untested.cache_clear()
    yield
    dependencies.untested.cache_clear()


def test_what_is_installed_is_a_table_and_one_json_object(capsys):
    assert run(["doctor"]) == 0
    said = capsys.readouterr().out
    assert transformers.__version__ in said and "'lapilli[quant]'" in said
    assert said.count("ok     ") == STEPS
    assert run(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    listed = {one["name"]: one for one in found["dependencies"]}
    assert listed["torch"]["installed"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert listed["transformers"]["verdict"] == "tested" and listed["transformers"]["allowed"] == "<5.25,>=5.23"
    assert found["installation"][0]["detail"].startswith("cpu")
    assert [step["holds"] for step in found["installation"]] == [True] * STEPS
    assert (found["model"], found["checks"]) == (None, [])


@pytest.mark.parametrize(
    ("harm", "failed", "said"),
    [
        ("lapilli.inspection.recording.cache_in", "its answer is explained", "nothing of this sequence is"),
        ("lapilli.selftest.installation.train", "it is trained", "AttributeError"),
        ("lapilli.inference.selfcheck.answer", "it answers", "TypeError"),
    ],
)
def test_what_a_release_breaks_is_found(harm, failed, said, monkeypatch, capsys):
    """As transformers 5.24 did: what is asked for by name is not there."""
    monkeypatch.setattr(harm, lambda *_, **__: None)
    assert run(["doctor", "--json"]) == 1
    last = json.loads(capsys.readouterr().out)["installation"][-1]
    assert (last["name"], last["holds"]) == (failed, False) and said in last["detail"]


def test_the_steps_end_with_the_first_that_fails(monkeypatch):
    monkeypatch.setattr(installation, "join", lambda *_: (_ for _ in ()).throw(ValueError("no\nsuch thing")))
    (only,) = installation.check_installation()
    assert (only.holds, only.detail) == (False, "ValueError: no such thing")


def test_a_model_is_checked(tmp_path, capsys):
    model = shutil.copytree(joined("siglip", "qwen2"), tmp_path / "model")
    assert run(["doctor", str(model)]) == 0
    assert capsys.readouterr().out.count("ok     ") == STEPS + 8
    (model / "generation_config.json").write_text("{}")
    assert run(["doctor", str(model)]) == 1
    assert "FAILED an answer's end is stored" in capsys.readouterr().out
    assert run(["doctor", str(model), "--json"]) == 1
    assert sum(not check["holds"] for check in json.loads(capsys.readouterr().out)["checks"]) == 1


def test_a_release_that_has_not_been_tested_is_said_and_named_by_errors(later, tmp_path, capsys):
    assert run(["doctor"]) == 0
    assert "newer than tested" in capsys.readouterr().out
    assert run(["model", "info", str(tmp_path)]) == 1
    first, last = capsys.readouterr().err.splitlines()
    line = "transformers 99.1.0 is newer than tested (5.23.0 to 5.24.0); if anything fails: pip install 'transformers"
    assert first.startswith(f"lapilli: {line}") and line in last
    assert run(["data", "scenes", "--help"]) == 0
    assert "99.1.0" not in capsys.readouterr().err


def test_the_release_is_read_from_what_is_installed(tmp_path):
    """Not from the package's own word, for which it would have to be imported."""
    info = tmp_path / "transformers-98.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 98.0.0\n")
    program = "import sys; from lapilli.cli import run; sys.exit(run(['model', 'info', 'nowhere-at-all']))"
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert "transformers 98.0.0 is newer than tested" in done.stderr


def test_no_model(capsys):
    assert run(["doctor", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith(
        "lapilli: nowhere: no such folder; give that of a model, or its id on the hub"
    )


def test_what_a_release_no_longer_has_is_a_finding_behind_the_table(monkeypatch, capsys):
    """As when a class has moved: the module that asks for it cannot even be imported."""
    monkeypatch.setitem(sys.modules, "lapilli.selftest.installation", None)
    assert run(["doctor"]) == 1
    said = capsys.readouterr().out
    assert transformers.__version__ in said and "FAILED its packages fit" in said


def test_an_import_that_fails_names_release_range_and_remedy():
    error = ImportError("cannot import name 'http_get'", name="huggingface_hub.file_download")
    one = dependencies.dependency("huggingface_hub")
    line = dependencies.missing(error)
    assert line.startswith(f"huggingface_hub {one.installed}: ImportError: cannot import name 'http_get'; tested with")
    assert line.endswith("pip install 'huggingface_hub<2.5,>=2.4'") and one.allowed == "<2.5,>=2.4"
    assert dependencies.missing(ImportError("no such thing", name="elsewhere")) == "ImportError: no such thing"


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", "{}", "no LLaVA"),
        ("tokenizer.json", "{}", "cannot be read as a Hugging Face model"),
        ("lapilli.json", "[]", "lapilli.json"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_a_finding(tmp_path, capsys, monkeypatch, file, content, said):
    monkeypatch.setattr("lapilli.cli.doctor._installation", list)
    model = shutil.copytree(joined("clip", "llama"), tmp_path / "model")
    (model / file).write_text(content)
    assert run(["doctor", str(model), "--json"]) == 1
    (check,) = json.loads(capsys.readouterr().out)["checks"]
    assert (check["name"], check["holds"]) == ("it can be loaded", False) and said in check["detail"]
