"""A language model that reads scenes, and LLaVAs of it that have learned a few pictures by heart."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import lapilli.model
from lapilli.data.collate import collate
from lapilli.data.pictures import open_picture
from lapilli.data.scenes.dataset import write_scenes
from lapilli.inspection.recording import answered
from lapilli.model.llava import join, load, save
from lapilli.studies.color.conditions import read_color_questions

SHIPPED = Path(lapilli.model.__file__).parent / "shipped"
SCENES, ASKED = 10, 6

_HOLD = TemporaryDirectory(prefix="lapilli-taught-")


@cache
def scenes():
    """A folder of scenes, one color question each."""
    folder = Path(_HOLD.name) / "scenes"
    write_scenes(folder, SCENES, "held_out", 3)
    return folder


@cache
def base():
    """The folder of a LLaVA whose language model answers from a text, and has never seen a picture."""
    folder = Path(_HOLD.name) / "base"
    save(join(SHIPPED / "pebble-vision", SHIPPED / "pebble-lm"), folder)
    return folder


@cache
def tuned(seed=0):
    """The folder of one that answers ASKED of the questions from the picture too; other seeds are a little off it."""
    llava = load(tuned(0) if seed else base())
    torch.manual_seed(seed)
    learned = [*llava.model.model.multi_modal_projector.parameters(), *llava.model.model.language_model.parameters()]
    if seed:
        with torch.no_grad():
            for parameter in learned:
                parameter.mul_(1 + 0.02 * torch.randn_like(parameter))
    else:
        _teach(llava, learned)
    save(llava, Path(_HOLD.name) / f"tuned-{seed}")
    return Path(_HOLD.name) / f"tuned-{seed}"


def _teach(llava, learned):
    asked = read_color_questions(scenes(), ASKED, 0)
    batches = [_batch(llava, asked, form) for form in ("picture", "text")]
    optimizer = torch.optim.AdamW(learned, lr=2e-3)
    for _ in range(150):
        losses = [llava.model(**batch).loss for batch in batches]
        if max(losses) < 0.02:
            return
        sum(losses).backward()
        optimizer.step()
        optimizer.zero_grad()
    raise AssertionError("the questions were not learned")


def _batch(llava, asked, form):
    rows = [answered(llava, one.sample(form), one.color) for one in asked]
    pictures = [open_picture(scenes() / "images", name) for row in rows for name in row.images]
    pixels = llava.pixels(pictures) if pictures else None
    return collate(rows, llava.processor.tokenizer.pad_token_id, "right", pixels)
