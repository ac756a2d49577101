"""Pixel values: bit for bit what the image processor makes, whichever way they were made."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests.parts import joined, picture
from transformers import LlavaImageProcessorPil

from lapilli.model.llava import load
from lapilli.model.pixels import Pixels


@pytest.mark.parametrize("pair", [("clip", "llama"), ("siglip", "qwen2")])
def test_pictures_of_the_models_size_and_others(pair):
    llava = load(joined(*pair))
    pictures = [picture(0), picture(1, 48, 24), picture(2), picture(3, 24, 60), picture(4, 7, 7)]
    expected = llava.processor.image_processor(pictures, return_tensors="pt")["pixel_values"]
    assert torch.equal(llava.pixels(pictures), expected)


@pytest.mark.parametrize("side", [5, 16, 96])
def test_every_level_of_every_channel(side):
    """Also where one picture is too small to hold all 256 levels."""
    processor = LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    levels = np.resize(np.arange(256, dtype=np.uint8), (11 * 11 * 3 * side * side // 3, 3))[: 11 * side * side]
    pictures = [Image.fromarray(part) for part in levels.reshape(11, side, side, 3)]
    made = Pixels(processor, side, side)(pictures)
    assert torch.equal(made, processor(pictures, return_tensors="pt")["pixel_values"])
    assert made.dtype == torch.float32


def test_a_grey_picture_goes_the_long_way():
    llava = load(joined("clip", "llama"))
    grey = picture(0).convert("L")
    expected = llava.processor.image_processor(grey, return_tensors="pt")["pixel_values"]
    assert torch.equal(llava.pixels([grey]), expected)


@pytest.mark.parametrize("size", [(24, 24), (48, 24), (24, 60), (7, 7), (333, 20)])
@pytest.mark.parametrize("pair", [("clip", "llama"), ("siglip", "qwen2")])
def test_the_view_is_what_the_encoder_gets(pair, size):
    """To the last bit where the processor makes 8 bits on its way: the view's pixel values are the picture's."""
    llava = load(joined(*pair))
    view = llava.pixels.view(picture(3, *size))
    assert view.size == (24, 24) and view.mode == "RGB"
    assert torch.equal(llava.pixels([view]), llava.pixels([picture(3, *size)]))


def test_the_view_of_a_picture_of_the_models_size_is_the_picture():
    llava = load(joined("clip", "llama"))
    assert np.array_equal(np.asarray(llava.pixels.view(picture(3))), np.asarray(picture(3)))
