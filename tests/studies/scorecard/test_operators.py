"""Every way of taking patches away, against a whole run of the model that was given what the way says it gets."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests.inspection.runs import MODELS, Run, full_logits
from tests.parts import part, picture
from tests.studies.scorecard import held

from lapilli.core.errors import UsageError
from lapilli.data.sample import Sample, Turn
from lapilli.inspection.intervention.removal import blurred
from lapilli.inspection.intervention.replay import Cut
from lapilli.inspection.recording import answered
from lapilli.model.llava import join, load, save
from lapilli.studies.scorecard.case import case_of
from lapilli.studies.scorecard.operators import OPERATORS, chosen, painted_pixels


def sets_of(case):
    """No patch, one, some, and all of them."""
    rng = np.random.default_rng(0)
    count = len(case.patches)
    sizes = (0, 1, count // 2, count)
    return [np.sort(rng.permutation(count)[:size]) for size in sizes]


def repainted(case, patches, other):
    mask = Image.fromarray(held.cell_mask(case, patches).astype(np.uint8) * 255)
    return case.llava.pixels([Image.composite(other, case.view, mask)])


def by_full_run(case, cuts):
    """The word's log-probability, and whether another one would be said, of the whole model under a mask."""
    logits = full_logits(case.llava, Run(case.trace, case.pixels), cuts)[case.queries]
    chosen = logits.log_softmax(-1)[torch.arange(len(case.ids)), torch.from_numpy(case.ids)]
    clean = full_logits(case.llava, Run(case.trace, case.pixels), [])[case.queries].argmax(-1)
    return float(chosen.sum()), bool((logits.argmax(-1) != clean).any())


@pytest.mark.parametrize("name", MODELS)
def test_blur_paints_cells_and_looks_again(name):
    case = held.case(name)
    sets = sets_of(case)
    expected = [held.log_prob(case, repainted(case, some, blurred(case.view))) for some in sets]
    np.testing.assert_allclose(OPERATORS["blur"](case, sets).log_prob, expected, rtol=1e-5, atol=2e-5)


def test_mean_paints_what_is_nought_when_normalised():
    case = held.case()
    sets = sets_of(case)
    expected = []
    for some in sets:
        pixels = case.pixels.clone()
        pixels[:, :, torch.from_numpy(held.cell_mask(case, some))] = 0
        expected.append(held.log_prob(case, pixels))
    np.testing.assert_allclose(OPERATORS["mean"](case, sets).log_prob, expected, rtol=1e-5, atol=2e-5)


def picture_first(folder):
    """A case whose sequence begins with the picture: no token is before it."""
    save(join(part("siglip"), part("qwen2"), "linear", "plain"), folder)
    llava, asked = load(folder), Sample("s", ("0",), (Turn("user", "<image>"),))
    return case_of(
        llava, asked, answered(llava, asked, "yes, a blue square"), picture=picture(0), other=picture(1), seed=3
    )


@pytest.mark.parametrize("name", [*MODELS, "picture first"])
def test_drop_hides_tokens_from_everybody(name, tmp_path):
    case = picture_first(tmp_path / "model") if name == "picture first" else held.case(name)
    assert (case.patches[0] == 0) == (name == "picture first")
    everybody, layers = np.arange(len(case.trace.ids)), range(case.trace.decoder.depth)
    sets = sets_of(case)
    left = OPERATORS["drop"](case, sets)
    for some, found, changed in zip(sets, left.log_prob, left.changed, strict=True):
        cuts = [Cut(everybody[everybody > patch], np.array([patch]), layers) for patch in case.patches[some]]
        expected, otherwise = by_full_run(case, cuts)
        assert found == pytest.approx(expected, rel=1e-5, abs=2e-5) and changed == otherwise


def test_dropped_tokens_are_as_if_they_were_not_there():
    """The others alone, at their own places."""
    case = held.case()
    some = sets_of(case)[2]
    kept = np.setdiff1d(np.arange(len(case.trace.ids)), case.patches[some])
    embeddings = held.embeddings(case, case.pixels)[:, kept]
    with torch.no_grad():
        logits = case.llava.model(
            inputs_embeds=embeddings,
            attention_mask=torch.ones(1, len(kept), dtype=torch.long),  # without, gaps would begin another sequence
            position_ids=torch.from_numpy(kept)[None],
            use_cache=False,
        ).logits[0]
    queries = np.searchsorted(kept, case.queries)
    expected = logits[queries].float().log_softmax(-1)[torch.arange(len(queries)), torch.from_numpy(case.ids)].sum()
    assert OPERATORS["drop"](case, [some]).log_prob[0] == pytest.approx(float(expected), rel=1e-5, abs=2e-5)


@pytest.mark.parametrize("name", MODELS)
def test_knockout_hides_patches_from_the_text(name):
    case = held.case(name)
    positions = np.arange(len(case.trace.ids))
    text = np.setdiff1d(positions[positions > case.patches.min()], case.patches)
    sets = sets_of(case)
    left = OPERATORS["knockout"](case, sets)
    for some, found in zip(sets, left.log_prob, strict=True):
        cuts = [Cut(text, case.patches[some], range(case.trace.decoder.depth))] if some.size else []
        assert found == pytest.approx(by_full_run(case, cuts)[0], rel=1e-5, abs=2e-5)


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_without_nothing_all_is_as_it_was(name):
    case = held.case()
    left = OPERATORS[name](case, [np.array([], np.intp)])
    assert left.log_prob[0] == pytest.approx(case.log_prob, abs=2e-5) and not left.changed[0]


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_the_logit_left_is_the_centred_one(name):
    """Beside the log-probability: of the same runs, and what white-box methods explain."""
    case = held.case()
    left = OPERATORS[name](case, [np.array([], np.intp), np.arange(len(case.patches))])
    assert left.logit[0] == pytest.approx(case.logit, abs=1e-4)
    assert case.logit == pytest.approx(float(held.centred(case, held.embeddings(case, case.pixels))), abs=1e-4)
    if name == "mean":
        blank = float(held.centred(case, held.embeddings(case, 0 * case.pixels)))
        assert left.logit[1] == pytest.approx(blank, abs=1e-4) != pytest.approx(case.logit, abs=1e-3)


def test_soft_masks_mix_pixels():
    case = held.case()
    other = torch.zeros_like(case.pixels[0])
    half = torch.full((1, *case.pixels.shape[-2:]), 0.5)
    assert painted_pixels(case, other, half).log_prob[0] == pytest.approx(
        held.log_prob(case, case.pixels / 2), abs=2e-5
    )


def test_operators_are_chosen_once_each():
    assert list(chosen(("drop", "blur"))) == ["drop", "blur"]
    for names, message in ((("blur", "blur"), "given twice"), (("smash",), "unknown")):
        with pytest.raises(UsageError, match=message):
            chosen(names)
