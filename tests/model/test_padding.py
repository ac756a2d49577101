"""What becomes of a picture that is not square: told alike by an image processor and by the file that it writes."""

import json

import numpy as np
import pytest
from PIL import Image
from tests.model.test_framing import PROCESSORS, SIDE
from transformers import LlavaNextImageProcessorPil

from lapilli.core.errors import LapilliError
from lapilli.model.padding import WORDS, kind_of, kind_of_processor, picture_processor, require_side, spans


@pytest.mark.parametrize("way", PROCESSORS)
def test_a_processor_and_its_file_say_the_same(tmp_path, way):
    PROCESSORS[way].save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    kind = kind_of(settings)
    assert kind == kind_of_processor(PROCESSORS[way]) == way.split(",")[0].split()[0]
    assert kind in WORDS


def test_padding_of_batches_makes_no_square():
    """As LLaVA-1.6's, whose class begins alike."""
    processor = LlavaNextImageProcessorPil(do_pad=True)
    assert kind_of_processor(processor) == kind_of(processor.to_dict()) == "crop"


@pytest.mark.parametrize("name", ["LlavaImageProcessor", "LlavaImageProcessorFast", "LlavaImageProcessorPil", None])
def test_every_name_of_llavas_class_pads(name):
    named = {"image_processor_type": name} if name else {}
    assert kind_of({"do_pad": True, "do_center_crop": True, **named}) == "pad"
    assert kind_of({"do_pad": False, "do_center_crop": True, **named}) == "crop"


@pytest.mark.parametrize("way", PROCESSORS)
def test_a_choice_is_kept_and_changed(way):
    """Padded as asked: the middle of a wide picture then shows all of its width, between bands of the mean color."""
    made = picture_processor(PROCESSORS[way], SIDE, pad=True)
    assert kind_of_processor(made) == "pad"
    assert (made is PROCESSORS[way]) == (way == "pad")
    assert picture_processor(PROCESSORS[way], SIDE, pad=None) is PROCESSORS[way]
    require_side(made, SIDE)
    across, down = spans(made, (96, 48), SIDE)
    assert (across, down) == ((0, 96), (-24, 72))
    values = made(Image.new("RGB", (96, 48), "white"), return_tensors="np")["pixel_values"][0]
    assert np.abs(values[:, :10]).max() < 0.02 < values[:, 16:32].min()


def test_a_side_that_is_not_the_encoders_is_refused():
    with pytest.raises(LapilliError, match=r"but the vision encoder takes 40 x 40 pixels; fetch the file again"):
        require_side(PROCESSORS["crop"], 40)
