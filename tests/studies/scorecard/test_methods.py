"""Methods against formulas written out once more, on the model's own attention matrices, and against what is known."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from tests.studies.scorecard import held

from lapilli.core.errors import LapilliError, UsageError
from lapilli.studies.scorecard import plan
from lapilli.studies.scorecard.case import reshown
from lapilli.studies.scorecard.method import Method
from lapilli.studies.scorecard.methods import attention, baselines, gradients, perturbation, readouts, released
from lapilli.studies.scorecard.methods.building_blocks import all_paths_tokens
from lapilli.studies.scorecard.methods.registry import METHODS, chosen, methods_of_file
from lapilli.studies.scorecard.methods.released import wrong_grid
from lapilli.studies.scorecard.operators import OPERATORS, WordAfterRemoval

MODELS = ("deep", "mistral")


@contextmanager
def eager(case):
    model = case.llava.model
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    yield model
    model.set_attn_implementation(before)


def matrices(case, grad=False):
    """Attention (layer, head, token, token) of a plain eager run; if asked for, its gradient of the centred logit."""
    with eager(case) as model, torch.set_grad_enabled(grad):
        embeds = held.embeddings(case, case.pixels).requires_grad_(grad)
        out = model(inputs_embeds=embeds, use_cache=False, output_attentions=True)
        logits = out.logits[:, case.queries.tolist()].float()
        found = [one[0].detach().double().numpy() for one in out.attentions]
        if not grad:
            return found
        target = sum(logits[0, query, token] - logits[0, query].mean() for query, token in enumerate(case.ids.tolist()))
        slopes = torch.autograd.grad(target, out.attentions)
        return found, [one[0].double().numpy() for one in slopes]


@pytest.mark.parametrize("name", MODELS)
def test_mean_attention(name):
    case = held.case(name)
    mean = np.mean([one.mean(0) for one in matrices(case)], axis=0)
    np.testing.assert_allclose(attention.mean_attention(case), mean[case.queries][:, case.patches].sum(0), atol=1e-6)


def test_attention_of_a_layer():
    case, method = held.case("deep"), {method.name: method for method in METHODS}["attention, best layer"]
    expected = [one.mean(0)[case.queries][:, case.patches].sum(0) for one in matrices(case)]
    np.testing.assert_allclose(method.maps(case), expected, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_rollout(name):
    case = held.case(name)
    reached = np.eye(len(case.trace.ids))
    for one in matrices(case):
        reached = (0.5 * one.mean(0) + 0.5 * np.eye(len(reached))) @ reached
    np.testing.assert_allclose(attention.rollout(case), reached[case.queries][:, case.patches].sum(0), atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_relevancy_and_attention_gradient(name):
    case = held.case(name)
    weights, slopes = matrices(case, grad=True)
    relevance, summed = np.eye(len(case.trace.ids)), 0.0
    for one, slope in zip(weights, slopes, strict=True):
        relevance = relevance + np.maximum(one * slope, 0).mean(0) @ relevance
        summed = summed + (one * np.maximum(slope, 0)).mean(0)
    at = np.ix_(case.queries, case.patches)
    np.testing.assert_allclose(gradients.relevancy(case), relevance[at].sum(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(gradients.attention_gradient(case), summed[at].sum(0), rtol=1e-4, atol=1e-6)


def test_value_weighted_attention():
    case = held.case("deep")  # which has a head of values for every head
    model, trace = case.llava.model.model.language_model, case.trace
    found = []
    for layer, weights in enumerate(matrices(case)):
        block = model.layers[layer]
        with torch.no_grad():
            values = block.self_attn.v_proj(block.input_layernorm(trace.stream.resid[layer]))
            by_head = values.unflatten(-1, (weights.shape[0], -1)).double().numpy()
            matrix = block.self_attn.o_proj.weight.double().numpy().reshape(-1, *by_head.shape[1:])
        brought = np.einsum("hrt,thd,mhd->rtm", weights[:, case.queries], by_head, matrix)
        found.append(np.linalg.norm(brought, axis=-1))
    expected = np.mean(found, axis=0)[:, case.patches].sum(0)
    np.testing.assert_allclose(attention.value_weighted(case), expected, rtol=1e-4, atol=1e-6)


def test_cam_is_grad_cam_at_its_layer():
    case = held.case("deep")
    layer = round(13 / 32 * 5)
    norm = case.llava.model.model.language_model.layers[layer].post_attention_layernorm
    kept = []
    hook = norm.register_forward_hook(lambda module, given, output: (output.retain_grad(), kept.append(output))[0])
    embeds = held.embeddings(case, case.pixels).requires_grad_()
    held.centred(case, embeds).sum().backward()
    hook.remove()
    at = case.patches.tolist()
    activations, slopes = kept[0].detach()[0, at].double().numpy(), kept[0].grad[0, at].double().numpy()
    expected = np.maximum((activations * np.maximum(slopes, 0).mean(0)).mean(1), 0)
    np.testing.assert_allclose(gradients.llava_cam(case), expected, rtol=1e-3, atol=1e-7)
    case.llava.model.zero_grad()


def test_integrated_gradients_come_to_the_difference():
    """The more steps, the less is missed."""
    case = held.case("deep")
    missed = [gradients.integrated_with_error(case, steps)[1] for steps in (4, 64)]
    assert missed[1] < 0.02 and missed[1] < missed[0]


def additive(weights):
    """An operator under which the word loses each removed patch's weight."""
    return lambda case, sets: WordAfterRemoval(*3 * [case.log_prob - np.array([weights[some].sum() for some in sets])])


def test_windows_slide_over_a_grid_by_one_patch():
    assert [one.tolist() for one in perturbation.windows((2, 3), 2)] == [[0, 1, 3, 4], [1, 2, 4, 5]]
    assert [one.tolist() for one in perturbation.windows((2, 3), 1)] == [[number] for number in range(6)]
    assert [one.tolist() for one in perturbation.windows((2, 4), 3)] == [[0, 1, 2, 4, 5, 6], [1, 2, 3, 5, 6, 7]]
    assert len(perturbation.windows((24, 24), 3)) == 22 * 22


def test_a_windows_loss_is_shared_out_among_its_patches():
    """Of 3 x 3 patches a corner is in one window of 2 x 2, a side in two, the middle in four."""
    case, weights = held.case("deep"), np.arange(9.0)
    found = perturbation.losses(case, additive(weights), 2).reshape(3, 3)
    corners = np.array([[0 + 1 + 3 + 4, 1 + 2 + 4 + 5], [3 + 4 + 6 + 7, 4 + 5 + 7 + 8]]) / 4
    np.testing.assert_allclose(found[::2, ::2], corners)
    np.testing.assert_allclose(found[::2, 1], corners.mean(1))
    np.testing.assert_allclose(found[1, ::2], corners.mean(0))
    assert found[1, 1] == pytest.approx(corners.mean())


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_where_only_the_number_counts_windows_foretell_it(size):
    case = held.case("deep")
    np.testing.assert_allclose(perturbation.losses(case, additive(np.full(9, 0.7)), size), 0.7)


def test_windows_find_what_two_patches_say_each_for_itself():
    """A word that is lost only without both of two neighbours: each patch alone costs nothing."""
    case = held.case("deep")

    def needs_either(case, sets):
        return WordAfterRemoval(*3 * [case.log_prob - np.array([float({4, 5} <= set(some.tolist())) for some in sets])])

    assert not perturbation.losses(case, needs_either).any()
    found = perturbation.losses(case, needs_either, 2)
    assert (4 * found).tolist() == [0, 0.5, 1] * 3  # two of the four windows hold both, and all of the right column


def test_rise_finds_the_only_part_that_matters(monkeypatch):
    case = held.case("deep")
    target = held.cell_mask(case, [2])

    def only_one_patch(case, other, masks):
        return type(
            "Left", (), {"log_prob": np.log(1.001 - masks[:, torch.from_numpy(target)].mean(1).double().numpy())}
        )

    monkeypatch.setattr(perturbation, "painted_pixels", only_one_patch)
    assert perturbation.rise(case).argmax() == 2


def test_rise_masks_let_half_through():
    masks = perturbation._rise_masks(held.case("deep"))
    assert masks.shape == (perturbation.MASKS, *held.case("deep").pixels.shape[-2:])
    assert masks.min() >= 0 and masks.max() <= 1
    assert float(masks.mean()) == pytest.approx(perturbation.KEPT, abs=0.02)


def test_tam_takes_away_what_earlier_words_explain():
    """With the only other word's map the same as its own, nothing is left."""
    case = held.case("deep")
    reading = readouts._readings(case, case.patches)
    query = int(case.queries[0])
    own = reading[:, int(case.trace.ids[query + 1])].clamp_min(0).double().numpy()
    left = readouts._without_earlier(case, reading.clamp_min(0), query)
    assert (left >= 0).all() and left.sum() <= own.sum() + 1e-9
    same = reading.clamp_min(0)[:, [int(case.trace.ids[query + 1])]].expand(-1, reading.shape[1])
    np.testing.assert_allclose(readouts._without_earlier(case, same, query), 0, atol=1e-5)


def test_rank_filter_is_a_mean_that_leaves_outliers_out():
    assert readouts._rank_gaussian(np.full(9, 2.0)) == pytest.approx(2)
    window = np.array([1.0] * 8 + [1.2])
    assert abs(readouts._rank_gaussian(window) - 1) < 0.001


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_maps_every_patch_and_says_what_it_does(method):
    case = held.case("deep")
    first = method(case)
    assert first.shape == case.patches.shape and first.dtype == np.float64
    np.testing.assert_array_equal(method(case), first)  # what is drawn, is drawn again
    assert method.says.endswith(".") and "\n" not in method.says
    assert method.paper or method.family == "floor" or method.ours


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_no_method_leaves_a_trace_in_the_model(method):
    case = held.case("deep")
    model = case.llava.model
    matrices(case)  # transformers leaves hooks of its own behind when it is asked for attention
    hooks, before = hooks_of(model), held.log_prob(case, case.pixels)
    method(case)
    assert held.log_prob(case, case.pixels) == before and hooks_of(model) == hooks
    assert model.config.text_config._attn_implementation == "sdpa"
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def hooks_of(model):
    return [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()]


def test_the_floors_know_nothing_of_the_answer():
    """But for another picture's map, which is of the same answer."""
    one, other = held.case("deep"), held.case("deep", said="no, a red triangle")
    assert not np.array_equal(one.trace.ids, other.trace.ids)
    for floor in (baselines.random, baselines.centre, baselines.raster, baselines.edges):
        np.testing.assert_array_equal(floor(one), floor(other))
    assert not np.allclose(baselines.other_picture(one), baselines.other_picture(other))


def test_another_pictures_map_knows_nothing_of_the_picture():
    case = held.case("deep")
    shown = reshown(case, ImageOps.mirror(case.view))
    np.testing.assert_array_equal(baselines.other_picture(shown), baselines.other_picture(case))
    assert not np.allclose(all_paths_tokens(shown), all_paths_tokens(case))


def test_the_floors_are_what_they_say():
    case = held.case("deep")
    np.testing.assert_array_equal(baselines.raster(case), range(9))
    corner, side = np.exp(-4), np.exp(-2)  # half a picture off is two spreads
    np.testing.assert_allclose(baselines.centre(case), [corner, side, corner, side, 1, side, corner, side, corner])
    assert not np.isclose(baselines.random(case), baselines.random(held.case("deep", 4))).any()
    dot = Image.new("RGB", case.view.size)
    dot.putpixel((20, 12), (200, 200, 200))  # x, y: in the last patch of the middle row
    np.testing.assert_allclose(baselines.edges(replace(case, view=dot)), 400 * (np.arange(9) == 5))


def test_the_wrong_grid_shows_the_last_patches_alone():
    case = held.case("deep")
    values = np.zeros(len(case.patches))
    side = round(2 / 3 * case.grid[0])
    values[: len(values) - side**2] = 9  # what the fault never sees
    np.testing.assert_array_equal(wrong_grid(case, values), 0)


def test_a_stranger_adds_a_method_in_a_file(tmp_path):
    """The file that the documentation shows."""
    text = (Path(__file__).parents[3] / "docs" / "scorecard.md").read_text(encoding="utf-8")
    program = text.partition("```python\n")[2].partition("```")[0]
    assert program.count("\n") <= 30
    file = tmp_path / "mine.py"
    file.write_text(program)
    (mine,) = methods_of_file(file)
    assert [method.name for method in chosen((mine.name, "direct"), file)] == ["random", "direct", mine.name]
    assert mine.paper == "whoever proposed it."
    case = held.case("deep")
    np.testing.assert_allclose(mine(case), matrices(case)[0].mean(0)[case.queries][:, case.patches].sum(0), atol=1e-6)


def test_files_without_methods_are_refused(tmp_path):
    (tmp_path / "empty.py").write_text("x = 1\n")
    for name in ("empty.py", "none.py"):
        with pytest.raises(LapilliError, match="METHODS"):
            methods_of_file(tmp_path / name)


def test_the_plan_names_what_there_is():
    assert tuple(method.name for method in (*METHODS, *released.METHODS)) == plan.METHODS
    assert tuple(OPERATORS) == plan.OPERATORS


def test_methods_are_chosen_by_name_beside_the_random_map():
    assert [method.name for method in chosen(("direct",))] == ["random", "direct"]
    assert {"TAM, wrong grid", "LLaVA-CAM, wrong grid"} <= {method.name for method in chosen(as_released=True)}
    assert [method.name for method in chosen(("TAM, wrong grid",))] == ["random", "TAM, wrong grid"]
    with pytest.raises(UsageError, match="method 'dierct': unknown"):
        chosen(("dierct",))


def test_what_starts_from_what_an_operator_leaves_is_marked():
    """The picture of the mean color, blurred cells, tokens that are not there."""
    marked = {name: {m.name for m in METHODS if name in m.operators} for name in OPERATORS}
    assert marked["mean"] == {"RISE", "integrated gradients", "all paths, to pixels"}
    assert marked["blur"] == {m.name for m in METHODS if m.name.startswith("occlusion")}
    tokens = {m.name for m in METHODS if m.name.startswith(("token drop", "read knock-out"))}
    assert marked["drop"] == marked["knockout"] == tokens and len(tokens) == 4


def test_ten_heads_are_shown_beside_how_many_there_are():
    names = [[m.with_head_count(heads).name for m in METHODS if "head" in m.name] for heads in (20, 1024, 8)]
    assert [two[1] for two in names] == [
        f"log-prob increase, top {one} heads" for one in ("10 of 20", "10 of 1024", "8 of 8")
    ]
    assert {two[0] for two in names} == {"log-prob increase, top head"}


def test_a_map_of_another_shape_is_refused():
    case = held.case("deep")
    with pytest.raises(ValueError, match="method 'bad'"):
        Method("bad", "floor", lambda case: np.zeros(3))(case)
    with pytest.raises(ValueError, match="not finite"):
        Method("bad", "floor", lambda case: np.full(len(case.patches), np.nan))(case)


def test_every_listed_name_is_one_methods():
    assert len({method.name for method in METHODS}) == len(METHODS) >= 20
