"""A decision and its parts: against the whole model, against sums, and against a picture that is blank."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests.inspection.runs import Run, full_logits
from tests.studies.hallucination.made import asked, llava_of, picture

from lapilli.core.layout import Role
from lapilli.data.yes_no import leading_word
from lapilli.inference.answer import answer
from lapilli.inspection.intervention.removal import blurred
from lapilli.inspection.intervention.replacement_pictures import blank
from lapilli.inspection.intervention.replay import Cut
from lapilli.studies.hallucination.margin import (
    CONTROLS,
    PICTURES,
    WAYS,
    WORDS,
    decision,
    measured,
    wording,
)

OTHER = Image.new("RGB", (96, 96), (200, 30, 90))


@pytest.fixture(scope="module", params=[0, 5, 9])
def one(request):
    question = asked()[request.param]
    own = picture(question.image)
    return question, own, measured(llava_of(), question, own, other=OTHER, words=WORDS[0], seed=request.param)


def margin_of(question, shown):
    """logit(yes) - logit(no) behind the prompt, by a plain call of the model: its tokens are single."""
    llava = llava_of()
    made = decision(llava, question.sample, shown, WORDS[0])
    query = int(made.trace.queries[0])
    ids = torch.from_numpy(made.trace.ids[: query + 1].copy())[None]
    with torch.inference_mode():
        logits = llava.model(input_ids=ids, pixel_values=llava.pixels([shown])).logits[0, -1].double()
    yes, no = (llava.processor.tokenizer.encode(f" {word}", add_special_tokens=False) for word in WORDS[0])
    assert len(yes) == len(no) == 1
    return float(logits[yes[0]] - logits[no[0]]), logits


def test_the_margin_is_that_of_the_row_that_decides(one):
    question, own, found = one
    margin, logits = margin_of(question, own)
    assert found["readings"]["full"]["d"] == pytest.approx(margin, abs=1e-4)
    probabilities = logits.softmax(-1)
    entropy = float(-(probabilities * probabilities.log()).nansum())
    assert found["entropy"] == pytest.approx(entropy, abs=1e-4)
    assert np.log(found["p_yes"] / found["p_no"]) == pytest.approx(margin, abs=1e-4)
    assert found["p_yes"] + found["p_no"] <= 1 + 1e-6


def test_its_sign_is_the_greedy_answer():
    questions = asked()[:12]
    responses = answer(llava_of(), [q.sample for q in questions], picture, max_new_tokens=4)
    answers = [leading_word(response.text) for response in responses]
    signs = [decision(llava_of(), q.sample, picture(q.image), WORDS[0]) for q in questions]
    margins = [float(one.target.of_logits(one.trace.logits, torch.from_numpy(one.trace.next_ids))[0]) for one in signs]
    assert answers == ["yes" if margin > 0 else "no" for margin in margins] and len(set(answers)) == 2


def test_the_parts_sum_to_the_margin_for_every_picture_and_way(one):
    _, _, found = one
    assert set(found["readings"]) == set(PICTURES)
    for reading in found["readings"].values():
        for way in WAYS:
            total = sum(reading[way][name] for name in ("image", "question", "prior"))
            assert total == pytest.approx(reading["d"], abs=1e-4)
            assert abs(total - reading["d"]) == pytest.approx(reading[way]["missed"], abs=1e-12)


def test_the_maps_sum_to_the_images_part(one):
    _, _, found = one
    for way in WAYS:
        assert len(found["maps"][way]) == np.prod(found["grid"])
        assert sum(found["maps"][way]) == pytest.approx(found["readings"]["full"][way]["image"], abs=1e-6)


def test_the_controls_are_the_margins_of_other_pictures(one):
    question, own, found = one
    view = llava_of().pixels.view(own)
    for name, shown in {"blank": blank(view.width), "blurred": blurred(view), "swapped": OTHER}.items():
        assert found["readings"][name]["d"] == pytest.approx(margin_of(question, shown)[0], abs=1e-4)


def test_a_blank_picture_is_the_same_whatever_it_takes_the_place_of():
    shown = [picture(name) for name in list(dict.fromkeys(one.image for one in asked()))[:3]]
    found = [measured(llava_of(), asked()[0], one, other=OTHER, words=WORDS[0], seed=0)["readings"] for one in shown]
    gray = Image.new("RGB", llava_of().pixels.view(shown[0]).size, (128, 128, 128))
    of_gray = measured(llava_of(), asked()[0], gray, other=OTHER, words=WORDS[0], seed=0)["readings"]["full"]
    for one in found:
        assert one["blank"]["d"] == pytest.approx(of_gray["d"], abs=1e-4)
        assert one["blank"]["all_paths"]["image"] == pytest.approx(of_gray["all_paths"]["image"], abs=1e-4)
    assert len({one["full"]["d"] for one in found}) == 3  # the pictures themselves do differ


def test_not_reading_the_picture_is_a_full_run_under_the_mask(one):
    question, own, found = one
    made = decision(llava_of(), question.sample, own, WORDS[0])
    trace = made.trace
    (text,) = np.nonzero(trace.layout.role != Role.IMAGE)
    image = trace.layout.positions(Role.IMAGE)
    run = Run(trace, made.pixels)

    def margin(keys):
        cut = Cut(text[text > image.min()], keys, range(trace.decoder.depth))
        logits = full_logits(llava_of(), run, [cut])[trace.queries[0]]
        return float(logits[int(trace.next_ids[0])] - logits[made.target.against])

    assert found["knockout"] == pytest.approx(margin(image), abs=1e-4)
    turned = np.sign(found["readings"]["full"]["d"]) * np.array(found["maps"]["all_paths"])
    assert found["removed"]["named"] == pytest.approx(margin(image[[int(turned.argmax())]]), abs=1e-4)  # 1 of 9
    singles = [margin(image[[patch]]) for patch in range(len(image))]
    assert len(found["removed"]["random"]) == CONTROLS
    assert all(min(abs(value - single) for single in singles) < 1e-4 for value in found["removed"]["random"])


def test_the_wording_is_the_one_with_more_probability():
    tried = [(question.sample, picture(question.image)) for question in asked()[:4]]
    assert wording(llava_of(), tried) == ("yes", "no")
