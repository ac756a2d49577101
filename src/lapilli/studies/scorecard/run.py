"""A scorecard's run: which questions are kept, every case measured once, in a folder that can be gone on with.

    results/kept.json           the questions, in order, with the answers that were given
    results/case-0012.json,npz  one case's numbers (score.py); a case that is there is not measured again
    results/sanity-NAME.npz     maps under one sanity test's change
    results/cost.json           seconds, passes and memory of every method
    results/scorecard.json      what table.py makes of all that; the page is drawn from it alone

Cases are independent of each other, and shared out among processes.
"""

import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, final, get_args

import numpy as np
import torch
from torch import Tensor

from lapilli.core.errors import LapilliError
from lapilli.core.placement import AS_STORED, Placement
from lapilli.core.pool import end_with_parent
from lapilli.core.progress import Progress
from lapilli.core.read import checked
from lapilli.core.run import RunDir
from lapilli.data.pictures import open_picture
from lapilli.data.questions import PictureQuestion, same_answer
from lapilli.data.scenes.facts import read_scenes
from lapilli.data.scenes.masks import covered, region
from lapilli.data.scenes.scene import Scene
from lapilli.inspection.answer_words import answer_words
from lapilli.inspection.attribution.contrast import answered
from lapilli.inspection.intervention.removal import features_of, reread_features
from lapilli.inspection.intervention.replacement_pictures import shipped
from lapilli.model.llava import Llava, load
from lapilli.studies.scorecard.case import Case, case_of
from lapilli.studies.scorecard.cost import cost
from lapilli.studies.scorecard.methods.registry import chosen as chosen_methods
from lapilli.studies.scorecard.operators import chosen as chosen_operators
from lapilli.studies.scorecard.plan import Plan
from lapilli.studies.scorecard.sanity import TESTS, again, file_of
from lapilli.studies.scorecard.score import Place, score

VISUAL = 1.0
"""Nats that the key word must lose without its picture: of a word that needs none, no patch can be the reason."""

Need: TypeAlias = Literal["kept", "overall_colour", "most_pictures", "no_picture"]
"""What a right answer needs: the picture, or less than that, for which its question is left out.

    overall_colour   no word loses more than VISUAL when the picture is blurred, but one does in the place of others
    most_pictures    the key word does not, at the median, with other pictures in its picture's place
    no_picture       neither
"""


@dataclass(frozen=True)
class Kept:
    """A question that was answered rightly and needs its picture, and another one's picture."""

    question: PictureQuestion
    given: str
    other: str


class _Saved(TypedDict):
    """What a run holds of them."""

    counts: dict[str, int]
    kept: tuple[Kept, ...]


@dataclass(frozen=True)
class Job:
    """All that a process needs to measure cases; of `kept`, the numbers of the cases are the places."""

    run: Path
    model: Path
    data: Path
    plan: Plan
    kept: tuple[Kept, ...]
    placement: Placement = AS_STORED


def drawn(questions: Sequence[PictureQuestion], data: Path, seed: int) -> list[PictureQuestion]:
    """The questions in a random order, one of each picture; if it is known what some are about, those alone."""
    scenes = scenes_of(data)
    order = [questions[number] for number in np.random.default_rng(seed).permutation(len(questions))]
    about = [one for one in order if region(data, one, scenes) is not None] or order
    return list({one.image: one for one in reversed(about)}.values())[::-1]


def keep(
    llava: Llava, data: Path, given: Iterable[tuple[PictureQuestion, str]], plan: Plan, progress: Progress
) -> dict[str, Any]:
    """The first of the answered questions that serve, with how many were asked, right, kept, and left out for what.

    Those serve whose answer is right and whose key word loses more than VISUAL nats when the picture is blurred, and
    at the median over the shipped pictures in its place. Raises LapilliError when fewer than two do.
    """
    found: list[tuple[PictureQuestion, str]] = []
    counts = Counter[str]()
    swapped = _swapped(llava)
    for question, text in given:
        if len(found) == plan.questions:
            break
        counts["asked"] += 1
        if text.strip() and same_answer(text, question.answer):
            need = _need(llava, data, question, text, swapped)
            counts.update(("right", need))
            if need == "kept":
                found.append((question, text))
                progress("questions that need their picture", len(found), plan.questions)
    _require_two(data, counts)
    others = [found[(number + 1) % len(found)][0].image for number in range(len(found))]
    rows = [asdict(Kept(*one, other)) for one, other in zip(found, others, strict=True)]
    return {"counts": {name: counts[name] for name in ("asked", "right", *get_args(Need))}, "kept": rows}


def _require_two(data: Path, counts: Mapping[str, int]) -> None:
    """Each lends its picture to another one."""
    if counts["kept"] < 2:
        enough = "one of them" if counts["kept"] else "none"
        raise LapilliError(
            f"{data}: of {counts['asked']} questions, one of a picture, {counts['right']} are answered rightly, and "
            f"{enough} needs its picture; two are the least: add pictures, or draw other questions with --seed"
        )


def _swapped(llava: Llava) -> Tensor:
    """What the language model gets of the shipped pictures; the encoder sees them once for all questions."""
    config: Any = llava.model.config.vision_config
    return features_of(llava, llava.pixels(shipped(config.image_size)))


def _need(llava: Llava, data: Path, question: PictureQuestion, text: str, swapped: Tensor) -> Need:
    picture = open_picture(data / "images", question.image)
    case = case_of(llava, question.sample, answered(llava, question.sample, text), picture, picture, 0)
    change = reread_features(case.trace, swapped, case.target).log_prob_change
    lost = {first: -np.median(change[:, first:end].sum(1)) for first, end in answer_words(case.trace)[1]}
    if case.visual > VISUAL:
        return "kept" if lost[case.word.start] > VISUAL else "most_pictures"
    return "overall_colour" if max(lost.values()) > VISUAL else "no_picture"


def kept_of(saved: Any) -> tuple[Kept, ...]:
    """The questions that `keep` kept, as a run holds them.

    Raises LapilliError for what is something else, and for what an older version kept, which asked for less.
    """
    again = "remove the run's folder, and run it again"
    found = checked(_Saved, saved, "results/kept.json", again)
    if missing := [name for name in get_args(Need) if name not in found["counts"]]:
        raise LapilliError(f"results/kept.json: begun by an older version: no count of {', '.join(missing)}; {again}")
    return found["kept"]


def measure(job: Job, processes: int, progress: Progress) -> None:
    """Measure whatever of a run is not yet there: cases, sanity tests and costs."""
    run = RunDir.open(job.run)
    cases = [("case", str(number)) for number in range(len(job.kept)) if not run.has(f"case-{number:04d}")]
    sanity = [("sanity", test.name) for test in TESTS if not run.has(file_of(test.name))] if job.plan.sanity else []
    for step, tasks, total in (("cases", cases, len(job.kept)), ("sanity tests", sanity, len(TESTS))):
        progress(step, total - len(tasks), total)
        with _done(job, tasks, processes) as done:
            for number, _ in enumerate(done, total - len(tasks) + 1):
                progress(step, number, total)
    if not run.has("cost"):
        progress("costs", 0, 1)
        run.save("cost", Bench(job).costs())
        progress("costs", 1, 1)


@contextmanager
def _done(job: Job, tasks: Sequence[tuple[str, str]], processes: int) -> Iterator[Iterator[object]]:
    """Yields what comes along as the tasks are done: here, or in processes of their own that end with the block."""
    if processes == 1 or len(tasks) < 2:
        bench = Bench(job)
        yield map(bench.do, tasks)
        return
    pool = ProcessPoolExecutor(min(processes, len(tasks)), get_context("spawn"), _start, (job,))
    try:
        futures = [pool.submit(_do, task) for task in tasks]
        yield (future.result() for future in as_completed(futures))
    except BaseException:
        for process in list(pool._processes.values()):  # what a case has come to is whole, or not there
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@final
class Bench:
    """A model, and what is to be measured of it: what a process holds while it works."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._run = RunDir.open(job.run)
        plan = job.plan
        self._methods = chosen_methods(plan.methods, Path(plan.plus) if plan.plus else None, plan.as_released)
        self._operators = chosen_operators(plan.operators)

    def do(self, task: tuple[str, str]) -> None:
        """Measure a case, given by its number, or make the maps of a sanity test, given by its name; and save it."""
        kind, name = task
        if kind == "case":
            self._case(int(name))
        else:
            cases = [self.case(number) for number in range(min(self._job.plan.sanity, len(self._job.kept)))]
            self._run.save_arrays(file_of(name), {"maps": again(name, cases, self._methods)})
            self._run.save(file_of(name), {"cases": len(cases)})

    def costs(self) -> dict[str, list[Any]]:
        """Of every method, by its name, one after the other."""
        cases = [self.case(number) for number in range(min(self._job.plan.costs, len(self._job.kept)))]
        return {method.name: [asdict(one) for one in cost(method, cases)] for method in self._methods}

    def case(self, number: int) -> Case:
        """The case of a kept question."""
        kept, images = self._job.kept[number], self._job.data / "images"
        sample = kept.question.sample
        encoded = answered(self._llava, sample, kept.given)
        picture, other = open_picture(images, kept.question.image), open_picture(images, kept.other)
        return case_of(self._llava, sample, encoded, picture, other, self._job.plan.seed + number)

    def _case(self, number: int) -> None:
        case = self.case(number)
        name = f"case-{number:04d}"
        self._run.save_arrays(name, score(case, self._methods, self._operators, self._place(number)).arrays())
        self._run.save(
            name,
            {"id": case.sample.id, "word": case.text, "log_prob": case.log_prob, "visual": case.visual}
            | {"layers": case.trace.decoder.depth, "heads": case.trace.decoder.heads},
        )

    def _place(self, number: int) -> Place | None:
        question, data = self._job.kept[number].question, self._job.data
        pixels = region(data, question, self._scenes)
        if pixels is None:
            return None
        height, width = pixels.shape
        frame = self._llava.pixels.framing((width, height))
        rows, columns = frame.grid
        places = [(row, column) for row in range(rows) for column in range(columns)]
        down, across = height / rows, width / columns
        whole = [(column * across, row * down, (column + 1) * across, (row + 1) * down) for row, column in places]
        return Place(covered(pixels, [frame.box(*place) for place in places]), covered(pixels, whole))

    @cached_property
    def _llava(self) -> Llava:
        return load(self._job.model, self._job.placement)

    @cached_property
    def _scenes(self) -> dict[str, Scene]:
        return scenes_of(self._job.data)


def scenes_of(data: Path) -> dict[str, Scene]:
    """The scenes of a folder; none of a folder of other pictures."""
    return read_scenes(data) if (data / "scenes.jsonl").is_file() else {}


_HELD: list[Bench] = []  # of a process of a pool: its bench


def _start(job: Job) -> None:
    """What a process of a pool begins with; an interrupt is its parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    torch.set_num_threads(1)  # processes share the cores out better than threads
    _HELD[:] = [Bench(job)]


def _do(task: tuple[str, str]) -> None:
    _HELD[0].do(task)
