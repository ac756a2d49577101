"""Batches: the encoder's ids and labels, and every sample beside its own picture."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.lessons import write_lesson
from tests.parts import joined

from lapilli.core.errors import LapilliError
from lapilli.data.encode import encode
from lapilli.data.learnable import Requirements
from lapilli.data.sample import read_samples
from lapilli.model.llava import load
from lapilli.training.feed import Batcher, Examples, SimilarLengths


@pytest.fixture
def lesson(tmp_path):
    return write_lesson(tmp_path / "lesson", count=8)


def test_an_example_is_what_the_encoder_made(lesson):
    codec = load(joined("clip", "llama")).codec
    samples = read_samples(lesson.file)
    examples = Examples(samples, Requirements(codec, 256, False))
    encoded = [encode(sample, codec) for sample in samples]
    assert len(examples) == len(samples) == 10
    for example, expected in zip((examples[index] for index in range(len(examples))), encoded, strict=True):
        assert (example.id, example.images) == (expected.id, expected.images)
        assert np.array_equal(example.ids, expected.ids)
        assert np.array_equal(example.labels, expected.labels)
    assert examples.tokens == sum(len(one.ids) for one in encoded)
    assert examples.learned_tokens == sum((one.labels != -100).sum() for one in encoded)


def test_pictures_stand_in_the_order_of_their_samples(lesson):
    llava = load(joined("clip", "llama"))
    examples = Examples(read_samples(lesson.file), Requirements(llava.codec, 256, False))
    batcher = Batcher(lesson.images, llava.pixels, pad_id=361)
    chosen = [examples[index] for index in (5, 4, 0, 1)]  # the second has no picture
    batch = batcher(chosen)
    alone = [batcher([one])["pixel_values"] for one in chosen if one.images]
    assert torch.equal(batch["pixel_values"], torch.cat(alone))
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 361).all()
    assert "pixel_values" not in batcher([examples[4]])


def test_too_long_a_sample_is_named_before_training(lesson):
    codec = replace(load(joined("clip", "llama")).codec, patch_grid=(20, 20))
    with pytest.raises(LapilliError, match=r"^8 samples .*: row 0, sample 'color-0': 4\d\d tokens, .* at most 256"):
        Examples(read_samples(lesson.file), Requirements(codec, 256, False))


def test_every_sample_that_cannot_be_learned_from_is_counted_and_rows_are_those_of_the_file(lesson):
    samples = read_samples(lesson.file)
    needs = Requirements(load(joined("clip", "llama")).codec, 256, needs_picture=True)
    with pytest.raises(LapilliError) as error:
        Examples(samples[1:], needs, rows=range(1, 10))
    first = "row 4, sample 'words-3': image: no picture, from which alone the connector learns; show one with <image>"
    assert str(error.value).startswith(f"2 samples cannot be learned from: {first}")
    assert str(error.value).endswith("all are listed by `lapilli data validate --stage --model` (row 9)")


def test_a_damaged_picture_names_its_sample(lesson):
    llava = load(joined("clip", "llama"))
    examples = Examples(read_samples(lesson.file), Requirements(llava.codec, 256, False))
    (lesson.images / "0.png").write_bytes((lesson.images / "0.png").read_bytes()[:60])
    with pytest.raises(LapilliError, match=r"sample 'color-0': .*0\.png: cannot be decoded"):
        Batcher(lesson.images, llava.pixels, 361)([examples[0]])


def _batches(order, size):
    indices = list(order)
    return [indices[at : at + size] for at in range(0, len(indices), size)]


@pytest.mark.parametrize("count", [320, 331, 40])
def test_batches_of_similar_length_hold_every_sample_once(count):
    lengths = np.random.default_rng(0).integers(50, 300, count)
    order = SimilarLengths(lengths, 16, seed=3)
    first = list(order)
    assert sorted(first) == list(range(count))
    assert list(order) == first
    order.set_epoch(1)
    assert sorted(order) == list(range(count))
    assert list(order) != first
    assert list(SimilarLengths(lengths, 16, seed=4)) != first


def test_batches_of_similar_length_are_hardly_padded():
    lengths = np.random.default_rng(0).integers(50, 300, 3200)
    padded = sum(len(batch) * lengths[batch].max() for batch in _batches(SimilarLengths(lengths, 16, seed=0), 16))
    at_random = sum(len(batch) * lengths[batch].max() for batch in _batches(range(3200), 16))
    assert padded / lengths.sum() < 1.12 < 1.5 < at_random / lengths.sum()
