"""`lapilli study color`, from the command line to the page."""

import io
import json
from contextlib import redirect_stdout

import pytest
from tests.studies.color.taught import ASKED, base, scenes, tuned

from lapilli.cli import run
from lapilli.core.run import RunDir
from lapilli.studies.color import top_head_ablation


def _study(*arguments):
    return run(["study", "color", *map(str, arguments)])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a study of one tuned model, and what was printed."""
    out, said = tmp_path_factory.mktemp("study") / "run", io.StringIO()
    with redirect_stdout(said), pytest.MonkeyPatch.context() as patch:
        patch.setattr(top_head_ablation, "CONTROLS", 3)  # each takes a run of the model
        assert _study(base(), tuned(0), "--data", scenes(), "--out", out, "--questions", ASKED, "--json") == 0
    return out, said.getvalue()


def test_json_is_one_object_and_the_folder_holds_it_whole(finished):
    out, said = finished
    assert said.count("\n") == 1
    found = json.loads(said)
    assert {"verdicts", "overlaps", "keys", "decoding", "knocked", "ways"} <= found.keys()
    assert found["counts"]["asked"] == ASKED and found["folder"] == str(out)
    saved = RunDir.open(out)
    saved.verify()
    assert saved.load("color") == {name: value for name, value in found.items() if name != "folder"}
    assert "repeated with controls" in (out / "color.html").read_text()


def test_a_finished_study_is_not_made_again_but_its_page_is(finished, capsys):
    out, said = finished
    (out / "color.html").unlink()
    assert _study(base(), tuned(0), "--data", scenes(), "--out", out, "--questions", ASKED, "--json") == 0
    assert capsys.readouterr().out == said and (out / "color.html").is_file()
    RunDir.open(out).verify()


def test_without_questions_or_models_nothing_is_begun(tmp_path, capsys):
    out = tmp_path / "run"
    assert _study(base(), "--data", scenes(), "--out", out) == 2
    assert _study(base(), tuned(0), "--data", scenes(), "--out", out, "--questions", 0) == 2
    assert _study(base(), tuned(0), "--data", scenes(), "--out", out, "--device", "cuda:9") != 0
    assert _study(base(), tmp_path / "none", "--data", scenes(), "--out", out) == 2
    assert "none: no such folder" in capsys.readouterr().err
    assert _study(base(), tuned(0), "--data", tmp_path, "--out", out) == 1
    assert "scenes.jsonl: no such file" in capsys.readouterr().err and not out.exists()


def test_verdicts_are_printed(finished, tmp_path, capsys):
    """A run folder that lacks only its end goes on from what is saved."""
    (finished[0] / "manifest.json").unlink()
    assert _study(base(), tuned(0), "--data", scenes(), "--out", finished[0], "--questions", ASKED) == 0
    said = capsys.readouterr().out.splitlines()
    assert f" of {ASKED} questions are answered rightly" in said[0]
    assert [line[:3] for line in said[1:4]] == ["(a)", "(b)", "(c)"] and said[-1].endswith("color.html")


def test_the_old_name_of_the_command_still_runs_it(capsys):
    assert run(["study", "--help"]) == 0
    assert "colour" not in capsys.readouterr().out
    assert run(["study", "colour", "--help"]) == 0
    assert "arXiv 2411.10950" in capsys.readouterr().out
