"""A tokenizer that has read a few scenes, for the tests of what is trained on them."""

import random
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from lapilli.data.scenes.describe import describe, short_caption
from lapilli.data.scenes.questions import TYPES, ask
from lapilli.data.scenes.scene import sample_scene
from lapilli.training.pebble.tokenizer import train_tokenizer

MAX_LENGTH = 512
VOCABULARY = 420

_HOLD = TemporaryDirectory(prefix="lapilli-tokenizer-")  # kept until the tests end


def texts(count=40):
    """What is said and asked about some scenes."""
    for index in range(count):
        scene, rng = sample_scene(f"small-{index}"), random.Random(index)
        yield describe(scene, rng)
        yield short_caption(scene, rng)
        yield from (question.text for kind in TYPES if (question := ask(scene, kind, rng)))


@cache
def tokenizer():
    """The tokenizer, trained once."""
    return train_tokenizer(texts(), VOCABULARY, MAX_LENGTH)


@cache
def tokenizer_folder():
    """Where it is saved; tests do not write into it."""
    tokenizer().save_pretrained(_HOLD.name)
    return Path(_HOLD.name)
