"""Samples of scenes without a teacher: the same three kinds, written by rules from facts that are known exactly."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path

from lapilli.core.errors import LapilliError
from lapilli.data.generation.engine import Dropped, Job, Product
from lapilli.data.generation.kinds import Kind, Pair
from lapilli.data.scenes.describe import describe
from lapilli.data.scenes.facts import read_scenes
from lapilli.data.scenes.questions import TYPES, Question, ask
from lapilli.data.scenes.scene import Scene
from lapilli.data.scenes.textual import DETAIL_REQUESTS, mixed_questions

_QUESTIONS = 6  # of a conversation, at most
_THOUGHT = ("reasoning", "comparison")
_ASKED = tuple(kind for kind in TYPES if kind not in _THOUGHT)


def scene_facts(folder: Path) -> Mapping[str, Scene]:
    """The scenes of a folder by their pictures. Raises LapilliError where the contexts are not those of scenes."""
    if not folder.is_dir():
        raise LapilliError(f"{folder}: not a folder of scenes, which alone need no teacher; leave --engine out")
    return read_scenes(folder)


def produce(job: Job, scenes: Mapping[str, Scene], seed: int) -> Product:
    """The sample of a job, always the same for a seed; set aside where the scene allows no question of the kind."""
    scene = scenes.get(job.context.image)
    if scene is None:
        raise LapilliError(f"{job.context.image}: a context without a scene; make the folder again")
    rng = random.Random(f"{seed}/{scene.seed}/{job.kind}/{job.number}")
    pairs = [Pair(question.text, question.answer) for question in _WRITERS[job.kind](scene, rng)]
    dropped = [] if pairs else [Dropped("no question", "the scene has too few things")]
    return Product(job, pairs, dropped)


def _conversation(scene: Scene, rng: random.Random) -> list[Question]:
    return mixed_questions(scene, rng, _QUESTIONS, _ASKED)


def _detail(scene: Scene, rng: random.Random) -> list[Question]:
    return [Question("detail", rng.choice(DETAIL_REQUESTS), describe(scene, rng))]


def _reasoning(scene: Scene, rng: random.Random) -> list[Question]:
    """A question of two steps or a comparison, with what can be seen before the answer that follows from it."""
    for kind in rng.sample(_THOUGHT, len(_THOUGHT)):
        if question := ask(scene, kind, rng):
            answer = f"{describe(scene, rng)} So the answer is {question.answer}."
            return [Question(kind, question.text, answer)]
    return []


_WRITERS: dict[Kind, Callable[[Scene, random.Random], list[Question]]] = {
    "conversation": _conversation,
    "detail": _detail,
    "reasoning": _reasoning,
}
