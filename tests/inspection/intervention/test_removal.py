import numpy as np
import pytest
import torch
from PIL import Image
from tests.parts import joined, picture

from lapilli.core.layout import Role
from lapilli.data.collate import collate
from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn
from lapilli.inspection.intervention.removal import blurred, replaced, reread
from lapilli.inspection.recording import traced
from lapilli.inspection.target import Target
from lapilli.model.llava import load

GRID = (3, 3)


def two_pictures():
    turns = (
        Turn("user", "<image>\nWhat color is the circle?"),
        Turn("assistant", "red"),
        Turn("user", "<image>\nAnd this one?"),
        Turn("assistant", "a small blue triangle"),
    )
    return Sample("two", ("a", "b"), turns)


def test_replaced_cells_are_the_others_pixels_and_the_rest_is_untouched():
    view, other = picture(1), picture(2)
    found = np.asarray(replaced(view, other, np.array([1, 5]), GRID, 8))
    mask = np.zeros((24, 24), bool)
    mask[0:8, 8:16] = mask[8:16, 16:24] = True
    assert np.array_equal(found[mask], np.asarray(other)[mask])
    assert np.array_equal(found[~mask], np.asarray(view)[~mask])


def test_what_lies_beyond_the_patches_is_never_replaced():
    view, other = picture(1, 31, 31), picture(2, 31, 31)  # 3 patches of 8 pixels, and 7 pixels that no patch has
    found = np.asarray(replaced(view, other, np.arange(9), GRID, 8))
    assert np.array_equal(found[:24, :24], np.asarray(other)[:24, :24])
    assert np.array_equal(found[24:], np.asarray(view)[24:]) and np.array_equal(found[:, 24:], np.asarray(view)[:, 24:])


def test_a_blurred_picture_has_lost_its_colors():
    scene = np.full((96, 96, 3), 200, np.uint8)
    scene[30:50, 30:50] = (255, 0, 0)
    view = Image.fromarray(scene)
    soft = np.asarray(blurred(view), float)
    assert np.abs(soft[40, 40] - soft[90, 90]).max() < 25 < 200  # of 200 levels of green and blue


@pytest.mark.parametrize("image", [0, 1])
@pytest.mark.parametrize(("vision", "language"), [("clip", "llama"), ("siglip", "qwen2")])
def test_reading_again_is_a_whole_run_of_the_model_with_the_other_picture(vision, language, image):
    llava = load(joined(vision, language))
    encoded = encode(two_pictures(), llava.codec)
    pictures = [picture(1), picture(2)]
    trace = traced(llava, encoded, llava.pixels(pictures))
    views = [picture(seed) for seed in range(3, 13)]  # more than are read at once
    found = reread(trace, views, Target(), llava.pixels(pictures), image)
    for number, view in enumerate(views):
        shown = [view if index == image else one for index, one in enumerate(pictures)]
        batch = collate([encoded], llava.processor.tokenizer.pad_token_id, "right", llava.pixels(shown))
        del batch["labels"]
        with torch.inference_mode():
            logits = llava.model(**batch).logits[0, trace.queries].double()
        said = torch.from_numpy(trace.next_ids)[:, None]
        log_prob = logits.log_softmax(-1).gather(1, said)[:, 0]
        assert np.allclose(found.log_prob[number], log_prob, atol=1e-5)
        assert np.allclose(found.target[number], logits.gather(1, said)[:, 0] - logits.mean(1), atol=1e-5)
        assert found.likeliest[number].tolist() == logits.argmax(1).tolist()


def test_reading_the_same_picture_again_changes_nothing():
    llava = load(joined("clip", "llama"))
    pixels = llava.pixels([picture(1), picture(2)])
    trace = traced(llava, encode(two_pictures(), llava.codec), pixels)
    again = reread(trace, [llava.pixels.view(picture(1))], Target(), pixels)
    assert np.abs(again.target_change).max() < 1e-5 and np.abs(again.log_prob_change).max() < 1e-5
    assert np.array_equal(again.likeliest[0], again.clean_likeliest)


def test_the_rows_of_a_given_answer_are_those_that_predict_it():
    llava = load(joined("clip", "llama"))
    encoded = encode(two_pictures(), llava.codec)
    trace = traced(llava, encoded, llava.pixels([picture(1), picture(2)]))
    last = encoded.layout.positions(Role.ANSWER, turn=1).tolist() + encoded.layout.positions(Role.STOP, turn=1).tolist()
    assert (trace.queries + 1).tolist() == last
    assert llava.processor.tokenizer.decode(trace.next_ids[:-1].tolist()).strip() == "a small blue triangle"
    assert trace.next_ids[-1] == llava.stop_id
