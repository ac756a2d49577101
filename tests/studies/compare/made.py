"""A tiny base, versions of it in which known layers are changed, and questions to compare them on."""

import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file, save_file
from tests.inspection.runs import path_of
from tests.parts import picture

from lapilli.core.placement import AS_STORED
from lapilli.studies.compare.study import opened, study
from lapilli.studies.tuning import BASE, FLOOR, TUNED, tuning

_HOLD = TemporaryDirectory(prefix="lapilli-compare-")
COUNT = 52
LAYERS = 5
PLANTED = 2
"""The layer in which the tuned model differs from its base."""


def base():
    return path_of("deep")


@cache
def changed(layer, seed=0, size=2.0, start=None):
    """The base, or `start`, with one matrix of a layer moved by `size` of its spread, or, of None, a copy of it."""
    folder = Path(_HOLD.name) / f"changed-{layer}-{seed}-{size}"
    shutil.copytree(start or base(), folder)
    if layer is not None:
        tensors = load_file(folder / "model.safetensors")
        (name,) = [name for name in tensors if name.endswith(f".{layer}.mlp.down_proj.weight")]
        noise = torch.randn(tensors[name].shape, generator=torch.Generator().manual_seed(seed))
        tensors[name] = tensors[name] + size * tensors[name].std() * noise
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def second_tuning():
    """The model whose layer PLANTED is changed, with a small change of the layer behind it."""
    return changed(PLANTED + 1, size=0.1, start=changed(PLANTED))


@cache
def questions():
    """Every question about a picture of its own, and one picture with a second question."""
    folder = Path(_HOLD.name) / "questions"
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(COUNT):
        picture(number).save(folder / "images" / f"{number}.png")
        question = f"Is {number} red?"
        rows.append({"id": str(number), "image": f"{number}.png", "question": question, "answer": "yes"})
    rows.append({"id": "again", "image": "0.png", "question": "Is it green?", "answer": "no"})
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@cache
def captioned():
    """The same questions, with captions of every picture; the longest says its number."""
    folder = Path(_HOLD.name) / "captioned"
    shutil.copytree(questions(), folder)
    rows = [
        {
            "id": str(number),
            "image": f"{number}.png",
            "captions": ["A plain picture.", f"This is picture {number} here."],
        }
        for number in range(COUNT)
    ]
    (folder / "context.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def of(tuned, floor=None):
    models = {BASE: base(), TUNED: tuned} | ({} if floor is None else {FLOOR: floor})
    return tuning(models, questions(), COUNT, 0)


def compared(folder, settings, progress=lambda *_: None, placement=AS_STORED):
    run = opened(folder, settings, placement)
    study(settings, run, placement, progress)
    return run


@cache
def planted():
    """The run of a model whose layer PLANTED is changed; its floor has a small change of the layer behind it too."""
    return compared(Path(_HOLD.name) / "planted", of(changed(PLANTED), second_tuning()))


@cache
def identical():
    """The run of a model beside two copies of itself."""
    return compared(Path(_HOLD.name) / "identical", of(changed(None), changed(None, 1)))
