"""Where patches lie in the original: by painting parts of pictures, and looking which patches change."""

import numpy as np
import pytest
from PIL import Image
from tests.parts import joined, picture
from transformers import CLIPImageProcessorPil, LlavaImageProcessorPil, SiglipImageProcessorPil

from lapilli.core.errors import LapilliError
from lapilli.model.llava import load
from lapilli.model.pixels import Pixels

SIDE, PATCH = 48, 8
_MIDDLE = {"height": SIDE, "width": SIDE}
_SQUARE = {"size": {"shortest_edge": SIDE}, "crop_size": _MIDDLE}
PROCESSORS = {
    "pad": LlavaImageProcessorPil(do_pad=True, **_SQUARE),
    "crop": CLIPImageProcessorPil(**_SQUARE),
    "crop, unpadded": LlavaImageProcessorPil(do_pad=False, **_SQUARE),
    "crop of a larger one": CLIPImageProcessorPil(size={"shortest_edge": 60}, crop_size=_MIDDLE),
    "crop of a smaller one": CLIPImageProcessorPil(size={"shortest_edge": 36}, crop_size=_MIDDLE),
    "stretch": SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}),
}
SIZES = [(96, 96), (200, 120), (90, 211), (31, 17), (20, 333)]


def _shares(pixels, size, painted):
    """How much of each patch (row, column) a painted box of the original covers, measured on the pixel values."""
    left, top, right, bottom = painted
    plain, marked = (np.zeros((size[1], size[0], 3), np.uint8) for _ in range(2))
    marked[top:bottom, left:right] = 255
    dark, light = (pixels([Image.fromarray(np.full_like(plain, level))]) for level in (0, 255))
    change = pixels([Image.fromarray(marked)]) - pixels([Image.fromarray(plain)])
    full = float((light - dark)[0, 0].max())
    return (change[0, 0] / full).reshape(SIDE // PATCH, PATCH, SIDE // PATCH, PATCH).mean(dim=(1, 3)).numpy()


def _expected(framing, painted):
    rows, columns = framing.grid
    return np.array([[_overlap(framing.box(row, column), painted) for column in range(columns)] for row in range(rows)])


def _overlap(box, painted):
    """The share of `box` inside `painted`."""
    width = min(box[2], painted[2]) - max(box[0], painted[0])
    height = min(box[3], painted[3]) - max(box[1], painted[1])
    return max(width, 0) * max(height, 0) / ((box[2] - box[0]) * (box[3] - box[1]))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", PROCESSORS)
def test_a_painted_region_changes_the_patches_whose_boxes_it_covers(way, size):
    """The mean change of a patch is the share of its box that was painted; resampling blurs the border a little."""
    pixels = Pixels(PROCESSORS[way], SIDE, PATCH)
    width, height = size
    for painted in [
        (0, 0, width, height),
        (0, 0, width // 2, height // 2),
        (width // 3, height // 4, width - 2, height - height // 3),
        (width - width // 4, 0, width, height),
    ]:
        expected = _expected(pixels.framing(size), painted)
        assert np.abs(_shares(pixels, size, painted) - expected).max() < 0.06


@pytest.mark.parametrize("way", PROCESSORS)
def test_what_is_hidden_changes_no_patch(way):
    """On a picture cut into strips, those that change no pixel value are the hidden ones."""
    pixels, size = Pixels(PROCESSORS[way], SIDE, PATCH), (480, 120)
    seen = [_shares(pixels, size, (left, 0, left + 8, 120)).max() > 0.02 for left in range(0, 480, 8)]
    assert pixels.framing(size).hidden >= 0
    shown = sum(seen) / len(seen)
    if way == "crop of a larger one":
        shown *= 48 / 60  # of the height too
    assert abs(pixels.framing(size).hidden - (1 - shown)) < 0.03


def test_known_shares():
    def hidden(way, *size):
        return Pixels(PROCESSORS[way], SIDE, PATCH).framing(size).hidden

    assert [hidden("pad", *size) for size in SIZES] == [0] * len(SIZES)
    assert [hidden("stretch", *size) for size in SIZES] == [0] * len(SIZES)
    assert hidden("crop", 640, 480) == pytest.approx(1 - 480 / 640)
    assert hidden("crop", 480, 960) == pytest.approx(0.5)
    assert hidden("crop of a larger one", 100, 100) == pytest.approx(1 - 0.8**2)
    assert hidden("crop of a smaller one", 100, 100) == 0


def test_patches_that_do_not_fill_the_side_leave_the_rest_out():
    """As SigLIP-so400m's of 14 pixels on 384: the convolution stops before the last six."""
    framing = Pixels(SiglipImageProcessorPil(size={"height": 50, "width": 50}), 50, 16).framing((100, 100))
    assert framing.grid == (3, 3)
    assert framing.box(2, 2) == pytest.approx((64, 64, 96, 96))
    assert framing.hidden == pytest.approx(1 - 0.96**2)


@pytest.mark.parametrize("pair", [("clip", "llama"), ("siglip", "qwen2")])
def test_a_models_own(pair):
    """Both pad to a square: of a wide picture, the first and last rows of patches are padding."""
    framing = load(joined(*pair)).pixels.framing((90, 30))
    assert framing.grid == (3, 3)
    assert framing.box(0, 0) == (0, -30, 30, 0)
    assert framing.box(1, 2) == (60, 0, 90, 30)
    assert framing.hidden == 0
    with pytest.raises(IndexError, match=r"patch \(3, 0\): there are 3 rows and 3 columns, from 0"):
        framing.box(3, 0)
    with pytest.raises(IndexError):
        framing.box(0, -1)


def test_another_way_of_resizing_is_refused():
    processor = CLIPImageProcessorPil(size={"shortest_edge": 30, "longest_edge": 48}, do_center_crop=False)
    with pytest.raises(LapilliError, match="shortest_edge, or height and width, is understood"):
        Pixels.framing(_unmade(processor), picture(0, 50, 40).size)


def _unmade(processor):
    pixels = Pixels(PROCESSORS["pad"], SIDE, PATCH)
    pixels._image_processor = processor
    return pixels


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", PROCESSORS)
def test_the_bounds_are_those_of_all_boxes(kind, size):
    framing = Pixels(PROCESSORS[kind], SIDE, PATCH).framing(size)
    rows, columns = framing.grid
    first, last = framing.box(0, 0), framing.box(rows - 1, columns - 1)
    assert framing.bounds == pytest.approx((*first[:2], *last[2:]))
