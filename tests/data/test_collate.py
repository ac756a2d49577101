"""Batches of encoded samples."""

import pytest
import torch

from lapilli.data.collate import collate
from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn

PAD = 0


@pytest.fixture
def rows(simple_codec):
    talk = (Turn("user", "<image> What is it?"), Turn("assistant", "A red kite, and so on."))
    short = (Turn("user", "Hi"), Turn("assistant", "x"))
    return [encode(Sample("a", ("a.png",), talk), simple_codec), encode(Sample("b", (), short), simple_codec)]


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_is_attended_to_is_each_sample_and_the_rest_padding(rows, side):
    batch = collate(rows, PAD, side)
    length = max(len(row.ids) for row in rows)
    assert {name: (value.dtype, value.shape) for name, value in batch.items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "labels"), (torch.int64, (2, length))
    )
    for index, row in enumerate(rows):
        kept = batch["attention_mask"][index].bool()
        assert batch["input_ids"][index][kept].tolist() == row.ids.tolist()
        assert batch["labels"][index][kept].tolist() == row.labels.tolist()
        assert set(batch["input_ids"][index][~kept].tolist()) <= {PAD}
        assert set(batch["labels"][index][~kept].tolist()) <= {-100}
        edge = kept[: len(row.ids)] if side == "right" else kept[length - len(row.ids) :]
        assert edge.all()


def test_padding_is_on_the_right_to_train(rows):
    assert collate(rows, PAD)["attention_mask"][1].tolist()[-1] == 0


def test_one_sample_needs_no_padding(rows):
    assert collate(rows[:1], PAD)["attention_mask"].all()


def test_the_batch_does_not_share_memory_with_the_samples(rows):
    batch = collate(rows[:1], PAD)
    batch["input_ids"][0, 0] = 99
    assert rows[0].ids[0] != 99


def test_pictures_are_passed_on_when_there_is_one_for_every_image(rows):
    pixels = torch.rand(1, 3, 16, 24)
    assert collate(rows, PAD, pixels=pixels)["pixel_values"] is pixels
    assert "pixel_values" not in collate(rows, PAD)
    with pytest.raises(ValueError, match="2 pictures for the 1 images of 2 rows"):
        collate(rows, PAD, pixels=torch.rand(2, 3, 16, 24))


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="no rows"):
        collate([], PAD)
