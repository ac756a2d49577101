"""A tiny model that says yes to some questions and no to others, and scenes to ask it about."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import torch
from tests import parts

from lapilli.data.pictures import open_picture
from lapilli.data.scenes.absent import existence_questions
from lapilli.data.scenes.dataset import write_scenes
from lapilli.data.scenes.facts import read_scenes
from lapilli.model.llava import join, load, save
from lapilli.model.reading import quiet
from lapilli.studies.hallucination.margin import WORDS, decision

_HOLD = TemporaryDirectory(prefix="lapilli-triage-")
COUNT = 24
SEED = 3


@cache
def scenes():
    folder = Path(_HOLD.name) / "scenes"
    write_scenes(folder, COUNT, "held_out", 5)
    return folder


@cache
def asked(count=36):
    return existence_questions(read_scenes(scenes()), count, seed=SEED)


def picture(name):
    return open_picture(scenes() / "images", name)


@cache
def _language():
    """With a token for yes and one for no."""
    with patch.object(parts, "SENTENCES", [*parts.SENTENCES, *[" yes no"] * 100]), quiet():
        return parts.make_llama(Path(_HOLD.name) / "language")


@cache
def model(seed=0):
    """Random, but for its last matrix: it decides by the direction in which its states differ the most."""
    folder = Path(_HOLD.name) / f"model-{seed}"
    llava = join(parts.part("clip"), _language())
    ones = [decision(llava, question.sample, picture(question.image), WORDS[0]) for question in asked()]
    with torch.no_grad():
        ends = torch.cat([one.trace.decoder.norm(one.trace.resid[:, -1]) for one in ones])
        middle = ends.mean(0)
        spread = torch.linalg.svd(ends - middle).Vh[seed]
        spread = spread - (ends @ spread).median() / (middle @ middle) * middle  # about as often yes as no
        head = llava.model.lm_head.weight
        head.zero_()
        head[int(ones[0].trace.next_ids[0])], head[ones[0].target.against] = 20 * spread, -20 * spread
    with quiet():
        save(llava, folder)
    return folder


@cache
def llava_of(seed=0):
    return load(model(seed))
