"""Samples with each other's pictures: everybody gets somebody else's, and every picture is seen as often as before."""

from collections import Counter

import numpy as np
import pytest

from lapilli.core.errors import LapilliError
from lapilli.data.sample import Sample, Turn
from lapilli.data.split import with_other_pictures


def _sample(number, *images):
    return Sample(str(number), images, (Turn("user", "<image>" * len(images) + f"What is {number}?"),))


def _drawn(seed):
    """Up to forty samples with none to two pictures, some of them shared by up to half of their like."""
    rng = np.random.default_rng(seed)
    names = [f"{number}.png" for number in range(rng.integers(3, 30))]
    rows = [tuple(rng.choice(names, rng.integers(0, 3)).tolist()) for _ in range(rng.integers(8, 40))]
    rows += [row[::-1] for row in rows]  # the same pictures in another order
    for number in (1, 2):
        rows += [tuple(f"{half}-{copy}.png" for copy in range(number)) for half in "ab" for _ in range(40)]
    order = rng.permutation(len(rows))
    return [_sample(number, *rows[row]) for number, row in enumerate(order)]


@pytest.mark.parametrize("seed", range(30))
def test_nobody_keeps_a_picture_and_none_is_lost(seed):
    samples = _drawn(seed)
    others = with_other_pictures(samples, seed)
    assert [(one.id, one.turns) for one in others] == [(one.id, one.turns) for one in samples]
    assert Counter(one.images for one in others) == Counter(one.images for one in samples)
    for sample, other in zip(samples, others, strict=True):
        assert len(sample.images) == len(other.images)
        assert set(sample.images) != set(other.images) or not sample.images


def test_the_seed_draws_who_gets_whose():
    samples = [_sample(number, f"{number}.png") for number in range(50)]
    assert with_other_pictures(samples, 1) == with_other_pictures(samples, 1)
    assert with_other_pictures(samples, 1) != with_other_pictures(samples, 2)


def test_a_picture_that_most_samples_show_is_refused():
    samples = [_sample(0, "a.png"), _sample(1, "a.png"), _sample(2, "b.png")]
    with pytest.raises(
        LapilliError, match=r"^pictures cannot be shuffled: 2 of the 3 samples with 1 of them show a\.png$"
    ):
        with_other_pictures(samples, 0)
    assert with_other_pictures([], 0) == ()
    assert with_other_pictures([_sample(0)], 0) == (_sample(0),)
