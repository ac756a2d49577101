"""`lapilli claims`, from the command line to the page."""

import json
import shutil

import pytest
from tests.studies.compare import made as comparison
from tests.studies.compare.made import COUNT, PLANTED, base, changed, of, questions
from tests.studies.flow import made as flow
from tests.studies.patch import made as patching

from lapilli.cli import run
from lapilli.core.run import RunDir
from lapilli.studies.claims.study import CLAIMS, VERSION
from lapilli.studies.compare.study import VERSION as COMPARED


def _claims(*arguments):
    return run(["claims", *map(str, arguments)])


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run that was stopped before the claims: the studies have finished, but for the mark of the last."""
    folder = tmp_path_factory.mktemp("claims") / "out"
    settings = of(changed(PLANTED))
    comparison.compared(folder / "compare", settings, placement=flow.WHOLE).finish()
    patching.patched(folder / "patch", settings).finish()
    shutil.copytree(flow.planted().path, folder / "flow")
    return folder


def test_from_two_models_and_questions_to_verdicts(begun, tmp_path, capsys):
    """The studies inside are gone on with; then again: nothing is measured, and other settings are refused."""
    out = tmp_path / "out"
    line = [base(), changed(PLANTED), questions(), "--samples", COUNT, "--out", out]
    shutil.copytree(begun, out)
    (out / "recipe.yaml").write_text(_recipe(begun))
    capsys.readouterr()
    assert _claims(*line, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    saved = RunDir.open(out)
    saved.verify()
    assert {name: value for name, value in said.items() if name != "folder"} == saved.load("claims")
    assert [claim["id"] for claim in said["claims"]] == [claim.id for claim in CLAIMS]
    assert {claim["id"]: claim["why"] for claim in said["claims"]}["G1"] == "needs a second tuning: --floor"
    assert all((out / page).is_file() for page in ("claims.html", "compare/compare.html", "patch/patch.html"))
    assert _claims(*line) == 0
    again = capsys.readouterr()
    assert again.out.startswith(f"{len(CLAIMS)} claims: ") and again.out.endswith(f"{out / 'claims.html'}\n")
    assert "nothing is measured" in again.err
    assert _claims(*line, "--seed", 1) == 1
    assert "of another recipe (seed)" in capsys.readouterr().err


def _recipe(begun):
    """The recipe of the claims, as of the comparison inside."""
    return (
        (begun / "compare/recipe.yaml")
        .read_text()
        .replace("study: compare", "study: claims")
        .replace(f"version: {COMPARED}", f"version: {VERSION}")
        .replace("dtype: fp32", "dtype: null")
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--samples", 49], "49 samples: a tuning is studied"), (["--floor", "nowhere"], "nowhere")],
)
def test_what_cannot_be_tested_starts_nothing(options, message, tmp_path, capsys):
    line = [base(), changed(PLANTED), questions(), "--out", tmp_path / "out", *options]
    capsys.readouterr()  # what writing the models has shown
    assert _claims(*line) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and said.out == ""
    assert not (tmp_path / "out").exists()
