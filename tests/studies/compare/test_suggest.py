"""Suggested layers: scores with known answers, orders of known scores, and a mask that a training takes."""

import json
import math
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.lessons import recipe
from tests.parts import joined
from tests.studies.compare import made
from tests.studies.compare.made import LAYERS, PLANTED

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.placement import Placement
from lapilli.core.plain import plain
from lapilli.core.run import RunDir
from lapilli.data.pictures import open_picture
from lapilli.inspection.measures import linear_cka
from lapilli.inspection.recording import answered
from lapilli.inspection.streams import stored
from lapilli.model.llava import load
from lapilli.model.parts import origin
from lapilli.model.placement import placed
from lapilli.report.compare.page import render
from lapilli.report.compare.suggestion import lines, tables
from lapilli.studies.compare.layer_scores import gradient_norms, layer_contributions
from lapilli.studies.compare.local import batch_of
from lapilli.studies.compare.selectors import (
    Scores,
    by_samples,
    evenly,
    patch_effects,
    require_usable,
    suggested,
    write_masks,
)
from lapilli.studies.compare.settings import RESULT, Suggestion
from lapilli.studies.compare.study import opened, study
from lapilli.studies.tuning import tuning
from lapilli.training.loop import train
from lapilli.training.tuning import LlmTuning, PartTuning, with_layers_read

_HOLD = TemporaryDirectory(prefix="lapilli-suggest-")
COUNT = 2


def compared(folder):
    models = made.of(made.changed(PLANTED)).models
    of, suggestion = tuning(models, made.captioned(), made.COUNT, 0), Suggestion(COUNT)
    run = opened(folder, of, suggestion=suggestion)
    study(of, run, Placement(), lambda *_: None, suggestion)
    return run


@cache
def planted():
    """A comparison with suggestions and captions, of a tuning that changed layer PLANTED alone."""
    return compared(Path(_HOLD.name) / "planted")


def by_name(result):
    return {one["name"]: one for one in result["suggested"]["selectors"]}


def pictures(name):
    return open_picture(made.questions() / "images", name)


def few(count=4):
    of = made.of(made.changed(PLANTED))
    return of.prompts["image"][:count], [question.answer for question in of.questions[:count]]


def test_the_planted_layer_is_the_first_by_local_change():
    local = by_name(planted().load(RESULT))["local"]
    assert local["order"][0] == PLANTED and PLANTED in local["layers"] and local["often"][PLANTED] == 1
    assert local["n"] == made.COUNT and local["scores"]["low"][PLANTED] > 0


def test_every_mask_is_one_that_recipes_take():
    result = planted().load(RESULT)
    files = {file.stem: file for file in (planted().path / "masks").iterdir()}
    assert set(files) == {"local", "similarity", "gradient", "contribution", "random", "uniform"}
    for name, one in by_name(result).items():
        layers = with_layers_read(LlmTuning(layers=str(files[name]))).layers
        assert list(layers) == one["layers"] and len(layers) == COUNT and max(layers) < LAYERS
    assert result["suggested"]["missing"] == {"patch": "needs a patching study of these models: --patched"}


def test_dissimilarity_is_that_of_the_kept_states():
    states = stored(planted(), "base-image")
    value = by_name(planted().load(RESULT))["similarity"]["scores"]["value"]
    before, after = (states.at("image_mean", f"llm.layers.{layer}.resid_post") for layer in (1, 2))
    assert value[2] == pytest.approx(1 - linear_cka(before, after).value, abs=1e-9)


def test_captions_are_the_longest_and_of_all_pictures_or_none(tmp_path):
    of = made.of(made.changed(PLANTED))
    assert of.captions == []
    shutil.copytree(made.captioned(), tmp_path / "data")
    with_captions = tuning(of.models, tmp_path / "data", made.COUNT, 0)
    for question, caption in zip(with_captions.questions, with_captions.captions, strict=True):
        assert caption.turns[0].text == f"This is picture {question.image[:-4]} here." and not caption.images
    lines = (tmp_path / "data/context.jsonl").read_text().splitlines()
    (tmp_path / "data/context.jsonl").write_text("\n".join(lines[1:]))
    assert tuning(of.models, tmp_path / "data", made.COUNT, 0).captions == []


def captions_of(folder, rows):
    """The captions that the comparison reads of the same pictures, if those of the first are on these rows."""
    shutil.copytree(made.captioned(), folder)
    lines = (folder / "context.jsonl").read_text().splitlines()[1:]
    more = [json.dumps({"id": f"of-0-{n}", "image": "0.png", **row}) for n, row in enumerate(rows)]
    (folder / "context.jsonl").write_text("\n".join([*lines, *more]))
    of = tuning(made.of(made.changed(PLANTED)).models, folder, made.COUNT, 0)
    return [caption.turns[0].text for caption in of.captions]


def test_the_longest_caption_is_that_of_all_rows_of_a_picture(tmp_path):
    captions = (["Of three words."], ["Of words that are five.", " " * 30], ["No."])
    texts = captions_of(tmp_path / "data", [{"captions": some} for some in captions])
    assert len(texts) == made.COUNT and [text for text in texts if "Of" in text] == ["Of words that are five."]


def test_a_caption_without_text_is_none(tmp_path):
    instances = [{"category": "ball", "bbox": [0, 0, 1, 1]}]
    for number, captions in enumerate(([""], [" \n"], [])):
        assert captions_of(tmp_path / str(number), [{"captions": captions, "instances": instances}]) == []


def test_damaged_captions_are_refused_before_anything_is_written(tmp_path):
    shutil.copytree(made.captioned(), tmp_path / "data")
    with (tmp_path / "data/context.jsonl").open("a") as file:
        file.write("\n{")
    of = tuning(made.of(made.changed(PLANTED)).models, tmp_path / "data", made.COUNT, 0)
    with pytest.raises(LapilliError, match=f"context.jsonl:{made.COUNT + 1}: "):
        opened(tmp_path / "run", of)
    assert not (tmp_path / "run").exists()


def test_turns_and_captions_are_those_of_the_kept_states():
    """A planted change shows from its layer on, and before it both models are one."""
    arrays = planted().load_arrays(RESULT)
    states, captions = stored(planted(), "tuned-image"), stored(planted(), "tuned-caption")
    before, after = (states.at("image_random", f"llm.layers.{layer}.resid_post") for layer in (2, 3))
    turn = arrays["turn-tuned-image_random-samples"]
    np.testing.assert_allclose(turn[3], 1 - torch.cosine_similarity(before.double(), after.double()).numpy(), atol=1e-9)
    assert (
        turn.shape == (LAYERS, made.COUNT)
        and captions.at("question_mean", "llm.layers.2.resid_post").shape[0] == made.COUNT
    )
    for name in ("turn-{}-question_random-samples", "caption-overlap-{}-samples"):
        tuned, base = arrays[name.format("tuned")], arrays[name.format("base")]
        first = PLANTED + name.startswith("caption")  # site 0 is before the first layer
        np.testing.assert_array_equal(tuned[:first], base[:first])
        assert (tuned[first:] != base[first:]).any()
    assert arrays["caption-probe-tuned-samples"].shape == arrays["caption-cosine-base-samples"].shape


def test_what_is_missing_is_made_again_to_the_same_bytes(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(planted().path, folder)
    before = {name: (folder / name).read_bytes() for name in ("results/compare.json", "masks/contribution.json")}
    for name in (*before, "results/scores/contribution.json", "results/scores/contribution.npz"):
        (folder / name).unlink()
    compared(folder)
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_page_and_lines_name_every_selector_its_layers_and_the_missing_ones():
    result = planted().load(RESULT)
    page, said = render(result), list(lines(result))
    assert len(said) == 7 and said[-1].startswith("patch effect: none, needs a patching study")
    assert f"local change: layers {', '.join(map(str, by_name(result)['local']['layers']))} (masks/local.json)" in said
    assert "None of them has been shown here to beat random layers" in page and "random orders" in page
    assert "Which layers to train?" not in render({name: result[name] for name in result if name != "suggested"})


def test_gradient_norms_are_slopes_of_the_loss():
    """A small step of a layer along its gradient changes the loss by |gradient| times its length."""
    llava, (samples, answers) = load(made.base()), few(1)
    model, layer = llava.model, 1
    (norms,) = gradient_norms(llava, samples, answers, pictures, lambda done: None).T
    weights = list(model.model.language_model.layers[layer].parameters())
    batch = placed(batch_of(llava, [answered(llava, samples[0], answers[0])], pictures, labels=True), model)
    gradients = torch.autograd.grad(model(**batch).loss, weights)
    length = math.sqrt(sum(float((one**2).sum()) for one in gradients))

    def loss(step):
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight += step * gradient / length
            value = float(model(**batch).loss)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight -= step * gradient / length
        return value

    size = math.sqrt(sum(float((weight.detach() ** 2).sum()) for weight in weights))
    slope = (loss(0.02) - loss(-0.02)) / 0.04
    assert norms[layer] * size == pytest.approx(slope, rel=0.02)
    assert all(weight.grad is None for weight in model.parameters())


def test_a_layer_that_does_nothing_and_the_last_one_contribute_nothing():
    """Behind the last layer nobody reads image tokens; one whose outputs are 0 passes every token on as it came."""
    samples, _ = few()
    llava = load(made.base())
    idle = llava.model.model.language_model.layers[1]
    matrices = [idle.self_attn.o_proj.weight, idle.mlp.down_proj.weight]
    whole = layer_contributions(llava, samples, pictures, lambda done: None)
    with torch.no_grad():
        for matrix in matrices:
            matrix.zero_()
        values = layer_contributions(llava, samples, pictures, lambda done: None)
    assert whole.shape == values.shape == (LAYERS, len(samples))
    assert not values[1].any() and not values[-1].any() and not whole[-1].any()
    assert (whole[:-1] > 0).all() and (values[[0, 2, 3]] > 0).all()


def patching(folder, effects, gain=2.0, weights=None):
    """A finished patching study in which layer l alone brings `effects[l]`."""
    weights = weights or {"base": origin(made.base()).sha256, "tuned": origin(made.changed(PLANTED)).sha256}
    run = RunDir.begin(folder, {"study": "patch", "weights": weights}, 0)
    noise = 0.1 * np.random.default_rng(0).standard_normal(60)
    own, rows = 1 + noise, [np.ones(60) + noise + effect + 0.1 * noise**2 for effect in effects]
    tuned = own + gain * (1 + noise[::-1])
    run.save_arrays("patch", {"image-base-tuned-content": [own, *rows], "image-tuned-base-content": [tuned]})
    windows = [{"start": layer, "stop": layer + 1, "at": layer + 1} for layer in range(len(effects))]
    run.save("patch", {"windows": [*windows, {"start": 0, "stop": 2, "at": 0}]})
    run.finish()
    return run


def test_patch_effects_are_what_single_layers_bring(tmp_path):
    scores = patch_effects(patching(tmp_path / "a", [0.5, 1.0, -0.25]), 0)
    np.testing.assert_allclose(scores.value, [0.5, 1.0, -0.25], atol=0.01)
    assert scores.n == 60
    nothing = patch_effects(patching(tmp_path / "b", [0.5, 1.0, -0.25], gain=0.0), 0)
    assert nothing == "the tuning gained nothing about the questions of the patching study"


def test_what_cannot_be_suggested_is_refused(tmp_path):
    of = made.of(made.changed(PLANTED))
    with pytest.raises(UsageError, match=f"--suggest {LAYERS}: the language model has {LAYERS} layers; give 1 to 4"):
        require_usable(Suggestion(LAYERS), of)
    require_usable(Suggestion(1, patching(tmp_path / "fine", [0.1, 0.2]).path), of)
    other = patching(tmp_path / "other", [0.1, 0.2], weights={"base": origin(made.base()).sha256, "tuned": "0"})
    with pytest.raises(UsageError, match="its tuned is another than"):
        require_usable(Suggestion(1, other.path), of)
    shutil.copytree(planted().path, tmp_path / "comparison")
    comparison = RunDir.open(tmp_path / "comparison")
    comparison.finish()
    with pytest.raises(UsageError, match="no run of `lapilli patch`"):
        require_usable(Suggestion(1, comparison.path), of)


def test_a_finished_run_is_opened_without_its_patching_study(tmp_path):
    """Only its page is drawn again; one that goes on needs the study."""
    of, suggestion = made.of(made.changed(PLANTED)), Suggestion(COUNT, patching(tmp_path / "patch", [0.1, 0.2]).path)
    run = opened(tmp_path / "run", of, suggestion=suggestion)
    shutil.rmtree(suggestion.patched)
    with pytest.raises(LapilliError, match="patch: not a run folder"):
        opened(tmp_path / "run", of, suggestion=suggestion)
    run.finish()
    assert opened(tmp_path / "run", of, suggestion=suggestion).is_complete
    with pytest.raises(LapilliError, match=r"a run of another recipe \(patched\)"):
        opened(tmp_path / "run", of, suggestion=Suggestion(COUNT, tmp_path / "other"))


@pytest.mark.parametrize(
    ("depth", "count", "layers"), [(5, 2, [1, 3]), (32, 8, [2, 6, 10, 14, 18, 22, 26, 30]), (5, 4, [0, 1, 3, 4])]
)
def test_even_layers(depth, count, layers):
    assert evenly(depth, count) == layers


def scores(values):
    """Of 80 samples with little noise."""
    noise = 0.01 * np.random.default_rng(1).standard_normal((len(values), 80))
    return by_samples(np.asarray(values, float)[:, None] + noise, 0)


def test_orders_of_known_scores_and_their_agreement():
    depth = 12
    rising = np.arange(depth, dtype=float)
    made_of = suggested(
        {"local": scores(rising), "gradient": scores(-rising), "contribution": scores(np.zeros(depth) + 1)},
        depth, 3, seed=5,
    )  # fmt: skip
    selectors = {one["name"]: one for one in made_of["selectors"]}
    assert selectors["local"]["order"] == list(range(depth))[::-1] and selectors["local"]["layers"] == [9, 10, 11]
    assert selectors["local"]["often"].tolist() == [0.0] * 9 + [1.0] * 3
    names = made_of["agreement"]["names"]
    table = np.array(made_of["agreement"]["correlation"])
    assert table[names.index("local"), names.index("gradient")] == -1 and np.allclose(np.diag(table), 1)
    again = suggested({"local": scores(rising)}, depth, 3, seed=5)["selectors"]
    assert {one["name"]: one for one in again}["random"] == selectors["random"]
    shared = made_of["shared"]
    assert shared["counts"][0][1] == 0 and shared["counts"][0][0] == 3 and shared["chance"] == 9 / depth


def test_equal_scores_choose_nothing_and_unknown_ones_come_last():
    value = np.array([math.nan, 1.0, 2.0])
    unknown = Scores(value, np.zeros(3), np.tile(value, (4, 1)), 10)
    equal = Scores(np.ones(3), np.zeros(3), np.ones((4, 3)), 10)
    found = suggested({"similarity": unknown, "local": equal}, 3, 1, 0)
    assert found["missing"] == {"local": "every layer has the same score"}
    assert found["selectors"][0]["order"] == [2, 1, 0]


@pytest.mark.parametrize("unknown", [math.nan, math.inf, -math.inf])
def test_of_layers_without_a_finite_score_nothing_is_said(unknown):
    """An idle layer has 0 / 0, and one that is idle in the base alone x / 0; the page is drawn of both."""
    values = np.array([3.0, 1.0, 2.0, 4.0])[:, None] + 0.01 * np.random.default_rng(1).standard_normal((4, 80))
    values[1, 7] = unknown
    found = suggested({"local": by_samples(values, 0), "similarity": scores([1, 2, 3, 4])}, 4, 2, 0)
    local = found["selectors"][0]
    assert local["order"] == [3, 0, 2, 1] and local["layers"] == [0, 3]
    np.testing.assert_array_equal(local["often"], [1, math.nan, 0, 1])
    assert [np.isfinite(band).tolist() for band in local["scores"].values()] == [[True, False, True, True]] * 3
    assert np.isfinite(found["agreement"]["correlation"]).all()
    cell = tables({"suggested": plain(found)})["layers"][1]["cells"][0]
    assert cell == {"chosen": False, "place": "4", "score": "– [–, –]", "often": "–"}


def test_an_agreement_that_is_not_known_is_drawn_as_none():
    found = plain(suggested({"local": scores([1, 2, 3, 4])}, 4, 2, 0))
    found["agreement"]["correlation"][0][1] = None
    assert tables({"suggested": found})["agreement"][0]["cells"][1] == {"text": "–", "beyond": False}


def test_random_orders_agree_by_chance_as_often_as_is_said():
    """Of 20 layers the ends are those of Spearman's distribution, +-.447 by the tables (n = 20, two-sided .05)."""
    chance = suggested({}, 20, 3, 0)["agreement"]["chance"]
    assert chance["low"] == pytest.approx(-0.447, abs=0.02) and chance["high"] == pytest.approx(0.447, abs=0.02)


def test_a_training_with_a_mask_changes_its_layers_alone(tmp_path):
    """A mask of one of two layers: every matrix of that moves, and nothing else of the model."""
    run = RunDir.create(tmp_path / "suggested", {"study": "compare"}, 0)
    write_masks(run, suggested({"local": scores([2.0, 1.0])}, 2, 1, 0))
    llm = LlmTuning(layers=str(run.path / "masks/local.json"))
    trained = train(recipe(tmp_path, llm=llm, projector=PartTuning(mode="frozen"), max_steps=2), progress=False)
    before, after = (
        load_file(folder / "model.safetensors") for folder in (joined("clip", "llama"), trained.path / "model")
    )
    moved = {name for name in before if not torch.equal(before[name], after[name].to(before[name].dtype))}
    assert moved and {name for name in before if ".layers.0." in name and "language" in name} == moved
