"""Write scenes to a folder: pictures, LLaVA JSON for both stages, and all facts about them.

images/ID.png      the pictures
masks/ID.png       their visible pixels: 0 is background, k + 1 the scene's k-th thing
align.json         one caption a picture, for stage 1
instruct.json      one conversation a picture, for stage 2
dialogue.json      a conversation a picture whose later questions need the earlier ones, where the scene allows one
questions.jsonl    one question of every type a picture, with its answer, for scoring
context.jsonl      captions and boxes, as a text-only teacher gets them
scenes.jsonl       every thing with all its attributes
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from lapilli.core.files import new_folder, write_atomically
from lapilli.core.pool import end_with_parent, importing_nothing_here
from lapilli.data.sample import Sample, Turn, write_samples
from lapilli.data.scenes.describe import caption, describe
from lapilli.data.scenes.dialogue import dialogue
from lapilli.data.scenes.draw import boxes, draw_scene
from lapilli.data.scenes.questions import TYPES, Question, ask
from lapilli.data.scenes.scene import Scene, sample_scene
from lapilli.data.scenes.textual import DETAIL_REQUESTS, conversation, mixed_questions

Split = Literal["train", "held_out", "compositional"]
SPLITS: tuple[Split, ...] = get_args(Split)

IMAGE = "<image>\n"
CAPTIONS = 5
"""Captions of a picture in the context file."""

QUESTIONS = 10
KINDS = (*TYPES, "reading", "reading", "counting", "reasoning")
"""Questions in a conversation, at most, and their types: those that are learned last occur more often.

What a single card says is then asked again in other words, and that answer can be copied from the conversation.
"""

Rows = dict[str, Any]
"""The rows that a scene adds to each file, by the file's name."""


def write_scenes(
    out: Path, count: int, split: Split = "train", seed: int = 0, on_progress: Callable[[int], None] | None = None
) -> None:
    """Write `count` scenes to the new folder `out`, whole or not at all; the same arguments give the same bytes.

    The splits share no picture; two scenes of a single thing may agree in all its attributes. Only `compositional`
    holds the withheld combinations of color, shape and place, and it holds no others. `on_progress` gets the number of
    scenes that are written. Raises LapilliError as `new_folder` does.
    """
    with new_folder(out) as folder:
        for name in ("images", "masks"):
            (folder / name).mkdir()
        rows: list[Rows] = []
        for row in _in_parallel(partial(_write_one, folder, split, seed), count):
            rows.append(row)
            if on_progress and (len(rows) % 100 == 0 or len(rows) == count):
                on_progress(len(rows))
        for name in ("align", "instruct", "dialogue"):
            write_samples(folder / f"{name}.json", [sample for row in rows for sample in row[name]])
        for name in ("questions", "context", "scenes"):
            lines = [json.dumps(line) for row in rows for line in row[name]]
            write_atomically(folder / f"{name}.jsonl", "\n".join(lines) + "\n")


def _in_parallel(work: Callable[[int], Rows], count: int) -> Iterator[Rows]:
    """Yield the rows in order; several processes compute them where there are many."""
    if count < 200:
        yield from map(work, range(count))
        return
    with importing_nothing_here(), ProcessPoolExecutor(initializer=end_with_parent) as pool:
        indices = iter(range(count))
        while batch := list(islice(indices, 2_000)):  # so that progress comes and an interrupt ends it
            yield from pool.map(work, batch, chunksize=50)


def _write_one(folder: Path, split: Split, seed: int, index: int) -> Rows:
    scene = sample_scene(f"{split}-{seed}-{index}", compositional=split == "compositional")
    rng = random.Random(scene.seed + "/words")
    name = f"{index:06d}"
    masks = _save_pictures(folder, scene, name)
    things = [
        asdict(thing) | {"place": thing.place, "bbox": box}
        for thing, box in zip(scene.things, boxes(masks), strict=True)
    ]
    return {
        "align": [_captioned(scene, name, rng)],
        "instruct": [_conversation(scene, name, rng)],
        "dialogue": _dialogue(scene, name),
        "questions": _questions(scene, name, rng),
        "context": [_context(scene, name, things, rng)],
        "scenes": [{"id": name, "image": f"{name}.png", "background": scene.background, "things": things}],
    }


def _save_pictures(folder: Path, scene: Scene, name: str) -> np.ndarray:
    """Write the picture and the masks, which are returned as well."""
    picture, masks = draw_scene(scene)
    picture.save(folder / "images" / f"{name}.png", compress_level=1)
    labels = (masks * np.arange(1, len(masks) + 1, dtype=np.uint8)[:, None, None]).max(axis=0)
    Image.fromarray(labels).save(folder / "masks" / f"{name}.png", compress_level=1)
    return masks


def _captioned(scene: Scene, name: str, rng: random.Random) -> Sample:
    turns = (Turn("user", IMAGE + rng.choice(DETAIL_REQUESTS)), Turn("assistant", describe(scene, rng)))
    return Sample(name, (f"{name}.png",), turns)


def _conversation(scene: Scene, name: str, rng: random.Random) -> Sample:
    """Up to ten questions, like the merged question sets of LLaVA-1.5; one picture in seven is also described."""
    questions = mixed_questions(scene, rng, QUESTIONS, KINDS)
    if rng.random() < 0.15:
        place = rng.randrange(len(questions) + 1)
        questions.insert(place, Question("detail", rng.choice(DETAIL_REQUESTS), describe(scene, rng)))
    return Sample(name, (f"{name}.png",), conversation(questions, IMAGE))


def _dialogue(scene: Scene, name: str) -> list[Sample]:
    questions = dialogue(scene, name)
    return [Sample(name, (f"{name}.png",), conversation(questions, IMAGE))] if questions else []


def _questions(scene: Scene, name: str, rng: random.Random) -> list[Rows]:
    questions = [question for kind in TYPES if (question := ask(scene, kind, rng))]
    return [
        {"id": f"{name}-{q.type}", "image": f"{name}.png", "type": q.type, "question": q.text, "answer": q.answer}
        for q in questions
    ]


def _context(scene: Scene, name: str, things: list[Rows], rng: random.Random) -> Rows:
    instances = [{"category": f"{thing['color']} {thing['shape']}", "bbox": thing["bbox"]} for thing in things]
    captions = [caption(scene, rng) for _ in range(CAPTIONS)]
    return {"id": name, "image": f"{name}.png", "captions": captions, "instances": instances}
