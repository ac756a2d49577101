"""Which questions a scorecard is of: those that the model answers rightly, and whose answers need their pictures."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, get_args

import numpy as np
from torch import Tensor

from lapilli.core.errors import LapilliError
from lapilli.core.progress import Progress
from lapilli.data.pictures import open_picture
from lapilli.data.questions import PictureQuestion, read_picture_questions, same_answer
from lapilli.data.scenes.masks import region
from lapilli.inference.answer import answer
from lapilli.inspection.answer_words import answer_words
from lapilli.inspection.intervention.removal import features_of, reread_features
from lapilli.inspection.intervention.replacement_pictures import shipped
from lapilli.inspection.recording import answered
from lapilli.model.llava import Llava, load
from lapilli.studies.scorecard.case import case_of
from lapilli.studies.scorecard.job import Job, Kept, Need

VISUAL = 1.0
"""Nats that the key word must lose without its picture: of a word that needs none, no patch can be the reason."""

SIFTING = "questions that need their picture"
"""What the step is called."""

_AT_ONCE = 64  # questions that are answered before it is looked whether enough of them serve


def sifted(job: Job, progress: Progress) -> dict[str, Any]:
    """The questions of a job that serve, as `keep` has them, of those that are drawn and answered by the model."""
    llava = load(job.model, job.placement)
    return keep(llava, job, _answers(llava, job), progress)


def keep(llava: Llava, job: Job, answers: Iterable[tuple[PictureQuestion, str]], progress: Progress) -> dict[str, Any]:
    """The first of the answered questions that serve, with how many were asked, right, kept, and left out for what.

    Those serve whose answer is right and whose key word loses more than VISUAL nats when the picture is blurred, and
    at the median over the shipped pictures in its place. Raises LapilliError when fewer than two do.
    """
    rows: list[tuple[PictureQuestion, str]] = []
    counts, swapped = Counter[str](), _swapped(llava)
    for question, text in answers:
        if len(rows) == job.plan.questions:
            break
        counts["asked"] += 1
        if text.strip() and same_answer(text, question.answer):
            need = _need(llava, job, question, text, swapped)
            counts.update(("right", need))
            if need == "kept":
                rows.append((question, text))
                progress(SIFTING, len(rows), job.plan.questions)
    _require_two(job, counts)
    others = [rows[(number + 1) % len(rows)][0].image for number in range(len(rows))]
    kept = [asdict(Kept(*row, other)) for row, other in zip(rows, others, strict=True)]
    return {"counts": {name: counts[name] for name in ("asked", "right", *get_args(Need))}, "kept": kept}


def drawn(job: Job) -> list[PictureQuestion]:
    """The questions in a random order, one of each picture; if it is known what some are about, those alone."""
    questions = read_picture_questions(job.data)
    order = [questions[number] for number in np.random.default_rng(job.plan.seed).permutation(len(questions))]
    about = [one for one in order if region(job.data, one, job.scenes) is not None] or order
    return list({one.image: one for one in reversed(about)}.values())[::-1]


def _answers(llava: Llava, job: Job) -> Iterator[tuple[PictureQuestion, str]]:
    """The drawn questions with the model's answers, as many as are asked for."""
    questions, pictures = drawn(job), partial(open_picture, job.data / "images")
    for start in range(0, len(questions), _AT_ONCE):
        some = questions[start : start + _AT_ONCE]
        answers = answer(llava, [question.sample for question in some], pictures)
        yield from ((question, one.text) for question, one in zip(some, answers, strict=True))


def _require_two(job: Job, counts: Mapping[str, int]) -> None:
    """Each lends its picture to another one."""
    if counts["kept"] < 2:
        enough = "one of them" if counts["kept"] else "none"
        raise LapilliError(
            f"{job.data}: of {counts['asked']} questions, one of a picture, {counts['right']} are answered rightly, "
            f"and {enough} needs its picture; two are the least: add pictures, or draw other questions with --seed"
        )


def _swapped(llava: Llava) -> Tensor:
    """What the language model gets of the shipped pictures; the encoder sees them once for all questions."""
    config: Any = llava.model.config.vision_config
    return features_of(llava, llava.pixels(shipped(config.image_size)))


def _need(llava: Llava, job: Job, question: PictureQuestion, text: str, swapped: Tensor) -> Need:
    picture, sample = open_picture(job.data / "images", question.image), question.sample
    case = case_of(llava, sample, answered(llava, sample, text), picture=picture, other=picture, seed=0)
    change = reread_features(case.trace, swapped, case.target).log_prob_change
    lost = {first: -np.median(change[:, first:end].sum(1)) for first, end in answer_words(case.trace)[1]}
    if case.visual > VISUAL:
        return "kept" if lost[case.word.start] > VISUAL else "most_pictures"
    return "overall_color" if max(lost.values()) > VISUAL else "no_picture"
