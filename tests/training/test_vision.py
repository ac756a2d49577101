"""The three losses against loops, the pixels against the processor's, and a training of a few steps."""

import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.training.small import tokenizer, tokenizer_folder
from transformers import AutoImageProcessor, CLIPImageProcessorPil, CLIPVisionModel

from lapilli.data.scenes.phrases import caption_seed, draw_seed
from lapilli.training.vision import (
    GRAIN,
    Contrast,
    VisionRecipe,
    _batch,
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
    rng = random.Random(0)
    return _batch(np.stack([draw_seed(s) for s in seeds]), [caption_seed(s, rng) for s in seeds], tokenizer())


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


def test_the_losses_are_those_of_loops_over_images_phrases_and_patches():
    made, (pixels, captions, phrases, wrong, owner) = model(), batch()
    with torch.no_grad():
        found = made.losses(pixels, captions, phrases, wrong, owner).tolist()
        seen = [made.vision(one[None]) for one in pixels]
        whole = [unit(made.whole(one.pooler_output[0])) for one in seen]
        patches = [[unit(made.patch(state)) for state in one.last_hidden_state[0, 1:]] for one in seen]
        said = [unit(made.caption(state)) for state in at_stop(made, captions)]
        right = [unit(made.phrase(state)) for state in at_stop(made, phrases)]
        false = [unit(made.phrase(state)) for state in at_stop(made, wrong)]
    pairs = [[math.exp(2.0) * float(w @ s) for s in said] for w in whole]
    of_pictures = [surprise(row, i) for i, row in enumerate(pairs)]
    of_captions = [surprise(row, i) for i, row in enumerate(zip(*pairs, strict=True))]

    def best(text, image):
        return max(float(text @ patch) for patch in patches[image])

    of_phrases = [
        surprise([math.exp(2.5) * best(text, image) for image in range(len(pixels))], int(own))
        for text, own in zip(right, owner, strict=True)
    ]
    of_facts = [
        surprise([100 * best(text, int(own)), 100 * best(other, int(own))], 0)
        for text, other, own in zip(right, false, owner, strict=True)
    ]
    expected = [(np.mean(of_pictures) + np.mean(of_captions)) / 2, np.mean(of_phrases), np.mean(of_facts)]
    assert found == pytest.approx(expected, rel=2e-4)


def test_a_batch_pairs_every_phrase_with_its_picture_and_its_wrong_one():
    seeds = ["vision-test-0", "vision-test-1"]
    said = [caption_seed(seed, random.Random(1)) for seed in seeds]
    _, captions, phrases, wrong, owner = _batch(np.stack([draw_seed(s) for s in seeds]), said, tokenizer())
    assert phrases.shape == wrong.shape
    assert owner.tolist() == [image for image, one in enumerate(said) for _ in one.phrases]
    for ids, expected in (
        (captions, [one.caption for one in said]),
        (phrases, [phrase for one in said for phrase in one.phrases]),
        (wrong, [phrase for one in said for phrase in one.wrong]),
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
    recipe = replace(RECIPE, tokenizer=tokenizer_folder())
    return train_vision(recipe, lambda step, **figures: losses.append(sum(figures.values()))), losses


def test_a_few_steps_lower_the_loss(trained):
    losses = trained[1]
    assert len(losses) == RECIPE.steps
    assert np.mean(losses[-3:]) < 0.95 * np.mean(losses[:3])


def test_the_same_seed_gives_the_same_weights_and_saved_ones_are_read_back(trained, tmp_path):
    recipe = replace(RECIPE, tokenizer=tokenizer_folder())
    again, other = (train_vision(replace(recipe, seed=s, steps=n), lambda *_, **__: None) for s, n in ((0, 12), (1, 1)))
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
