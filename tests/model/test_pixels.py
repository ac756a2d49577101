"""Pixel values: bit for bit what the image processor makes, whichever way they were made."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests.parts import joined, part, picture
from transformers import LlavaImageProcessorPil

from lapilli.core.errors import LapilliError
from lapilli.data.pictures import open_picture
from lapilli.model import padding
from lapilli.model.llava import join, load, pixels_of, save
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


def _padding(side, **more):
    return LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": side}, crop_size={"height": side, "width": side}, **more
    )


@pytest.mark.parametrize("size", [(500, 40), (40, 500), (501, 40), (40, 999)])
def test_only_what_is_longer_than_the_stated_side_is_reduced_before_it_is_padded(size, monkeypatch):
    monkeypatch.setattr(padding, "LONGEST_PADDED", 500)
    processor, drawn = _padding(16), picture(5, *size)
    shown = drawn if max(size) <= 500 else drawn.reduce(2)
    assert torch.equal(Pixels(processor, 16, 8)([drawn]), processor([shown], return_tensors="pt")["pixel_values"])


def test_what_is_cropped_is_never_reduced():
    processor, drawn = _padding(16), picture(5, 6_000, 40)
    processor.do_pad = False
    assert torch.equal(Pixels(processor, 16, 8)([drawn]), processor([drawn], return_tensors="pt")["pixel_values"])


def _hidden(folder):
    """A picture that is opaque, hidden and a fifth visible, as it is opened."""
    drawn = Image.new("RGBA", (3, 3), (0, 200, 0, 0))
    drawn.paste((200, 0, 0, 255), (0, 0, 1, 3))
    drawn.paste((0, 0, 200, 51), (2, 0, 3, 3))
    drawn.save(folder / "hidden.png")
    return open_picture(folder, "hidden.png")


@pytest.mark.parametrize(
    ("more", "hidden", "faint"),
    [
        ({}, (255, 255, 255), (204, 204, 244)),
        ({"background": "white"}, (255, 255, 255), (204, 204, 244)),
        ({"background": "black"}, (0, 0, 0), (0, 0, 40)),
        ({"background": "mean"}, (122, 116, 104), (98, 93, 123)),
    ],
)
def test_what_is_transparent_is_seen_on_the_models_background(tmp_path, more, hidden, faint):
    view = np.asarray(Pixels(_padding(3, **more), 3, 1).view(_hidden(tmp_path)))[1].astype(int)
    assert np.abs(view - [(200, 0, 0), hidden, faint]).max() <= 1


def test_the_background_is_kept_with_the_model(tmp_path):
    made = join(part("clip"), part("llama"), background="black")
    save(made, tmp_path / "model")
    again = pixels_of(tmp_path / "model")
    assert torch.equal(again([_hidden(tmp_path)]), made.pixels([_hidden(tmp_path)]))
    assert not torch.equal(again([_hidden(tmp_path)]), load(joined("clip", "llama")).pixels([_hidden(tmp_path)]))


@pytest.mark.parametrize("background", ["red", None, 7, ["white"]])
def test_a_background_that_is_none_is_refused(background):
    with pytest.raises(LapilliError, match=r"preprocessor_config.json: background .*; one of white, black, mean is"):
        Pixels(_padding(3, background=background), 3, 1)
