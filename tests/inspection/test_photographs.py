"""Real photographs, padded and cropped: what a patch marks lies on the right pixels, and what is hidden is said."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.parts import joined
from transformers import CLIPImageProcessorPil, LlavaImageProcessorPil

from lapilli.data.pictures import open_picture
from lapilli.data.sample import Sample, Turn
from lapilli.inspection.recording import answered, traced
from lapilli.model.llava import Llava, load
from lapilli.model.pixels import Pixels
from lapilli.studies.explain.explanation import explanation
from lapilli.studies.explain.findings import explain

PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data" / "images"
NAMES = ["extreme_ironing.jpg", "waterview.jpg"]
SIDE, PATCH = 24, 8
_SIZES = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
PROCESSORS = {"padded": LlavaImageProcessorPil(do_pad=True, **_SIZES), "cropped": CLIPImageProcessorPil(**_SIZES)}

pytestmark = pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason=f"{PHOTOGRAPHS}: no photographs there")


def framed(kind):
    """A tiny LLaVA whose pictures are padded or cropped."""
    llava = load(joined("clip", "llama"))
    shown = Llava(llava.model, llava.processor, llava.card)
    shown.__dict__["pixels"] = Pixels(PROCESSORS[kind], SIDE, PATCH)  # in the place of the cached one
    return shown


def explained(kind, name):
    llava, photograph = framed(kind), open_picture(PHOTOGRAPHS, name)
    sample = Sample("q", (name,), (Turn("user", "<image>\nWhat color is it?"),))
    trace = traced(llava, answered(llava, sample, "red"), llava.pixels([photograph]), whole=True)
    return llava, photograph, explanation(explain(trace, photograph, controls=0), photograph)


def across(start, length):
    """The pixels from `start` on, as far as they are in the photograph."""
    return slice(max(0, round(start)), max(0, round(start + length)))


@pytest.mark.parametrize("kind", PROCESSORS)
@pytest.mark.parametrize("name", NAMES)
def test_a_marked_patch_lies_on_the_pixels_that_it_shows(kind, name):
    """Where the page draws a patch on the photograph, painting changes that patch's pixels, and no far patch's."""
    llava, photograph, found = explained(kind, name)
    a, _, _, d, left, top = found.description["image"]["view"]["to_image"]
    before = np.asarray(llava.pixels.view(photograph), float)
    for row, column in [(0, 1), (1, 1), (1, 0), (2, 2), (1, 2)]:
        x, y = across(left + a * PATCH * column, a * PATCH), across(top + d * PATCH * row, d * PATCH)
        painted = np.asarray(photograph).copy()
        painted[y, x] = 255 - painted[y, x] // 2 * 2
        changed = np.abs(np.asarray(llava.pixels.view(Image.fromarray(painted)), float) - before).sum(-1)
        by_patch = changed.reshape(3, PATCH, 3, PATCH).sum((1, 3))
        inside = painted[y, x].size > 0
        assert (by_patch.argmax() == row * 3 + column) == inside
        assert np.delete(by_patch.ravel(), row * 3 + column).max() <= 0.25 * by_patch[row, column]  # resampling's seam


@pytest.mark.parametrize("name", NAMES)
def test_the_hidden_share_is_said_and_true(name):
    _, photograph, cropped = explained("cropped", name)
    view = cropped.description["image"]["view"]
    width, height = photograph.size
    hidden = 1 - min(width, height) / max(width, height)
    assert view["lost"] == "cropped" and view["hidden"] == pytest.approx(hidden, abs=1 / SIDE)  # whole pixels of 24
    _, _, padded = explained("padded", name)
    view = padded.description["image"]["view"]
    assert view["lost"] == "padded" and view["hidden"] == 0
    json.dumps(padded.description, allow_nan=False)
