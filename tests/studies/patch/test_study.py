"""The study: what is planted is brought back by its layer alone, figures are those by hand, a killed run goes on."""

import math
import signal
import subprocess
import sys

import numpy as np
import pytest
from tests.studies.compare.made import COUNT, LAYERS, PLANTED, base, changed, questions
from tests.studies.patch import made

from lapilli.core.run import RunDir
from lapilli.data.pictures import open_picture
from lapilli.model.llava import load
from lapilli.studies.candidates import READOUTS, candidates
from lapilli.studies.patch.plan import Plan
from lapilli.studies.patch.reading import read_answers
from lapilli.studies.patch.settings import DRAWS, OTHER, RESULT
from lapilli.studies.patch.swapping import with_other_pictures
from lapilli.studies.tuning import KINDS

WITH_IT = ("layers", "shallow", "all")
"""The parts that hold the planted layer, whose down matrix is all that differs."""


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
                assert one["share"]["value"][at] == pytest.approx(float(part in WITH_IT), abs=1e-9)
            assert (one["half"]["value"], one["half"]["low"], one["half"]["high"]) == (PLANTED,) * 3
    for one in result["shapley"]:
        if one["readout"] in ("log_p", "content", "format"):
            expected = [float(layer == PLANTED) for layer in range(LAYERS)]
            np.testing.assert_allclose(one["share"]["value"], expected, atol=1e-9)


def test_of_the_planted_layer_the_module_that_differs_has_all_of_it_and_no_other_any():
    result = made.planted().load(RESULT)
    for target, source in OTHER.items():
        one = figures(result, "image", target, source)
        shares = dict(zip(one["numbers"], one["share"]["value"], strict=True))
        of = {(entry["part"], entry["what"]): shares[entry["at"]] for entry in result["within"]}
        for part in ("shallow", "layers"):
            for what in ("attention", "gate_up", "norms"):
                assert of[part, what] == pytest.approx(0, abs=1e-9)
            for what in ("mlp", "down"):
                assert of[part, what] == pytest.approx(1, abs=1e-9)
            assert 1e-6 < abs(of[part, "image"]) < 1 and abs(of[part, "text"]) > 1e-6
    assert {len(figures(result, "text", "base", "tuned")["numbers"])} == {len(result["configurations"]) - 14}


def test_random_changes_are_five_draws_whose_spread_is_in_the_interval():
    """The mean over draws and samples, by hand; each draw alone is narrower than all of them, where they differ."""
    run = made.planted()
    result, arrays = run.load(RESULT), run.load_arrays(RESULT)
    changed_ = arrays["image-base-random-content"] - arrays["image-base-tuned-content"][0]
    assert changed_.shape[0] == DRAWS == result["settings"]["random_draws"]
    gain = arrays["image-tuned-base-content"][0] - arrays["image-base-tuned-content"][0]
    one = figures(result, "image", "base", "random")
    np.testing.assert_allclose(one["share"]["value"], changed_.mean((0, 2)) / gain.mean(), atol=1e-9)
    at = one["numbers"].index(result["parts"]["layers"])
    figures_of_draws = changed_[:, at].mean(1) / gain.mean()
    assert np.ptp(figures_of_draws) > 1e-3
    half = 2.776 * figures_of_draws.std(ddof=1) / math.sqrt(DRAWS)  # Student's t of four degrees of freedom
    assert one["share"]["high"][at] - one["share"]["low"][at] > 2 * half


def test_another_picture_is_read_by_hybrids_and_seeing_is_what_it_leaves():
    """Every other picture is the one of another answer; figures are those by hand of what was read of both."""
    run = made.planted()
    result, arrays = run.load(RESULT), run.load_arrays(RESULT)
    settings = made.of(changed(PLANTED))
    swapped = with_other_pictures(settings.all_questions, settings.questions, 0)
    assert result["swapped"] == {"n": len(swapped), "same_words": 0} and COUNT - 1 <= len(swapped) <= COUNT
    pair = load(base()), load(changed(PLANTED))
    plan = Plan(LAYERS)
    some = list(swapped)[:3]
    texts = candidates(settings.all_questions, [settings.questions[number] for number in some])
    for patch in (plan.parts["shallow"], plan.parts["all"]):
        read = read_answers(
            pair,
            [swapped[number].sample for number in some],
            texts,
            lambda name: open_picture(questions() / "images", name),
            [patch],
        )
        (numbers,) = {tuple(one["numbers"]) for one in result["seeing"] if one["target"] == "base"}
        row = arrays["swapped-base-tuned-log_p"][numbers.index(plan.numbers([patch])[0])]
        np.testing.assert_allclose(row[:3], read["log_p"][0, :, 0], rtol=1e-5)
    for one in result["seeing"]:
        way = f"{one['target']}-{one['source']}-{one['readout']}"
        own, other = arrays[f"image-{way}"][:, list(swapped)], arrays[f"swapped-{way}"]
        own, other = own[one["numbers"]] - own[0], other - other[0]
        np.testing.assert_allclose(one["own"]["value"], own.mean(1), atol=1e-12)
        np.testing.assert_allclose(one["other"]["value"], other.mean(1), atol=1e-12)
        np.testing.assert_allclose(one["seeing"]["value"], (own - other).mean(1), atol=1e-12)
        if one["share"]["value"][-1] is not None:
            np.testing.assert_allclose(
                one["share"]["value"], (own - other).mean(1) / (own - other)[-1].mean(), atol=1e-9
            )
    assert [one["target"] for one in result["seeing"] if one["readout"] == "content"] == ["base", "tuned"]


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
    assert len(arrays) == len(KINDS) * len(READOUTS) * (2 + 2 * 3) + len(READOUTS) * 2
    # both directions, and three controls of each; another's picture both ways
    for kind in KINDS:
        for readout in READOUTS:
            into_base, into_tuned = (arrays["-".join((kind, *way, readout))] for way in OTHER.items())
            gain = into_tuned[0] - into_base[0]
            one = figures(result, kind, "base", "tuned", readout)
            assert into_base.shape == (len(one["numbers"]), COUNT)
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
    counts = {"gain": 3 * len(READOUTS), "likeliest": 2 * 2 * (15 + 5) + 2 * 14, "interference": 2 * 2 * 15}
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
    by_chance = [f"random-{draw} into {target}" for target in ("base", "tuned") for draw in range(DRAWS)]
    assert list(told) == ["tuned into base", "base into tuned", *by_chance]
    assert all(done == total for done, total in told.values())
