"""The flow study: its readings are those of whole models under masks, its figures those by hand, and it goes on."""

import shutil

import numpy as np
import pytest
from tests.inspection.runs import Run, full_logits, llava_of
from tests.parts import picture
from tests.studies.compare.made import COUNT, PLANTED, changed, of
from tests.studies.flow import made

from lapilli.data.questions import PictureQuestion, without_pictures
from lapilli.inspection.intervention.image_depths import blocked, hide, random_text
from lapilli.inspection.intervention.patching import nothing
from lapilli.inspection.recording import answered, traced
from lapilli.studies.flow.plan import RESULT, Plan
from lapilli.studies.flow.reading import read_depths
from lapilli.studies.flow.study import opened, study
from lapilli.studies.patch.reading import read_answers

TEXTS = [["red", "a blue square", "three"], ["yes", "no"]]
SAMPLES = [PictureQuestion(str(number), str(number), f"What is {number}?", "").sample for number in range(len(TEXTS))]
SEEDS = [(3, 0), (3, 1)]
PLAN = Plan(5)


def shown(name):
    return picture(int(name))


def test_the_model_itself_answers_as_in_a_patching_study():
    """Batches of whole sequences there, traces one by one here; with pictures and without."""
    llava = llava_of("deep")
    for samples in (SAMPLES, [without_pictures(sample) for sample in SAMPLES]):
        here = read_depths(llava, samples, TEXTS, shown, PLAN, seeds=SEEDS)
        there = read_answers((llava, llava), samples, TEXTS, shown, [nothing(5)])
        np.testing.assert_allclose(here["log_p"][0], there["log_p"][0], atol=2e-5)
        np.testing.assert_array_equal(here["exact"][0], there["exact"][0])
        assert here["log_p"].shape[0] == (PLAN.variants if samples is SAMPLES else 1)


def test_a_variant_is_the_whole_model_under_its_mask():
    llava, oracle = llava_of("deep"), llava_of("deep", "eager")
    read = read_depths(llava, SAMPLES, TEXTS, shown, PLAN, seeds=SEEDS)["log_p"]
    for number, place in ((0, 1), (1, 0)):
        pixels = llava.pixels([shown(str(number))])
        trace = traced(llava, answered(llava, SAMPLES[number], TEXTS[number][place]), pixels, whole=True)
        text = random_text(trace.layout, np.random.default_rng(SEEDS[number]))
        for at, window in enumerate(PLAN.windows, 1):
            for row, cuts in (
                (at, blocked(trace.layout, [window])[0]),
                (at + len(PLAN.windows), hide(trace.layout, text, window)),
            ):
                logits = full_logits(oracle, Run(trace, pixels), cuts)[trace.queries].log_softmax(-1)
                by_hand = sum(float(one[token]) for one, token in zip(logits, trace.next_ids, strict=True))
                assert read[row, number, place] == pytest.approx(by_hand, abs=2e-5)
    assert len({round(value, 5) for value in read[:, 0, 0]}) > PLAN.variants - 3


def test_the_plan_has_every_window_once():
    for depth in (1, 2, 3, 4, 5, 24, 32):
        plan = Plan(depth)
        windows = set(plan.windows)
        assert len(windows) == len(plan.windows)
        assert {range(start, depth) for start in range(depth)} <= windows
        assert {len(window) for window in windows if window.stop < depth} <= {1, plan.width}
        assert sum(len(window) == plan.width for window in windows) == depth - plan.width + 1
    assert [Plan(depth).width for depth in (1, 4, 5, 8, 32)] == [1, 1, 1, 2, 8]
    assert list(PLAN.entries) == [1, 2, 3, 4] and PLAN.variants == 1 + 2 * 9 + 4


def test_figures_are_those_by_hand():
    run = made.planted()
    result, arrays = run.load(RESULT), run.load_arrays(RESULT)
    rows = {(one["what"], one["start"], one["stop"]): one["at"] for one in result["hidden"]}
    assert [one["at"] for one in result["late"]] == list(range(1 + len(rows), PLAN.variants))
    costs = {}
    for one in result["scores"]:
        role, readout = one["role"], one["readout"]
        values, floor = (arrays[f"{role}-{kind}-{readout}"] for kind in ("image", "text"))
        assert values.shape == (PLAN.variants, COUNT) and floor.shape == (1, COUNT)
        costs[role, readout] = values[0] - values
        np.testing.assert_allclose(one["score"]["value"], values.mean(1), atol=1e-12)
        np.testing.assert_allclose(one["cost"]["value"], costs[role, readout].mean(1), atol=1e-12)
        assert one["cost"]["low"][0] == one["cost"]["high"][0] == 0
        assert one["floor"]["value"] == pytest.approx(floor.mean(), abs=1e-12)
        assert one["gain"]["value"] == pytest.approx((values[0] - floor[0]).mean(), abs=1e-12)
    for one in result["between"]:
        apart = costs["tuned", one["readout"]] - costs["base", one["readout"]]
        np.testing.assert_allclose(one["cost"]["value"], apart.mean(1), atol=1e-12)
        assert (np.array(one["cost"]["low"]) <= apart.mean(1) + 1e-12).all()


def test_half_of_what_is_read_is_through_by_its_layer():
    for layer in (0, 2, 5):
        assert {half["value"] for half in made.result(np.eye(6)[layer] + 0.01)["half"].values()} == {layer}
    for nats in (0.0, -1.0):
        half = made.result(np.ones(6), nats)["half"]
        assert half["tuned"]["value"] is None and half["base"]["value"] in (2, 3)


def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path):
    """One group of samples and the figures are gone; nothing else is measured again."""
    whole, out = made.planted(), tmp_path / "run"
    shutil.copytree(whole.path, out)
    for name in ("read/tuned-text-003.json", "read/tuned-text-003.npz", "flow.json", "flow.npz"):
        (out / "results" / name).unlink()
    times = {file: file.stat().st_mtime_ns for file in (out / "results/read").iterdir()}
    settings = of(changed(PLANTED))
    study(settings, opened(out, settings, made.WHOLE), made.WHOLE, lambda *_: None)
    assert {file: file.stat().st_mtime_ns for file in times} == times
    for file in (whole.path / "results").rglob("*.*"):
        assert (out / file.relative_to(whole.path)).read_bytes() == file.read_bytes()
