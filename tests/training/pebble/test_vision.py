"""The three losses against loops, the pixels against the processor's, and a training of a few steps."""

import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.training.small import tokenizer
from transformers import AutoImageProcessor, CLIPImageProcessorPil, CLIPVisionModel

from lapilli.data.scenes.phrases import FACTS, UNSAID, caption_seed, draw_seed, facts_seed
from lapilli.training.pebble.vision import (
    GRAIN,
    Contrast,
    VisionRecipe,
    _batch,
    _pair_loss,
    _rate,
    _whiten,
    normalised,
    save_vision,
    train_vision,
)

RECIPE = VisionRecipe(
    stage="vision", out=Path(), scenes=16, steps=12, batch_size=8, learning_rate=3e-3, patch=16, width=16, layers=2,
    heads=2, text_width=16, text_layers=1, log_every=1,
)  # fmt: skip


def batch(count=3):
    seeds = [f"vision-test-{index}" for index in range(count)]
    pictures = np.stack([draw_seed(seed) for seed in seeds])
    return _batch(pictures, seeds, random.Random(0), RECIPE.patch, tokenizer())


def model():
    torch.manual_seed(0)
    made = Contrast(RECIPE, len(tokenizer()), tokenizer().eos_token_id)
    with torch.no_grad():
        made.log_scales.copy_(torch.tensor([2.0, 2.5, 6.0]))  # the last beyond its limit of log 100
    return made


def at_stop(made, ids):
    """The text encoder's state at each row's first stop token, one row at a time, cut behind it."""
    rows = []
    for row in ids:
        end = row.tolist().index(tokenizer().eos_token_id)
        rows.append(made.text(row[None, : end + 1]).last_hidden_state[0, end])
    return rows


def unit(vector):
    return vector / vector.norm()


def surprise(scores, right):
    """-log of the softmax of `scores` at `right`."""
    return -math.log(math.exp(scores[right]) / sum(map(math.exp, scores)))


def test_the_losses_are_those_of_loops_over_images_things_and_patches():
    made, one = model(), batch()
    with torch.no_grad():
        found = made.losses(one).tolist()
        seen = [made.vision(pixels[None], output_hidden_states=True) for pixels in one.pixels]
        whole = [unit(made.whole(image.pooler_output[0])) for image in seen]
        patches = [[unit(made.patch(state)) for state in image.hidden_states[-2][0, 1:]] for image in seen]
        said = [unit(made.caption(state)) for state in at_stop(made, one.captions)]
        phrases = [unit(made.phrase(state)) for state in at_stop(made, one.phrases)]
        words = [unit(made.phrase(state)) for state in at_stop(made, one.words)]
    things = [patches[image][place] for image, place in zip(one.owner, one.place, strict=True)]
    expected = [
        both_ways(2.0, whole, said, one.captions),
        both_ways(2.5, things, phrases, one.phrases),
        sum(of_line(patches, words, one.facts, line) for line in range(len(FACTS))),
    ]
    assert found == pytest.approx(expected, rel=2e-4)


def both_ways(scale, seen, said, ids):
    """The mean surprise at each pair, among all texts that say something else, and among all things likewise."""
    texts = [row.tolist() for row in ids]
    losses = []
    for i, text in enumerate(texts):
        others = [j for j in range(len(texts)) if j == i or texts[j] != text]
        for scores in (
            [math.exp(scale) * float(seen[i] @ said[j]) for j in others],
            [math.exp(scale) * float(seen[j] @ said[i]) for j in others],
        ):
            losses.append(surprise(scores, others.index(i)))
    return np.mean(losses)


def of_line(patches, words, facts, line):
    """The mean surprise at the facts of one line, over the patches of which one is said; 100 is the largest scale."""
    start = sum(len(phrases) for phrases in list(FACTS.values())[:line])
    mine = words[start : start + len(list(FACTS.values())[line])]
    losses = [
        surprise([100 * float(patch @ word) for word in mine], int(fact))
        for image, row in zip(patches, facts[..., line], strict=True)
        for patch, fact in zip(image, row, strict=True)
        if fact != UNSAID
    ]
    return np.mean(losses) if losses else 0.0


def test_a_text_that_says_the_same_is_no_wrong_answer():
    scores, texts = torch.tensor([[2.0, 9.0, 1.0], [9.0, 2.0, 1.0], [0.0, 0.0, 3.0]]), torch.tensor([[5], [5], [6]])
    expected = np.mean([surprise(row, i) for row, i in (([2.0, 1.0], 0), ([2.0, 1.0], 0), ([0.0, 0.0, 3.0], 2))])
    across = np.mean([surprise(row, i) for row, i in (([2.0, 0.0], 0), ([2.0, 0.0], 0), ([1.0, 1.0, 3.0], 2))])
    assert _pair_loss(scores, texts).item() == pytest.approx((expected + across) / 2)


def test_a_batch_holds_what_is_said_of_its_pictures():
    seeds = ["vision-test-0", "vision-test-1"]
    made = _batch(np.stack([draw_seed(s) for s in seeds]), seeds, random.Random(1), RECIPE.patch, tokenizer())
    rng = random.Random(1)
    said = [caption_seed(seed, rng, RECIPE.patch) for seed in seeds]
    assert made.owner.tolist() == [image for image, one in enumerate(said) for _ in one.phrases]
    assert made.place.tolist() == [place for one in said for place in one.patches]
    assert made.facts.tolist() == [facts_seed(seed, RECIPE.patch).tolist() for seed in seeds]
    for ids, expected in (
        (made.captions, [one.caption for one in said]),
        (made.phrases, [phrase for one in said for phrase in one.phrases]),
        (made.words, [phrase for line in FACTS.values() for phrase in line]),
    ):
        texts = tokenizer().batch_decode(ids, clean_up_tokenization_spaces=False)
        assert [text.replace("<pad>", "") for text in texts] == [f"<s>{text}</s>" for text in expected]


@pytest.mark.parity
def test_pixels_are_the_image_processors_to_the_last_bit(tmp_path):
    pictures = np.stack([draw_seed(f"pixels-{index}") for index in range(4)])
    pictures = np.concatenate([pictures, np.arange(256, dtype=np.uint8).repeat(108).reshape(1, 96, 96, 3)])
    save_vision(model().vision, tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path, use_fast=False)
    assert isinstance(processor, CLIPImageProcessorPil)
    theirs = processor([Image.fromarray(picture) for picture in pictures], return_tensors="pt")["pixel_values"]
    assert torch.equal(normalised(pictures), theirs)


CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def variances(pictures, side):
    """Of the principal components of all patches, the largest last; from the singular values of patches cut by hand."""
    patches = [
        ((picture[y : y + side, x : x + side] / 255 - CLIP_MEAN) / CLIP_STD).ravel()
        for picture in pictures
        for y in range(0, 96, side)
        for x in range(0, 96, side)
    ]
    centred = np.stack(patches) - np.mean(patches, axis=0)
    return np.sort(np.linalg.svd(centred, compute_uv=False) ** 2 / (len(patches) - 1))


def test_patches_begin_as_principal_components_of_about_equal_loudness():
    """The embeddings of the patches, over all pictures, vary by v / (v + GRAIN) for v the largest, and not together."""
    pictures, made = np.stack([draw_seed(f"whiten-{index}") for index in range(20)]), model().vision
    _whiten(made.embeddings, pictures)
    with torch.no_grad():
        seen = made.embeddings.patch_embedding(normalised(pictures)).flatten(2).transpose(1, 2).flatten(0, 1)
    largest = variances(pictures, RECIPE.patch)[-RECIPE.width :]
    assert np.cov(seen.double().numpy().T) == pytest.approx(np.diag(largest / (largest + GRAIN)), abs=1e-4)


def test_places_begin_as_loud_as_half_of_what_patches_show():
    made = model().vision
    _whiten(made.embeddings, np.stack([draw_seed("whiten-0")]))
    assert made.embeddings.position_embedding.weight.std().item() == pytest.approx(0.5, rel=0.1)
    assert not made.embeddings.patch_embedding.weight.isnan().any()


@pytest.fixture(scope="module")
def trained():
    losses = []
    return train_vision(RECIPE, tokenizer(), lambda step, **figures: losses.append(sum(figures.values()))), losses


def test_a_few_steps_lower_the_loss(trained):
    losses = trained[1]
    assert len(losses) == RECIPE.steps
    assert np.mean(losses[-3:]) < 0.95 * np.mean(losses[:3])


def test_the_same_seed_gives_the_same_weights_and_saved_ones_are_read_back(trained, tmp_path):
    rest = {"tokenizer": tokenizer(), "report": lambda *_, **__: None}
    again, other = (train_vision(replace(RECIPE, seed=s, steps=n), **rest) for s, n in ((0, 12), (1, 1)))
    weights = trained[0].state_dict()
    assert all(torch.equal(weights[name], value) for name, value in again.state_dict().items())
    assert any(not torch.equal(weights[name], value) for name, value in other.state_dict().items())
    save_vision(trained[0], tmp_path)
    loaded = CLIPVisionModel.from_pretrained(tmp_path).state_dict()
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())


def test_the_rate_warms_up_and_falls_to_nothing_along_half_a_cosine():
    rates = [_rate(step, 1_000) for step in range(1_001)]
    assert rates[0] == pytest.approx(1 / 30)
    assert rates[29] == rates[30] == 1
    assert rates[30 + 485] == pytest.approx(0.5)
    assert rates[1_000] == pytest.approx(0)
    assert rates[30:] == sorted(rates[30:], reverse=True)
