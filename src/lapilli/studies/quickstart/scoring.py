"""Ask the models of both stages, and keep what was asked and answered."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from lapilli.core.files import write_atomically
from lapilli.core.plain import json_text
from lapilli.core.progress import Progress
from lapilli.core.read import checked, read_json
from lapilli.data.pictures import open_picture
from lapilli.data.sample import Sample, Turn
from lapilli.evaluation import text
from lapilli.evaluation.asking import Answerer, Round, ask, ask_rounds, evaluate
from lapilli.evaluation.benchmark import Benchmark, Response
from lapilli.evaluation.captions import colors_mentioned, scene_colors
from lapilli.evaluation.scenes import BENCHMARK, SceneQuestion, is_right, read_questions, scores
from lapilli.inference.answer import answerer, answerer_of
from lapilli.inference.likelihood import token_losses
from lapilli.model.llava import load

if TYPE_CHECKING:
    from lapilli.studies.quickstart.journey import Journey

CAPTION_TOKENS = 120
ANSWER_TOKENS = 8
FRESH = 12
CAPTIONS = 200
SHOWN_CAPTIONS = 6

_AGAIN = "remove it, and run the quickstart again"


def score_align(journey: Journey, progress: Progress) -> None:
    """After stage 1: held-out questions, and captions against the colors of the pictures."""
    model = journey.out / "align/model"
    held_out = replace(BENCHMARK, rounds=(("held_out", "image"),))
    responses = _ask(journey, answerer(model, ANSWER_TOKENS), held_out, progress, "align")
    images = journey.data("held_out")
    truths = scene_colors(images, CAPTIONS)
    samples = [Sample(name, (name,), (Turn("user", "<image>\nDescribe the picture."),)) for name in truths]
    captions = answerer(model, CAPTION_TOKENS, "plain")(samples, lambda name: open_picture(images / "images", name))
    colors = colors_mentioned(captions, list(truths.values()))
    shown = [
        {"image": f"data/held_out/images/{name}", "truth": _truth(images, name), "caption": caption}
        for name, caption in list(zip(truths, captions, strict=True))[:SHOWN_CAPTIONS]
    ]
    block: dict[str, Any] = {"n": len(captions), "mentioned": asdict(colors.own), "shuffled": asdict(colors.shuffled)}
    block |= {"gain": asdict(colors.gain)} if colors.gain else {}
    block["examples"] = shown
    _keep(journey.out / "scores/align.json", {"scores": _rows("align", responses), "captions": block})
    shutil.rmtree(journey.out / "scores/align")


def score_instruct(journey: Journey, progress: Progress) -> None:
    """After stage 2: both splits, and on the held-out one the three controls."""
    answer = answerer(journey.out / "instruct/model", ANSWER_TOKENS)
    responses = _ask(journey, answer, BENCHMARK, progress, "instruct")
    answers = [asdict(one.question) | {"condition": one.condition, "given": one.answer} for one in responses]
    _keep(journey.out / "scores/instruct.json", {"scores": _rows("instruct", responses), "answers": answers})
    shutil.rmtree(journey.out / "scores/instruct")


def score_text(journey: Journey, progress: Progress) -> None:
    """What the language model can do without pictures, before the first stage and after the last."""
    scores = {}
    for when, model in (("before", "joined"), ("after", "instruct/model")):
        llava = load(journey.out / model)
        note = partial(progress, f"plain English, {when}")
        note(0, 1)
        answer = answerer_of(llava, text.BENCHMARK.answer_tokens)
        result = evaluate(text.BENCHMARK, journey.data("held_out"), journey.questions, answer)
        scores[when] = {
            "scores": [asdict(row) for row in result.scores],
            "perplexity": [asdict(row) for row in text.prose(partial(token_losses, llava))],
        }
        note(1, 1)
    _keep(journey.out / "scores/text.json", scores)


def answer_fresh(journey: Journey) -> None:
    """A dozen questions of all types about new pictures, one a picture, chosen before their answers are seen."""
    folder = journey.data("fresh")
    by_type: dict[str, list[SceneQuestion]] = {}
    for question in read_questions(folder, "fresh", 60):
        by_type.setdefault(question.type, []).append(question)
    chosen: list[SceneQuestion] = []
    for turn in range(FRESH):
        used = {question.image for question in chosen}
        candidates = list(by_type.values())[turn % len(by_type)]
        chosen.append(next(question for question in candidates if question.image not in used))
    responses = ask(BENCHMARK, chosen, folder, "image", answerer(journey.out / "instruct/model", ANSWER_TOKENS))
    _keep(journey.out / "scores/fresh.json", {"examples": [_example(one, folder) for one in responses]})


def _ask(
    journey: Journey, answer: Answerer, benchmark: Benchmark[SceneQuestion], progress: Progress, stage: str
) -> list[Response[SceneQuestion]]:
    """Ask every round; those of an interrupted step are not asked again."""
    name, total = f"questions after stage {1 if stage == 'align' else 2}", len(benchmark.rounds)
    progress(name, 0, total)
    done = iter(range(1, total + 1))
    folder, note = journey.out / "data", partial(progress, name)
    keep = partial(_kept, journey.out / "scores" / stage)
    return ask_rounds(benchmark, folder, journey.questions, answer, lambda: note(next(done), total), keep=keep)


def _kept(folder: Path, answer: Answerer, of_round: Round) -> Answerer:
    """An answerer whose answers of a round are a file in `folder`, and are read from there if it is whole."""
    file = folder / f"{'-'.join(of_round)}.json"

    def answer_once(samples: Sequence[Sample], pictures: Callable[[str], Image.Image]) -> Sequence[str]:
        if not file.is_file():
            write_atomically(file, json_text(list(answer(samples, pictures))) + "\n")
        return checked(list[str], read_json(file, _AGAIN), str(file), _AGAIN)

    return answer_once


def _rows(stage: str, responses: Sequence[Response[SceneQuestion]]) -> list[dict[str, Any]]:
    return [
        {"stage": stage, "split": one.split, "condition": one.condition, "type": one.type, **asdict(one.share)}
        for one in scores(responses)
    ]


def _example(one: Response[SceneQuestion], folder: Path) -> dict[str, Any]:
    question = one.question
    return {
        "image": f"data/fresh/images/{question.image}",
        "question": question.question,
        "answer": one.answer,
        "expected": question.answer,
        "type": question.type,
        "correct": is_right(one),
        "truth": _truth(folder, question.image),
    }


def _truth(folder: Path, image: str) -> str:
    """The first caption that the context file has for a picture."""
    lines = (folder / "context.jsonl").read_text(encoding="utf-8").splitlines()
    return next(str(row["captions"][0]) for row in map(json.loads, lines) if row["image"] == image)


def _keep(file: Path, value: dict[str, Any]) -> None:
    write_atomically(file, json_text(value, indent=1) + "\n")
