"""The study: what is the same changes by nothing, what is planted shows where it lies, and a killed run goes on."""

import shutil
import signal
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from tests.inspection.runs import path_of
from tests.studies.compare import made
from tests.studies.compare.made import COUNT, LAYERS, PLANTED

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.placement import AS_STORED, Placement
from lapilli.core.run import RunDir
from lapilli.data.questions import PictureQuestion, drawn
from lapilli.studies.compare import study
from lapilli.studies.compare.profiles import CHANGED, banded
from lapilli.studies.compare.settings import POSITIONS, RESULT, pairs_of
from lapilli.studies.tuned_models import begun
from lapilli.studies.tuning import tuning

SAME = {
    "overlap_10": 1, "overlap_30": 1, "cka": 1, "cosine": 1,
    "relative_l2": 0, "lens_kl": 0, "imbalance": 2 / COUNT, "imbalance_back": 2 / COUNT,
}  # fmt: skip
PLACES = [(kind, position) for kind, positions in POSITIONS.items() for position in positions]


def curves(result, pair):
    """The values of every profile by place and measure, (site,) each."""
    return {
        (one["kind"], one["position"], one["measure"]): np.array(one["curves"][pair]["value"], float)
        for one in result["profiles"]
    }


def test_a_model_has_not_changed_from_itself():
    result = made.identical().load(RESULT)
    for pair in ("change", "floor"):
        for (*_, measure), values in curves(result, pair).items():
            known = values[np.isfinite(values)]
            assert len(known) >= LAYERS
            np.testing.assert_allclose(known, SAME[measure], atol=1e-9)
        for local in result["local"]:
            assert not any(local["curves"][pair]["first"]["value"] + local["curves"][pair]["second"]["value"])
        assert {layer["relative"] for layer in result["weights"][pair]["layers"]} == {0}
    assert all(one["beyond"] == [] for one in result["verdicts"])
    assert all(not any(one["sign"]) for one in result["dimensions"])


def test_the_base_run_again_differs_by_rounding_alone():
    """Which is more than nothing, so the floor is not that of a model beside itself."""
    for (*_, measure), values in curves(made.planted().load(RESULT), "again").items():
        known = values[np.isfinite(values)]
        if measure == "relative_l2":
            assert ((known > 0) & (known < 0.1)).all()
        if measure == "cosine":
            assert ((known < 1) & (known > 0.99)).all()


def test_a_planted_change_shows_from_its_layer_on_and_not_before():
    """Site 0 is before the first layer, site PLANTED + 1 behind the planted one, and the last behind the norm."""
    result = made.planted().load(RESULT)
    for (*_, measure), values in curves(result, "change").items():
        before, after = values[: PLANTED + 1], values[PLANTED + 1 :]
        np.testing.assert_allclose(before[np.isfinite(before)], SAME[measure], atol=1e-9)
        assert (CHANGED[measure] * (after - SAME[measure]) > 0).all()
    for verdict in result["verdicts"]:
        if verdict["floor"] == "again" and verdict["measure"] in ("cosine", "relative_l2", "lens_kl"):
            assert verdict["beyond"] == list(range(PLANTED + 1, LAYERS + 2))


def test_only_the_planted_layer_has_changed_itself():
    result = made.planted().load(RESULT)
    for local in result["local"]:
        for states in ("first", "second"):
            values = local["curves"]["change"][states]["value"]
            assert [layer for layer, value in enumerate(values) if value] == [PLANTED]
        assert local["most"]["change"][PLANTED] == 1
        floor = local["curves"]["floor"]["first"]["value"]
        assert [layer for layer, value in enumerate(floor) if value] == [PLANTED + 1]
    moved = [layer["relative"] for layer in result["weights"]["change"]["layers"]]
    assert [layer for layer, value in enumerate(moved) if value] == [PLANTED]


def test_shuffled_samples_keep_nothing_but_what_chance_gives():
    for one in made.planted().load(RESULT)["profiles"]:
        known = [value for value in one["shuffled"] if value is not None]
        if one["measure"] in ("overlap_10", "cka"):
            assert max(map(abs, known)) < 0.2
        if one["measure"] == "imbalance":
            assert min(known) > 0.7


def test_profiles_are_saved_as_arrays_too():
    run = made.planted()
    arrays, result = run.load_arrays(RESULT), run.load(RESULT)
    for (kind, position, measure), values in curves(result, "change").items():
        np.testing.assert_array_equal(arrays[f"{kind}-{position}-{measure}-change"], values)
    profiles = [name for name in arrays if not name.endswith("-samples")]
    assert len(profiles) == len(PLACES) * len(CHANGED) * len(result["pairs"])


def test_what_each_sample_contributes_is_saved():
    """The means over the samples are the profiles."""
    run = made.planted()
    arrays, result = run.load_arrays(RESULT), run.load(RESULT)
    for kind, position in PLACES:
        for pair in result["pairs"]:
            for measure in ("cosine", "relative_l2", "lens_kl"):
                samples = arrays[f"{kind}-{position}-{measure}-{pair}-samples"]
                assert samples.shape == (len(result["sites"]), made.COUNT)
                with warnings.catch_warnings(action="ignore"):  # of sites where nothing is measured
                    means = np.nanmean(samples, 1)
                np.testing.assert_allclose(means, arrays[f"{kind}-{position}-{measure}-{pair}"], rtol=1e-6, atol=1e-9)
        local = arrays[f"{kind}-{position}-local-change-samples"]
        assert local.shape == (made.LAYERS, made.COUNT)
        assert np.flatnonzero(local.mean(1) > 1e-6).tolist() == [made.PLANTED]


def contents(folder):
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for name in ("states", "results")
        for file in sorted((folder / name).rglob("*"))
        if file.is_file()
    }


KILLED = """
import os, signal, sys
from pathlib import Path
from lapilli.core.run import RunDir
from tests.studies.compare.made import COUNT, compared
from lapilli.studies import tuning
out, data, *models = map(Path, sys.argv[1:])
save = RunDir.save
def killed(run, name, result):
    if name == "measured/image-image_mean-003":
        os.kill(os.getpid(), signal.SIGKILL)
    save(run, name, result)
RunDir.save = killed
named = dict(zip((tuning.BASE, tuning.TUNED, tuning.FLOOR), models))
compared(out, tuning.tuning(named, data, COUNT, 0))
"""


def test_a_killed_run_goes_on_and_has_the_same_bytes(tmp_path):
    """Killed between the arrays and the values of a measurement; what was there before is not made again."""
    whole, out = made.planted().path, tmp_path / "run"
    models = [made.base(), made.changed(PLANTED), made.second_tuning()]
    command = [sys.executable, "-c", KILLED, *map(str, [out, made.questions(), *models])]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    left = contents(out)
    assert "results/measured/image-image_mean-003.npz" in left and "results/measured/image-last-003.json" in left
    assert "results/measured/image-image_mean-003.json" not in left
    times = {name: (out / name).stat().st_mtime_ns for name in left if name.endswith((".json", ".safetensors"))}
    with RunDir.alone(out):
        made.compared(out, made.of(made.changed(PLANTED), made.second_tuning()))
    assert {name: (out / name).stat().st_mtime_ns for name in times} == times
    assert contents(out) == contents(whole)


def test_progress_reaches_the_end_of_every_step(tmp_path):
    """Of a run that has everything but its last results each step says at once that it is done."""
    told = {}
    run = made.identical()
    (run.path / "results/compare.json").rename(tmp_path / "away")
    made.compared(
        run.path, made.of(made.changed(None), made.changed(None, 1)), lambda *step: told.update({step[0]: step[1:]})
    )
    assert all(done == total for done, total in told.values())
    assert list(told)[:4] == ["base: states", "tuned: states", "floor: states", "again: states"]
    assert (run.path / "results/compare.json").read_bytes() == (tmp_path / "away").read_bytes()


def test_samples_are_of_different_pictures_and_words():
    asked = [
        PictureQuestion(f"{picture}-{words}", f"{picture}.png", f"{words}?", "yes")
        for picture in range(6)
        for words in ("what", f"how {picture}", f"where {picture // 2}")
    ]
    for seed in range(5):
        chosen = drawn(asked, 100, seed)
        assert len({one.image for one in chosen}) == len({one.question for one in chosen}) == len(chosen) == 6
        assert chosen == drawn(asked, 100, seed) and drawn(asked, 3, seed) == chosen[:3]
    assert len({tuple(drawn(asked, 3, seed)) for seed in range(5)}) > 1


def test_without_its_picture_a_question_keeps_its_words():
    prompts = made.of(made.changed(PLANTED)).prompts
    for shown, alone in zip(prompts["image"], prompts["text"], strict=True):
        assert alone.images == () and shown.images and shown.turns[0].text == f"<image>\n{alone.turns[0].text}"


def test_bands_are_wide_enough_for_all_sites_together():
    """Of 20 independent sites all are within their bands in 95 of 100 cases, not in 36."""
    rng = np.random.default_rng(0)
    inside = [
        all((band["low"] <= 0) & (band["high"] >= 0))
        for band in (banded(rng.normal(size=20), np.ones(20)) for _ in range(1000))
    ]
    assert 0.93 < np.mean(inside) < 0.97


def test_a_format_control_adds_what_it_and_what_the_pictures_changed():
    models = {**made.of(made.changed(PLANTED)).models, "control": made.changed(PLANTED + 1)}
    pairs = pairs_of(tuning(models, made.questions(), COUNT, 0))
    assert pairs["control"] == ("base", "control") and pairs["gain"] == ("control", "tuned")


def test_few_samples_and_few_pictures_are_refused(tmp_path):
    models = dict(made.of(made.changed(PLANTED)).models)
    with pytest.raises(UsageError, match="49 samples: a tuning is studied on 50 or more; ask for as many"):
        tuning(models, made.questions(), 49, 0)
    few = shutil.copytree(made.questions(), tmp_path / "few")
    rows = (few / "questions.jsonl").read_text().splitlines()
    (few / "questions.jsonl").write_text("\n".join(rows[:49]))
    with pytest.raises(UsageError, match="few: 49 samples of different pictures and questions; 50 are needed"):
        tuning(models, few, 50, 0)


def test_the_seed_draws_the_tokens_too(tmp_path, monkeypatch):
    """Of which states are kept, as docs/tuning.md says; nothing is collected here."""
    seeds = []

    def collect(*_, streams, **more):
        seeds.append(streams.seed)
        raise LapilliError("enough")

    monkeypatch.setattr(study, "collect", collect)
    for seed in (0, 5):
        of = replace(made.of(made.changed(PLANTED)), seed=seed)
        with pytest.raises(LapilliError, match="enough"):
            made.compared(tmp_path / str(seed), of)
    assert seeds == [0, 5]


def test_a_run_of_another_number_format_is_not_gone_on_with(tmp_path):
    """As of the comparison inside of `lapilli claims`, which is in float32."""
    of = made.of(made.changed(PLANTED))
    begun(tmp_path / "run", of, Placement(dtype="fp32"), RESULT, 1)
    for placement in (AS_STORED, Placement(dtype="bf16")):
        with pytest.raises(LapilliError, match=r"a run of another recipe \(dtype\)"):
            begun(tmp_path / "run", of, placement, RESULT, 1)
    begun(tmp_path / "run", of, Placement(dtype="fp32"), RESULT, 1)


def test_a_model_of_other_words_is_refused_before_anything_is_written(tmp_path):
    of = made.of(made.changed(PLANTED))
    other = replace(of, models={**of.models, "tuned": path_of("qwen2")})
    with pytest.raises(LapilliError, match="compare models of one tokenizer and template"):
        made.compared(tmp_path / "run", other)
    assert not (tmp_path / "run").exists()
