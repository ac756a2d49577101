"""Answers: greedy, the same in a batch as alone, and those that transformers gives."""

import numpy as np
import pytest
import torch
from PIL import Image
from tests.parts import joined, picture
from transformers import GenerationConfig

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Role
from lapilli.data.paths import PictureError
from lapilli.data.sample import Sample, Turn
from lapilli.inference.answer import answer, answerer
from lapilli.model.llava import load

PAIRS = [("clip", "llama"), ("siglip", "qwen2")]


def _samples(count=12):
    """Questions of several lengths; every third shows nothing, every fifth has an earlier exchange."""
    samples = []
    for index in range(count):
        question = Turn("user", ("" if index % 3 == 0 else "<image>\n") + "What " + "very " * (index % 4) + "color?")
        turns = (question,) if index % 5 else (question, Turn("assistant", "red"), Turn("user", "Is it?"))
        samples.append(Sample(f"s{index}", () if index % 3 == 0 else (str(index),), turns))
    return samples


def _noise(name):
    return picture(int(name))


@pytest.mark.parametrize("pair", PAIRS)
def test_a_mixed_batch_gives_what_each_sample_gets_alone(pair):
    llava, samples = load(joined(*pair)), _samples()
    together = answer(llava, samples, _noise, max_new_tokens=6, batch_size=5)
    alone = [answer(llava, [sample], _noise, max_new_tokens=6)[0] for sample in samples]
    assert [one.id for one in together] == [sample.id for sample in samples]
    for one, other in zip(together, alone, strict=True):
        assert one.text == other.text
        assert np.array_equal(one.ids, other.ids)
        assert one.layout == other.layout


def _mixed(count=16):
    """In turn without a picture, with one and with two; no two questions of one length."""
    for index in range(count):
        images = tuple(str(10 * index + number) for number in range(index % 3))
        question = "<image>\n" * len(images) + "What " + "very " * index + "color?"
        earlier = (Turn("user", "Is it red?"), Turn("assistant", "no")) if index % 4 == 1 else ()
        yield Sample(f"m{index}", images, (*earlier, Turn("user", question)))


@pytest.mark.parametrize("pair", PAIRS)
def test_one_batch_of_16_with_no_one_and_two_pictures(pair):
    llava, samples = load(joined(*pair)), list(_mixed())
    together = answer(llava, samples, _noise, max_new_tokens=8, batch_size=16)
    alone = [answer(llava, [sample], _noise, max_new_tokens=8)[0] for sample in samples]
    assert [one.layout.image_count for one in together] == [index % 3 for index in range(16)]
    assert len({len(one.ids) for one in together}) > 12
    for one, other in zip(together, alone, strict=True):
        assert (one.id, one.text, one.ids.tolist()) == (other.id, other.text, other.ids.tolist())


@pytest.mark.parametrize("pair", PAIRS)
def test_every_token_is_the_likeliest_of_one_forward_pass(pair):
    """Without padding and without a cache: the model's own logits over the whole sequence name the same tokens."""
    llava, samples = load(joined(*pair)), _samples()
    for sample, one in zip(samples, answer(llava, samples, _noise, max_new_tokens=6), strict=True):
        pixels = llava.pixels([_noise(name) for name in sample.images]) if sample.images else None
        with torch.inference_mode():
            logits = llava.model(input_ids=torch.from_numpy(one.ids)[None], pixel_values=pixels).logits[0]
        said = _generated(one)
        assert len(said) == 6
        assert np.array_equal(logits[said - 1].argmax(dim=-1).numpy(), one.ids[said])


def _generated(one):
    last = one.layout.turn.max()
    found = [one.layout.positions(role, turn=last) for role in (Role.ANSWER, Role.STOP)]
    return np.sort(np.concatenate(found))


def test_the_layout_says_which_tokens_were_generated():
    llava = load(joined("clip", "llama"))
    (one,) = answer(llava, _samples()[1:2], _noise, max_new_tokens=4)
    assert one.layout.length == len(one.ids)
    assert one.layout.patches(0).shape == (3, 3)
    words = llava.processor.tokenizer.decode(one.ids[one.layout.positions(Role.ANSWER)])
    assert words.strip() == one.text


def _saying(token):
    """A model that says one token, whatever it is asked."""
    llava = load(joined("clip", "llama"))
    llava.model.lm_head.register_forward_hook(lambda module, inputs, out: out.index_fill(-1, torch.tensor([token]), 99))
    return llava


def test_an_answer_is_the_likeliest_whatever_the_folder_says_of_generation():
    """transformers would take penalties and beams from generation_config.json."""
    llava = load(joined("clip", "llama"))
    sample = Sample("1", ("a",), (Turn("user", "<image>\nWhy?"),))
    (plainly,) = answer(llava, [sample], lambda _: picture(1), 20)
    own = {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "num_beams": 4, "temperature": 0.3, "do_sample": True}
    llava.model.generation_config = GenerationConfig(**own, eos_token_id=2)
    (anyway,) = answer(llava, [sample], lambda _: picture(1), 20)
    assert anyway.ids.tolist() == plainly.ids.tolist()
    assert llava.model.generation_config.repetition_penalty == 5.0


def test_it_ends_at_the_stop_token():
    llava = _saying(2)
    for one in answer(llava, _samples(3), _noise, max_new_tokens=6):
        assert one.text == ""
        assert one.ids[-1] == llava.stop_id == 2
        assert len(one.layout.positions(Role.STOP, turn=one.layout.turn.max())) == 1


def test_a_caption_ends_at_the_line_break():
    llava = load(joined("clip", "llama"))
    line_break = llava.processor.tokenizer.encode("\n", add_special_tokens=False)[-1]
    sample = Sample("caption", ("1",), (Turn("user", "<image>\nDescribe it."),))
    (one,) = answer(_saying(line_break), [sample], _noise, template="plain")
    assert (one.text, one.ids[-1]) == ("", line_break)
    assert one.layout.positions(Role.QUESTION).size == 0  # the words are not a caption's


def test_pictures_come_from_a_folder_or_a_function(tmp_path):
    llava = load(joined("clip", "llama"))
    sample = _samples()[1]
    picture(1).save(tmp_path / "1.png")
    stored = Sample(sample.id, ("1.png",), sample.turns)
    from_folder = answer(llava, [stored], tmp_path, max_new_tokens=6)[0].text
    from_function = answer(llava, [sample], _noise, max_new_tokens=6)[0].text
    blank = answer(llava, [sample], lambda name: Image.new("RGB", (24, 24), "gray"), max_new_tokens=6)[0].text
    assert from_folder == from_function != blank


def test_an_answer_that_is_there_is_not_read():
    llava, sample = load(joined("clip", "llama")), _samples()[1]
    answered = Sample(sample.id, sample.images, (*sample.turns, Turn("assistant", "blue")))
    one, other = answer(llava, [sample, answered], _noise, max_new_tokens=6)
    assert one.text == other.text


def test_progress_counts_the_answers():
    told = []
    answer(load(joined("clip", "llama")), _samples(7), _noise, 2, batch_size=3, progress=told.append)
    assert told == [3, 6, 7]
    assert answer(load(joined("clip", "llama")), [], _noise) == []


def test_an_answerer_gives_texts():
    respond = answerer(joined("clip", "llama"), max_new_tokens=6)
    llava = load(joined("clip", "llama"))
    assert respond(_samples(4), _noise) == [one.text for one in answer(llava, _samples(4), _noise, 6)]


def test_what_cannot_be_asked_is_said(tmp_path):
    llava, shows = load(joined("clip", "llama")), _samples()[1]
    with pytest.raises(LapilliError, match="sample 's1': shows 1, but there is no folder of pictures"):
        answer(llava, [shows])
    with pytest.raises(PictureError, match="no such file"):
        answer(llava, [shows], tmp_path)
    with pytest.raises(LapilliError, match="of up to 500, but the language model reads 256"):
        answer(llava, [shows], _noise, max_new_tokens=500)


def test_a_template_whose_stop_the_model_has_not_is_refused():
    """Its last token would end every answer at the first ">"."""
    with pytest.raises(LapilliError, match=r"template chatml: its stop .* is 9 tokens of this language model, not one"):
        answer(load(joined("clip", "llama")), _samples(1), _noise, template="chatml")
