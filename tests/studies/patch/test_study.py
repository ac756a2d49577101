"""The study: what is planted is brought back by its layer alone, figures are those by hand, a killed run goes on."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from tests.studies.compare.made import COUNT, LAYERS, PLANTED, base, changed, questions
from tests.studies.patch import made

from lapilli.core.run import RunDir
from lapilli.studies.candidates import READOUTS
from lapilli.studies.patch.settings import OTHER, RESULT
from lapilli.studies.tuning import KINDS


def figures(result, kind, target, source, readout="content"):
    return next(
        one
        for one in result["exchanges"]
        if (one["kind"], one["target"], one["source"], one["readout"]) == (kind, target, source, readout)
    )


def test_what_is_planted_is_brought_back_by_its_layer_alone():
    result = made.planted().load(RESULT)
    for kind in KINDS:
        for target, source in OTHER.items():
            one = figures(result, kind, target, source)
            for window in result["windows"]:
                inside = window["start"] <= PLANTED < window["stop"]
                share = one["share"]["value"][window["at"]]
                assert share == pytest.approx(float(inside), abs=1e-9)
            for part, at in result["parts"].items():
                assert one["share"]["value"][at] == pytest.approx(float(part in ("layers", "all")), abs=1e-9)
            assert (one["half"]["value"], one["half"]["low"], one["half"]["high"]) == (PLANTED,) * 3
    for one in result["shapley"]:
        if one["readout"] in ("log_p", "content", "format"):
            expected = [float(layer == PLANTED) for layer in range(LAYERS)]
            np.testing.assert_allclose(one["share"]["value"], expected, atol=1e-9)


def test_a_second_tuning_that_is_the_same_brings_as_much_and_a_control_of_another_layer_comes_later():
    result = made.planted().load(RESULT)
    for target in ("base", "tuned"):
        true = figures(result, "image", target, OTHER[target])
        for control in ("random", "floor", "control"):
            one = figures(result, "image", target, control)
            shares = dict(zip(one["numbers"], one["share"]["value"], strict=True))
            for number, beyond in zip(one["numbers"], one["beyond"]["value"], strict=True):
                assert beyond == pytest.approx(true["share"]["value"][number] - shares[number], abs=1e-9)
    floor = figures(result, "image", "base", "floor")
    np.testing.assert_allclose(floor["beyond"]["value"], 0, atol=1e-9)
    control, window = (
        figures(result, "image", "base", "control"),
        {(one["start"], one["stop"]): one["at"] for one in result["windows"]},
    )
    places = [control["numbers"].index(window[0, stop]) for stop in range(1, LAYERS + 1)]
    moved = [abs(control["share"]["value"][place]) > 1e-6 for place in places]
    assert moved == [stop > PLANTED + 1 for stop in range(1, LAYERS + 1)]
    random = figures(result, "image", "base", "random")
    assert [abs(random["share"]["value"][random["numbers"].index(window[0, stop])]) > 1e-6 for stop in (2, 3)] == [
        False,
        True,
    ]


def test_shares_are_those_by_hand():
    """Of the saved arrays: means of hybrids less the target's over the mean of the gain, and the tests' counts."""
    run = made.planted()
    result, arrays = run.load(RESULT), run.load_arrays(RESULT)
    assert len(arrays) == len(KINDS) * len(READOUTS) * (2 + 2 * 3)  # both directions, and three controls of each
    for kind in KINDS:
        for readout in READOUTS:
            into_base, into_tuned = (arrays["-".join((kind, *way, readout))] for way in OTHER.items())
            gain = into_tuned[0] - into_base[0]
            assert into_base.shape == (len(result["configurations"]), COUNT)
            one = figures(result, kind, "base", "tuned", readout)
            score = next(one for one in result["scores"] if (one["kind"], one["readout"]) == (kind, readout))
            assert score["gain"]["value"] == pytest.approx(gain.mean(), abs=1e-12)
            if one["share"]["value"][0] is not None:
                expected = (into_base - into_base[0]).mean(1) / gain.mean()
                np.testing.assert_allclose(one["share"]["value"], expected, atol=1e-9)
            np.testing.assert_allclose(one["score"]["value"], into_base.mean(1), atol=1e-12)
            np.testing.assert_array_equal(into_base[result["parts"]["all"]], into_tuned[0])
    for test in result["tests"]:
        if test["test"] == "likeliest":
            values = arrays["-".join((test["kind"], test["target"], test["source"], "likeliest"))]
            hybrid, target = values[test["at"]] > 0, values[0] > 0
            assert (test["gained"], test["lost"]) == ((hybrid & ~target).sum(), (target & ~hybrid).sum())


def test_every_test_is_adjusted_for_all_of_its_kind():
    tests = made.planted().load(RESULT)["tests"]
    counts = {"gain": 2 * len(READOUTS), "likeliest": 2 * 2 * (15 + 5), "interference": 2 * 2 * 15}
    for name, count in counts.items():
        family = [test for test in tests if test["test"] == name]
        assert len(family) == count
        known = [test for test in family if test["p"] is not None]
        least = min(known, key=lambda test: test["p"])
        assert least["holm"] == pytest.approx(min(1.0, len(known) * least["p"]))
        assert all(test["holm"] >= test["p"] for test in known)


def test_without_a_change_there_is_no_gain_and_no_share():
    result = made.identical().load(RESULT)
    for one in result["exchanges"] + result["shapley"]:
        assert set(one["share"]["value"]) == {None}
    assert all(one["gain"]["value"] == 0 for one in result["scores"])
    assert all(test["p"] in (None, 1.0) for test in result["tests"])


def contents(folder):
    files = sorted(file for file in (folder / "results").rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


KILLED = """
import os, signal, sys
from pathlib import Path
from lapilli.core.run import RunDir
from tests.studies.compare.made import COUNT
from tests.studies.patch.made import patched
from lapilli.studies.tuning import BASE, TUNED, tuning
out, data, base, tuned = map(Path, sys.argv[1:])
save = RunDir.save
def killed(run, name, result):
    if name == "read/base-tuned-text-002":
        os.kill(os.getpid(), signal.SIGKILL)
    save(run, name, result)
RunDir.save = killed
patched(out, tuning({BASE: base, TUNED: tuned}, data, COUNT, 0))
"""


def test_a_killed_run_goes_on_and_has_the_same_bytes(tmp_path):
    """Killed between the arrays and the mark of a group of samples; what was there before is not made again."""
    whole, out = made.identical().path, tmp_path / "run"
    command = [sys.executable, "-c", KILLED, *map(str, [out, questions(), base(), changed(None)])]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    left = contents(out)
    assert "results/read/base-tuned-text-002.npz" in left and "results/read/base-tuned-text-001.json" in left
    assert "results/read/base-tuned-text-002.json" not in left
    times = {name: (out / name).stat().st_mtime_ns for name in left if name.endswith(".json")}
    told = {}
    with RunDir.alone(out):
        made.patched(out, made.of(changed(None)), lambda *step: told.update({step[0]: step[1:]}))
    assert {name: (out / name).stat().st_mtime_ns for name in times} == times
    assert contents(out) == contents(whole)
    assert list(told) == ["tuned into base", "base into tuned", "random into base", "random into tuned"]
    assert all(done == total for done, total in told.values())
