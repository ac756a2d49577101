"""A conversation that keeps what was read: the same answers as reading all of it anew, and less to do."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.parts import joined, part, picture
from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM

from lapilli.core.errors import LapilliError
from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn, read_samples, write_samples
from lapilli.inference.answer import answer
from lapilli.inference.chat import Chat
from lapilli.model.llava import join, load
from lapilli.model.reading import quiet

PAIRS = [("clip", "llama"), ("siglip", "qwen2")]
QUESTIONS = [("What color is it?", ["1"]), ("How many squares?", []), ("And these two?", ["2", "3"]), ("Why?", [])]


def _noise(name):
    return picture(int(name))


def _encoded(llava):
    """A list that grows by the number of pictures whenever the vision encoder runs."""
    counts = []
    llava.model.model.vision_tower.register_forward_pre_hook(lambda module, inputs: counts.append(len(inputs[0])))
    return counts


def _anew(chat, llava):
    """The answer to the last question so far when all is read anew."""
    return answer(llava, [chat.sample], _noise, max_new_tokens=6)[0].text


@pytest.mark.parametrize("pair", PAIRS)
def test_every_turn_is_what_reading_all_of_it_anew_gives(pair):
    llava, other = load(joined(*pair)), load(joined(*pair))
    chat, counts = Chat(llava, _noise, max_new_tokens=6), _encoded(llava)
    for number, (question, images) in enumerate(QUESTIONS):
        pieces = []
        said = chat.say(question, images, pieces.append)
        assert said == "".join(pieces) == _anew(chat, other) != ""
        assert chat.sample.turns[-1] == Turn("assistant", said)
        assert len(chat.sample.turns) == 2 * number + 2
    assert counts == [1, 2]  # every picture once
    assert chat.sample.images == ("1", "2", "3")


@pytest.mark.parametrize("window", [16, 4096])
def test_layers_that_look_back_a_little_way_alone(window, tmp_path):
    """Mistral's first models: what has left the window is kept in a chat all the same, and must not be looked at."""
    torch.manual_seed(6)
    tokenizer = AutoTokenizer.from_pretrained(part("llama"))
    sizes = {"hidden_size": 48, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = MistralConfig(
        **sizes, vocab_size=len(tokenizer), num_hidden_layers=3, sliding_window=window, initializer_range=0.15
    )
    with quiet():
        MistralForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    llava, other = join(part("clip"), tmp_path), join(part("clip"), tmp_path)
    chat = Chat(llava, _noise, max_new_tokens=6)
    for question, images in QUESTIONS:
        assert chat.say(question, images) == _anew(chat, other) != ""


def _logits(llava):
    """A list of the last position's logits, one for every time the head runs, and of how many tokens were read."""
    seen = []
    llava.model.lm_head.register_forward_hook(lambda module, inputs, out: seen.append(out[0, -1]))
    read = []
    llava.model.model.language_model.layers[0].register_forward_pre_hook(
        lambda module, inputs, named: read.append((inputs[0] if inputs else named["hidden_states"]).shape[1]),
        with_kwargs=True,
    )
    return seen, read


@pytest.mark.parametrize("pair", PAIRS)
def test_the_logits_are_those_of_all_tokens_and_few_are_read(pair):
    llava, other = load(joined(*pair)), load(joined(*pair))
    chat = Chat(llava, _noise, max_new_tokens=6)
    chat.say(*QUESTIONS[0])
    ours, read = _logits(llava)
    chat.say(*QUESTIONS[1])
    theirs, whole = _logits(other)
    _anew(chat, other)
    assert read[0] < whole[0] / 2
    assert read[1:] == whole[1:] == [1] * 5
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs), atol=1e-4, rtol=1e-4)


def _forced(llava, tokens):
    """Let the model say these tokens, and then the stop, until the hook that is returned is removed."""
    left = [*tokens, llava.stop_id]

    def force(module, inputs, out):
        forced = torch.zeros_like(out)
        forced[..., left.pop(0)] = 1
        return forced

    return llava.model.lm_head.register_forward_hook(force)


def _spelled(llava, text):
    """The ids of a text, a byte each: as no tokenizer would cut it."""
    tokenizer = llava.processor.tokenizer
    (pieces,) = [tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)]
    return tokenizer.convert_tokens_to_ids([char for piece, _ in pieces for char in piece])


@pytest.mark.parametrize("pair", PAIRS)
def test_an_answer_that_is_tokenised_otherwise_is_read_as_its_text_is(pair):
    llava, other = load(joined(*pair)), load(joined(*pair))
    chat, counts = Chat(llava, _noise, max_new_tokens=20), _encoded(llava)
    spelled = _spelled(llava, "the red circle")
    assert len(spelled) > len(llava.processor.tokenizer.encode("the red circle", add_special_tokens=False))
    hook = _forced(llava, spelled)
    assert chat.say("What is it?", ["1"]) == "the red circle"
    hook.remove()
    said = chat.say("How many?")
    assert said == answer(other, [chat.sample], _noise, max_new_tokens=20)[0].text
    assert counts == [1]


@pytest.mark.parametrize("pair", PAIRS)
def test_pieces_are_whole_characters_without_the_spaces_around(pair):
    llava, pieces = load(joined(*pair)), []
    hook = _forced(llava, _spelled(llava, "  é → 🌋 ok "))
    said = Chat(llava, max_new_tokens=40).say("What?", on_text=pieces.append)
    hook.remove()
    assert said == "".join(pieces) == "é → 🌋 ok"
    assert pieces == ["é", " →", " 🌋", " o", "k"]


def test_half_a_character_at_the_end_is_told_as_answer_gives_it():
    llava, pieces = load(joined("clip", "llama")), []
    _forced(llava, _spelled(llava, "a🌋")[:3])
    assert Chat(llava, max_new_tokens=9).say("What?", on_text=pieces.append) == "a\N{REPLACEMENT CHARACTER}"
    assert pieces == ["a", "\N{REPLACEMENT CHARACTER}"]


def _interrupting(after):
    """A callback that interrupts at the piece of that number, from 1."""
    pieces = []

    def told(piece):
        pieces.append(piece)
        if len(pieces) == after:
            raise KeyboardInterrupt

    return told


@pytest.mark.parametrize("pair", PAIRS)
def test_an_interrupted_answer_ends_there_and_the_conversation_goes_on(pair):
    llava, other = load(joined(*pair)), load(joined(*pair))
    chat, counts = Chat(llava, _noise, max_new_tokens=6), _encoded(llava)
    whole = Chat(other, _noise, max_new_tokens=6).say(*QUESTIONS[0])
    with pytest.raises(KeyboardInterrupt):
        chat.say(*QUESTIONS[0], _interrupting(2))
    said = chat.sample.turns[-1].text
    assert said and whole.startswith(said) and len(said) < len(whole)
    for question, images in QUESTIONS[1:3]:
        assert chat.say(question, images) == _anew(chat, other)
    assert counts == [1, 2]


@pytest.mark.parametrize("step", [0, 1, 3])
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("pair", PAIRS)
def test_broken_off_between_two_layers(pair, layer, step):
    """The layers' caches differ in length then, and the next turn must not notice."""
    llava, other = load(joined(*pair)), load(joined(*pair))
    chat = Chat(llava, _noise, max_new_tokens=6)
    first = chat.say(*QUESTIONS[0])
    calls, pieces = [], []

    def interrupt(*_):
        calls.append(1)
        if len(calls) == step + 1:
            raise KeyboardInterrupt

    hook = llava.model.model.language_model.layers[layer].mlp.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        chat.say(*QUESTIONS[2], pieces.append)
    hook.remove()
    assert [turn.text for turn in chat.sample.turns[3:]] == (["".join(pieces)] if pieces else [])
    assert step < 3 or pieces
    assert chat.sample.turns[1].text == first
    assert chat.say("And here?", ["4"]) == _anew(chat, other)
    assert chat.say("Why?") == _anew(chat, other)


@pytest.mark.parametrize("pair", PAIRS)
def test_after_a_question_taken_back_another_picture_is_another(pair):
    """The ids of both questions are the same; only the pictures differ."""
    llava, other = load(joined(*pair)), load(joined(*pair))
    chat, counts = Chat(llava, _noise, max_new_tokens=6), _encoded(llava)
    hook = _forced(llava, [])
    assert chat.say("What color is it?", ["1"]) == ""
    hook.remove()
    assert chat.sample == Sample("chat", (), ())
    assert chat.say("What color is it?", ["5"]) == _anew(chat, other)
    assert counts == [1, 1]


def test_marks_say_where_pictures_stand():
    llava = load(joined("clip", "llama"))
    chat = Chat(llava, _noise, max_new_tokens=4)
    chat.say("Is <image> left of <image>?", ["1", "2"])
    assert chat.sample.turns[0].text == "Is <image> left of <image>?"
    chat.say("These?", ["3", "4"])
    assert chat.sample.turns[2].text == "<image>\n<image>\nThese?"
    with pytest.raises(LapilliError, match="6 <image> in the questions, 5 images"):
        chat.say("Is <image> left of <image>?", ["5"])
    assert len(chat.sample.turns) == 4


def test_reset_begins_anew():
    llava = load(joined("clip", "llama"))
    chat, counts = Chat(llava, _noise, max_new_tokens=6), _encoded(llava)
    first = chat.say(*QUESTIONS[0])
    chat.reset()
    assert chat.sample.turns == ()
    assert chat.say(*QUESTIONS[0]) == first
    assert counts == [1, 1]


@pytest.mark.parametrize("pair", PAIRS)
def test_the_prompt_is_what_was_read(pair):
    llava = load(joined(*pair))
    chat, tokenizer, codec = Chat(llava, _noise, max_new_tokens=6), llava.processor.tokenizer, llava.codec
    empty = chat.prompt
    for question, images in QUESTIONS[:3]:
        chat.say(question, images)
    assert chat.prompt.startswith(empty)
    patches = chat.prompt.replace("<image>", "<image>" * 9)
    assert tokenizer.encode(patches, add_special_tokens=False) == encode(chat.sample, codec).ids.tolist()


def test_the_sample_is_written_and_read(tmp_path):
    llava = load(joined("clip", "llama"))
    chat = Chat(llava, _noise, max_new_tokens=6)
    for question, images in QUESTIONS:
        chat.say(question, images)
    write_samples(tmp_path / "chat.json", [chat.sample])
    assert read_samples(tmp_path / "chat.json") == [chat.sample]


def _missing(name):
    raise LapilliError(f"{name}: no such picture")


def test_what_cannot_be_asked_changes_nothing():
    llava, other = load(joined("clip", "llama")), load(joined("clip", "llama"))
    chat = Chat(llava, lambda name: _missing(name) if name == "9" else _noise(name), max_new_tokens=6)
    chat.say(*QUESTIONS[0])
    before = chat.sample
    with pytest.raises(LapilliError, match="9: no such picture"):
        chat.say("And here?", ["2", "9"])
    with pytest.raises(LapilliError, match="reads 256; begin anew"):
        chat.say("very " * 200)
    with pytest.raises(LapilliError, match="shows 1, but there is no folder of pictures"):
        Chat(llava, max_new_tokens=6).say(*QUESTIONS[0])
    assert chat.sample == before
    assert chat.say("How many?") == _anew(chat, other)


def test_an_answer_of_nothing_takes_the_question_back():
    llava = load(joined("clip", "llama"))
    chat = Chat(llava, _noise, max_new_tokens=6)
    _forced(llava, [])
    assert chat.say(*QUESTIONS[0]) == ""
    assert chat.sample == Sample("chat", (), ())


def test_an_answer_that_no_prompt_can_hold_takes_the_question_back():
    llava = load(joined("clip", "llama"))
    chat = Chat(llava, max_new_tokens=20)
    hook = _forced(llava, _spelled(llava, "a<image>"))
    with pytest.raises(LapilliError, match=r"the question is taken back: .* the answer holds '<image>'"):
        chat.say("What?")
    hook.remove()
    assert chat.sample == Sample("chat", (), ())
    assert chat.say("What?") == Chat(llava, max_new_tokens=20).say("What?")


def test_a_template_of_ones_own_choice():
    llava = load(joined("clip", "llama"))
    chat = Chat(llava, _noise, 6, template="llava_v1")
    said = [chat.say(question, images) for question, images in QUESTIONS[:2]]
    assert "curious human" in chat.prompt
    (anew,) = answer(llava, [replace(chat.sample)], _noise, 6, template="llava_v1")
    assert said[1] == anew.text
    assert np.array_equal(anew.layout.patches(0).shape, (3, 3))
