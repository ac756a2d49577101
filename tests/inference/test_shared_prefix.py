"""What prompts begin with is read once, and the answers are those of prompts that are read whole."""

import numpy as np
import pytest
import torch
from tests.parts import joined, part, picture
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn
from lapilli.inference.answer import answer
from lapilli.inference.shared_prefix import prefixes, read_prefix, rests, shared_length
from lapilli.model.llava import join, load
from lapilli.model.upstream import cache_argument, cache_layers, new_cache

WHOLE = [("clip", "llama"), ("siglip", "qwen2")]
PAIRS = [*WHOLE, ("clip", "mistral")]  # with a window that some of the prompts pass
LONGEST = 6


def noise(name):
    return picture(int(name))


def asked(*images, words=1, before=""):
    question = before + "<image>\n" * len(images) + "What " + "very " * words + "color?"
    return Sample(f"{images} {words}", images, (Turn("user", question),))


def encoded(llava, samples):
    return [encode(sample, llava.codec, for_generation=True) for sample in samples]


SAMPLES = {
    "one picture": [asked("1", words=words) for words in (5, 0, 3, 3)],
    "some of each": [asked(str(at % 3), words=at % 4) for at in range(24)],
    "all others": [asked(str(at), words=at) for at in range(5)],
    "no picture": [asked(words=at) for at in range(4)],
    "two pictures": [asked(*pair, words=at) for at, pair in enumerate(("12", "13", "12", "42"))],
    "behind text": [asked("1", before="red " * at) for at in range(4)],
    "with and without": [asked(*("12"[: at % 3]), words=at) for at in range(7)],
    "one": [asked("1")],
    "twice the same": [asked("1"), asked("1")],
}


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("name", SAMPLES)
def test_answers_are_those_of_each_sample_alone(pair, name):
    llava = load(joined(*pair))
    shared = answer(llava, SAMPLES[name], noise, LONGEST, share_prefixes=True)
    for one, sample in zip(shared, SAMPLES[name], strict=True):
        (alone,) = answer(llava, [sample], noise, LONGEST)
        assert (one.id, one.text) == (alone.id, alone.text)
        assert np.array_equal(one.ids, alone.ids) and one.layout == alone.layout


@pytest.mark.parametrize("pair", WHOLE)
@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "one"])
def test_keys_and_values_are_those_of_the_whole_prompts(pair, name):
    llava = load(joined(*pair))
    prompts = encoded(llava, SAMPLES[name])
    length = shared_length(llava, prompts, LONGEST)
    parts = prefixes(prompts, length)
    pictures = [noise(one) for part in parts for one in part.images]
    shared = cache_layers(read_prefix(llava, prompts, length, llava.pixels(pictures) if pictures else None))
    for at, prompt in enumerate(prompts):
        whole = new_cache()
        images = [noise(one) for one in prompt.images]
        inputs = {"pixel_values": llava.pixels(images)} if images else {}
        with torch.inference_mode():
            llava.model.eval()(
                input_ids=torch.tensor(prompt.ids)[None], **inputs, **cache_argument(llava.model, whole), use_cache=True
            )
        for ours, theirs in zip(shared, cache_layers(whole), strict=True):
            for one, other in zip(ours, theirs, strict=True):
                torch.testing.assert_close(one[at], other[0, :, :length], rtol=1e-4, atol=1e-5)


def test_the_parts_are_the_prompts_and_a_picture_is_in_one_of_them_once():
    llava = load(joined("clip", "llama"))
    prompts = encoded(llava, SAMPLES["some of each"])
    length = shared_length(llava, prompts, LONGEST)
    before, behind = prefixes(prompts, length), rests(prompts, length)
    assert sorted(part.images for part in before) == [("0",), ("1",), ("2",)]
    assert not any(part.images for part in behind)
    for prompt, rest in zip(prompts, behind, strict=True):
        (first,) = (part for part in before if part.images == prompt.images)
        assert np.array_equal(np.concatenate([first.ids, rest.ids]), prompt.ids)
    assert length > int(prompts[0].layout.patches(0).max())


def test_what_saves_more_is_shared():
    """Of pictures that differ all the text before them, of few pictures them too; of one prompt nothing."""
    llava = load(joined("clip", "llama"))
    others, one, twice = (encoded(llava, SAMPLES[name]) for name in ("all others", "one", "twice the same"))
    assert shared_length(llava, others, LONGEST) == int(others[0].layout.patches(0)[0, 0])
    assert shared_length(llava, one, LONGEST) == 0
    assert shared_length(llava, twice, LONGEST) == len(twice[0].ids) - 1


def test_a_picture_is_opened_once_for_a_batch():
    opened = []

    def noted(name):
        opened.append(name)
        return noise(name)

    answer(load(joined("clip", "llama")), SAMPLES["some of each"], noted, 2, share_prefixes=True)
    assert sorted(opened) == ["0", "1", "2"]


def test_a_window_that_is_shorter_than_the_prompts_shares_nothing():
    llava = load(joined("clip", "mistral"))
    prompts = encoded(llava, SAMPLES["one picture"])
    longest = max(len(prompt.ids) for prompt in prompts) + LONGEST
    config = llava.model.config.text_config
    for window, shared in ((None, True), (longest, True), (longest - 1, False)):
        config.sliding_window = window
        assert bool(shared_length(llava, prompts, LONGEST)) == shared


@pytest.mark.parametrize("name", ["window_size", "attention_chunk_size"])
def test_windows_of_other_names_are_windows(name):
    llava = load(joined("clip", "llama"))
    prompts = encoded(llava, SAMPLES["one picture"])
    longest = max(len(prompt.ids) for prompt in prompts) + LONGEST
    for window, shared in ((None, True), (longest, True), (longest - 1, False)):
        setattr(llava.model.config.text_config, name, window)
        assert bool(shared_length(llava, prompts, LONGEST)) == shared


def language(folder, kind, **settings):
    """A LLaVA of a tiny random language model of another kind, with the tokenizer of the tests' Llama."""
    tokenizer = AutoTokenizer.from_pretrained(part("llama"))
    torch.manual_seed(3)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.eos_token_id,
        **ids,
        tie_word_embeddings=False,
        **settings,
    )
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(6)  # so that answers depend on the prompt
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return join(part("clip"), folder, "mlp2x_gelu", "vicuna_v1")


def long_rope(first):
    """Phi-3's settings with frequencies of their own beyond `first` tokens."""
    factors = {"short_factor": [1.0] * 6, "long_factor": [4.0] * 6, "factor": 3.0}
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": first, **factors}
    sizes = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return {
        "rope_parameters": rope,
        "original_max_position_embeddings": first,
        "max_position_embeddings": 256,
        "num_key_value_heads": 2,
        **sizes,
    }


MPT = {"d_model": 48, "n_heads": 4, "n_layers": 2, "max_seq_len": 256, "max_position_embeddings": 256}


@pytest.mark.parametrize(
    ("kind", "settings", "shared"),
    [("phi3", long_rope(84), False), ("phi3", long_rope(200), True), ("mpt", MPT, False)],
)
def test_nothing_is_shared_where_a_beginning_is_read_otherwise_than_the_whole(kind, settings, shared, tmp_path):
    llava = language(tmp_path, kind, **settings)
    samples = [asked("1", words=words) for words in (0, 3, 8, 12)]
    assert bool(shared_length(llava, encoded(llava, samples), LONGEST)) == shared
    for one, sample in zip(answer(llava, samples, noise, LONGEST, share_prefixes=True), samples, strict=True):
        (alone,) = answer(llava, [sample], noise, LONGEST)
        assert one.text == alone.text


def test_long_rope_of_one_kind_of_layers_counts():
    llava = load(joined("clip", "llama"))
    prompts = encoded(llava, SAMPLES["one picture"])
    longest = max(len(prompt.ids) for prompt in prompts) + LONGEST
    for first, shared in ((longest, True), (longest - 1, False)):
        rope = {"rope_type": "longrope", "original_max_position_embeddings": first}
        llava.model.config.text_config.rope_parameters = {"full_attention": rope, "sliding": {"rope_type": "default"}}
        assert bool(shared_length(llava, prompts, LONGEST)) == shared


def test_without_being_told_nothing_is_shared():
    """Hooks may count on whole prompts."""
    llava, lengths = load(joined("clip", "llama")), []
    hook = llava.model.model.language_model.register_forward_pre_hook(
        lambda _, arguments, keywords: lengths.append(keywords["inputs_embeds"].shape[1]), with_kwargs=True
    )
    prompts = encoded(llava, SAMPLES["one picture"])
    answer(llava, SAMPLES["one picture"], noise, 1)
    assert lengths == [max(len(prompt.ids) for prompt in prompts)]
    answer(llava, SAMPLES["one picture"], noise, 1, share_prefixes=True)
    assert sum(lengths[1:]) == lengths[0]
    hook.remove()
