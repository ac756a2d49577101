"""What is read of hybrids: the numbers of models whose modules are exchanged and that are run from the start."""

from functools import cache

import numpy as np
import pytest
import torch
from tests.inspection.runs import llava_of, path_of
from tests.parts import picture

from lapilli.core.errors import LapilliError
from lapilli.core.placement import Placement
from lapilli.data.collate import collate
from lapilli.data.encode import IGNORED
from lapilli.data.questions import PictureQuestion, without_pictures
from lapilli.inference.choice import answer_losses
from lapilli.inspection.intervention.patching import patched
from lapilli.inspection.recording import answered
from lapilli.model.llava import load
from lapilli.model.llm_modules import LLM_MODULES
from lapilli.studies.candidates import MOST, candidates, readouts
from lapilli.studies.patch import study
from lapilli.studies.patch.plan import Plan
from lapilli.studies.patch.random_change import change_at_random
from lapilli.studies.patch.reading import AT_ONCE, read_answers
from lapilli.studies.patch.swapping import in_same_words, with_other_pictures
from lapilli.studies.tuning import Tuning

TEXTS = [["red", "a blue square", "three"], ["yes", "no"], ["green", *(f"{number} red" for number in range(7))]]
SAMPLES = [PictureQuestion(str(number), str(number), f"What is {number}?", "").sample for number in range(len(TEXTS))]
PLAN = Plan(5)


def shown(name):
    return picture(int(name))


@cache
def tuned():
    """The deep model, changed everywhere."""
    llava = load(path_of("deep"))
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in llava.model.parameters():
            weight += 0.1 * weight.std() * torch.randn_like(weight) if weight.numel() > 1 else 0
    return llava


@torch.inference_mode()
def by_hand(llava, samples):
    """Of every sample's candidates log p and whether every token is the likeliest, of a whole model as it is."""
    sequences = [answered(llava, one, text) for one, texts in zip(samples, TEXTS, strict=True) for text in texts]
    rows = []
    for start in range(0, len(sequences), AT_ONCE):
        chosen = sequences[start : start + AT_ONCE]
        names = [name for sequence in chosen for name in sequence.images]
        pixels = llava.pixels([shown(name) for name in names]) if names else None
        batch = collate(chosen, llava.codec.tokenizer.pad_token_id, "right", pixels)
        labels = batch.pop("labels")
        states = llava.model.model(**batch, use_cache=False).last_hidden_state
        for row, learned in enumerate(labels != IGNORED):
            (at,) = learned.nonzero(as_tuple=True)
            logits = llava.model.lm_head(states[row, at - 1]).float()
            log_p = logits.log_softmax(-1)[torch.arange(len(at)), labels[row, at]].double()
            rows.append((float(log_p.sum()), bool((logits.argmax(-1) == labels[row, at]).all())))
    return rows


@pytest.mark.parametrize("kind", ["image", "text"])
@pytest.mark.parametrize("towards", ["tuned", "base"])
def test_hybrids_are_those_run_again(kind, towards):
    """None is the target, all of it the source, and every window, part and set of blocks an exchange of modules."""
    target, source = (llava_of("deep"), tuned()) if towards == "tuned" else (tuned(), llava_of("deep"))
    samples = SAMPLES if kind == "image" else [without_pictures(sample) for sample in SAMPLES]
    patches = PLAN.patches
    read = read_answers((target, source), samples, TEXTS, shown, patches)
    again = [by_hand(target, samples), by_hand(source, samples)]
    ends = PLAN.numbers([patches[0], PLAN.parts["all"]])
    for patch, at in [(None, ends[0]), (None, ends[1]), *((patches[number], number) for number in (1, 7, 16, 18, 30))]:
        if patch is None:
            expected = again[ends.index(at)]
        else:
            with patched(target, source, patch):
                expected = by_hand(target, samples)
        start = 0
        for number, texts in enumerate(TEXTS):
            of = expected[start : start + len(texts)]
            np.testing.assert_allclose(read["log_p"][at, number, : len(texts)], [one for one, _ in of], rtol=1e-6)
            assert np.isnan(read["log_p"][at, number, len(texts) :]).all()
            assert read["exact"][at, number] == of[0][1]
            start += len(texts)


def test_none_is_the_target_and_all_the_source_to_the_bit():
    """Both ways: what one direction begins with, the other ends with."""
    forth, back = (
        read_answers(pair, SAMPLES, TEXTS, shown, [PLAN.patches[0], PLAN.parts["all"]])
        for pair in ((llava_of("deep"), tuned()), (tuned(), llava_of("deep")))
    )
    for name in ("log_p", "exact"):
        np.testing.assert_array_equal(forth[name], back[name][::-1])
    assert not np.allclose(forth["log_p"][0], forth["log_p"][1], atol=0.05, equal_nan=True)


def test_log_p_is_that_of_the_likeliest_answer():
    """By another way: `answer_losses` reads the model itself, padded on the other side."""
    read = read_answers((llava_of("deep"), tuned()), SAMPLES, TEXTS, shown, [PLAN.patches[0]])
    for number, losses in enumerate(answer_losses(llava_of("deep"), SAMPLES, TEXTS, shown)):
        np.testing.assert_allclose(read["log_p"][0, number, : len(losses)], -losses, rtol=1e-4)


def test_content_and_format_sum_to_log_p():
    rng = np.random.default_rng(0)
    log_p = np.log(rng.dirichlet(np.ones(MOST + 1), (4, 6))[..., :MOST])
    log_p[:, 3, 2:] = np.nan
    log_p[:, 4, 1:] = np.nan
    values = readouts(log_p, rng.random((4, 6)) < 0.5)
    np.testing.assert_allclose(values["content"] + values["format"], values["log_p"], atol=1e-12)
    shares = np.exp(log_p)
    np.testing.assert_allclose(np.exp(values["content"]), shares[..., 0] / np.nansum(shares, 2), atol=1e-12)
    np.testing.assert_allclose(np.exp(values["format"]), np.nansum(shares, 2), atol=1e-12)
    np.testing.assert_array_equal(values["likeliest"], np.nanargmax(log_p, 2) == 0)
    assert (values["content"][:, 4] == 0).all() and values["likeliest"][:, 4].all()


def test_candidates_are_the_most_frequent_of_a_type_with_the_right_one_first():
    def asks(kind, *answers):
        return [PictureQuestion(f"{kind}{n}", "p", "?", answer, kind) for n, answer in enumerate(answers)]

    counting = asks("counting", *(str(number) for number in range(12) for _ in range(20 - number)))
    existence = asks("existence", "no", "yes", "yes")
    chosen = [counting[-1], counting[0], existence[0]]
    few, frequent, yes_no = candidates([*counting, *existence], chosen)
    assert few == ["11", *map(str, range(MOST - 1))] and frequent == list(map(str, range(MOST)))
    assert yes_no == ["no", "yes"]
    spelled = asks("existence", "Yes", "yes", "yes.", "no", "No")
    assert candidates(spelled, [spelled[1], spelled[4]]) == [["yes", "no"], ["No", "Yes"]]


def test_random_changes_are_as_long_as_the_tunings_tensor_by_tensor():
    base, other = llava_of("deep"), tuned()
    made = change_at_random(load(path_of("deep")), other, 3)
    own, theirs = (dict(llava.model.named_parameters()) for llava in (base, other))
    for name, weight in made.model.named_parameters():
        moved, length = (float((one - own[name]).double().norm()) for one in (weight, theirs[name]))
        assert moved == pytest.approx(length, rel=1e-4)
        if weight.numel() > 1000:
            angle = torch.cosine_similarity((weight - own[name]).flatten(), (theirs[name] - own[name]).flatten(), 0)
            assert abs(float(angle)) < 0.15
    again, differing = (change_at_random(load(path_of("deep")), other, seed).model.state_dict() for seed in (3, 4))
    assert all(torch.equal(weight, again[name]) for name, weight in made.model.state_dict().items())
    assert any(not torch.equal(weight, differing[name]) for name, weight in made.model.state_dict().items())


def test_changes_that_fewer_bits_would_round_away_are_refused_and_a_study_reads_in_float32(monkeypatch):
    half = load(path_of("deep"), Placement(dtype="bf16"))
    with pytest.raises(LapilliError, match="not in float32"):
        change_at_random(half, llava_of("deep"), 0)
    asked_for = []
    monkeypatch.setattr(study, "load", lambda path, placement: asked_for.append(placement.dtype))
    study.load_role(Tuning({"base": path_of("deep")}, {}, path_of("deep"), 1, 0), Placement(dtype="bf16"), "base")
    assert asked_for == ["fp32"]


def test_a_deep_model_has_single_sliding_and_cumulative_windows():
    plan = Plan(30)
    widths = {stop - start for start, stop in plan.windows if start > 0 and stop < 30}
    assert widths == {1, 3} and {(0, stop) for stop in range(1, 31)} <= plan.windows.keys()
    assert {(start, 30) for start in range(30)} <= plan.windows.keys()
    assert plan.blocks == 8 and len(plan.sets) == 256
    assert len(set(plan.patches)) == len(plan.patches)
    assert [plan.patches[number] for number in plan.numbers(plan.sets)] == plan.sets


def test_of_a_shallow_model_every_window_is_a_set_of_its_layers():
    assert len(PLAN.windows) == 15 and len(PLAN.sets) == 32
    assert len(PLAN.patches) == 32 + 5 + 14  # and four parts and everything, and parts of layers
    assert PLAN.parts["shallow"] == PLAN.windows[0, 3]


def test_controls_of_a_deep_model_are_run_at_the_ends_of_blocks():
    """Those of the first layers and those of the last; of a shallow model, for every number of layers."""
    plan = Plan(30)
    ends = {stop for (start, stop), patch in plan.windows.items() if start == 0 and patch in plan.controls}
    assert ends == {4, 8, 12, 15, 19, 23, 27, 30}
    starts = {start for (start, stop), patch in plan.windows.items() if stop == 30 and patch in plan.controls}
    assert starts == {0, *ends} - {30}
    blocks = {tuple(np.flatnonzero(plan.sets[1 << block].layers)) for block in range(plan.blocks)}
    assert {block[0] for block in blocks} == starts and {block[-1] + 1 for block in blocks} == ends
    assert {PLAN.windows[ends] for ends in PLAN.windows if 0 in ends or 5 in ends} <= set(PLAN.controls)


def test_parts_of_layers_are_exchanged_under_a_picture_only():
    """At image tokens and elsewhere, and every kind of module that a recipe can tune; controls leave two out."""
    without = PLAN.readable(PLAN.patches, "text")
    assert set(PLAN.patches) - set(without) == set(PLAN.within.values())
    assert PLAN.readable(PLAN.patches, "image") == PLAN.patches
    kinds = {patch.modules for patch in PLAN.within.values()}
    assert {kind for kind in LLM_MODULES if (kind,) not in kinds} == set()
    assert {patch.positions for patch in PLAN.within.values()} == {"all", "image", "text"}
    uncontrolled = {what for (_, what), patch in PLAN.within.items() if patch not in PLAN.controls}
    assert uncontrolled == {"gate_up", "down"}


def question(number, picture_of, words, answer, kind="color"):
    return PictureQuestion(str(number), picture_of, words, answer, kind)


def test_another_picture_has_another_answer_to_the_same_words_where_there_is_one():
    questions = [
        question(0, "a", "What color is it?", "red"),
        question(1, "b", "What color is it?", "Red."),
        question(2, "c", "What color is it?", "blue"),
        question(3, "d", "What color is the ring?", "green"),
        question(4, "d", "How many are there?", "2", "counting"),
    ]
    swapped = with_other_pictures(questions, questions, 0)
    assert swapped[0].image == "c" == swapped[1].image and swapped[2].image in "ab"
    assert swapped[3].image in "abc"  # no other picture has a question in these words
    assert 4 not in swapped  # nor one of this type
    assert in_same_words(questions, list(swapped.values())) == 3
    assert [one.answer for one in swapped.values()] == [one.answer for one in questions[:4]]
    assert [one.sample.images for one in swapped.values()] == [(one.image,) for one in swapped.values()]


def test_another_picture_is_none_of_which_the_same_is_asked_and_answered():
    """Where nobody answered these words otherwise, of two other pictures one certainly has the right answer."""
    questions = [
        question(0, "a", "What color is the ring?", "red"),
        question(1, "b", "What color is the ring?", "Red."),
        question(2, "b", "What color is the cup?", "blue"),
        question(3, "c", "What color is the cup?", "green"),
    ]
    for seed in range(10):
        swapped = with_other_pictures(questions, questions[:1], seed)
        assert swapped[0].image == "c"
    assert with_other_pictures(questions[:3], questions[:1], 0) == {}


def test_other_pictures_are_used_evenly_and_drawn_by_the_seed():
    questions = [question(n, str(n), "What color is it?", ("red", "blue")[n % 2]) for n in range(20)]
    swapped = with_other_pictures(questions, questions, 0)
    assert sorted(one.image for one in swapped.values()) == sorted(one.image for one in questions)
    assert with_other_pictures(questions, questions, 0) == swapped != with_other_pictures(questions, questions, 1)
