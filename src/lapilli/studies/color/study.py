"""The study of color questions: Yu & Ananiadou (arXiv 2411.10950), with the controls that it lacked.

    heads-MODEL-CONDITION     what every head adds to the right answer, of every question
    keys-MODEL-CONDITION      the key positions of the top heads
    ways-MODEL-CONDITION      the ways by which the facts reach the answer
    knocked-MODEL-CONDITION   the top heads knocked out

Each is a step. Heads are compared on the questions that are answered rightly by every model under VQA and TQA. The top
heads are chosen on every other one of them; all that is said of top heads, and of the ways, was measured on the others,
at most MEASURED of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from lapilli.core import spelling
from lapilli.core.errors import LapilliError
from lapilli.core.placement import AS_STORED, Placement
from lapilli.core.progress import Progress
from lapilli.core.run import RunDir
from lapilli.data.questions import fingerprint
from lapilli.inspection.decoder import decoder
from lapilli.inspection.intervention.ablation import Head
from lapilli.model.hub import recorded
from lapilli.model.llava import load
from lapilli.model.parts import origin
from lapilli.model.placement import settings as device_settings
from lapilli.studies.color.answers_under_ablation import batches, head_means
from lapilli.studies.color.conditions import CONDITIONS, ColorQuestion, Condition, read_color_questions
from lapilli.studies.color.overlap import sizes, top
from lapilli.studies.color.question_measures import (
    Measures,
    Note,
    QuestionSet,
    head_measures,
    key_measures,
    route_measures,
)
from lapilli.studies.color.settings import BASE, RESULT, Settings
from lapilli.studies.color.top_head_ablation import HeadAblations, ablate_top_heads
from lapilli.studies.steps import Step, Task, result

MEASURED = 100
"""Questions on which top heads and ways are measured, at most."""

FEWEST = 4
"""Questions that must be answered rightly under all conditions."""

CHOSEN_BY = ("increase", "contrast")
"""What top heads are chosen by: the paper's increase, which the verdicts are about; and the direct contribution to the
right color's logit less that to a random other one's, for which raising all colors alike counts nothing."""

VERSION = 3
"""Of what is measured. A folder that was begun with another is not gone on with."""


@dataclass(frozen=True)
class Case:
    """One model under one condition."""

    model: str
    condition: Condition

    @property
    def says(self) -> str:
        """As it is called where progress is shown."""
        return f"{self.model}, {self.condition.name}"

    @property
    def name(self) -> str:
        """As files are called."""
        return f"{self.model.replace(' ', '-')}-{self.condition.name}"


def opened(out: Path, of: Settings, placement: Placement = AS_STORED) -> RunDir:
    """The run folder of a study: new, interrupted, or finished.

    Raises LapilliError as `RunDir.begin` does, and where the models' place is not there, before anything is written.
    """
    device_settings(placement)
    return RunDir.begin(out, _recipe(of), of.seed)


@final
class Study:
    """A study in a run folder: its steps, and what they have saved."""

    def __init__(self, of: Settings, run: RunDir, placement: Placement = AS_STORED) -> None:
        self.of = of
        self.run = run
        self.questions = read_color_questions(of.data, of.questions, of.seed)
        self._load = lru_cache(maxsize=1)(partial(load, placement=placement))  # one model at a time is in memory
        self._loaded: dict[str, Measures] = {}

    def steps(self, progress: Progress) -> Iterator[Step]:
        """The heads of all cases; then all else, of the questions that are measured."""
        for case in self.cases:
            yield self._step("heads", case, self._measure_heads, progress)
        for case in self.informed:
            yield self._step("keys", case, self._measure_keys, progress)
        for case in self.informed:
            what = f"{case.says}: heads knocked out"
            knock = partial(self._knock_out, case, partial(progress, what))
            yield Step(what, [result(self.run, f"knocked-{case.name}", knock)], counted=False)
        for case in self.informed:
            yield self._step("ways", case, self._measure_ways, progress)

    @property
    def cases(self) -> list[Case]:
        """Every model under every condition that is meant for it, the language model before tuning first."""
        return [
            Case(label, condition)
            for label in self.of.models
            for condition in CONDITIONS
            if condition.base == (label == BASE)
        ]

    @property
    def base(self) -> Case:
        """The language model before tuning."""
        (base,) = (case for case in self.cases if case.model == BASE)
        return base

    @property
    def informed(self) -> list[Case]:
        """Those that are told the facts."""
        return [case for case in self.cases if case.condition.form != "nothing"]

    def heads(self, case: Case) -> Measures:
        """What every head adds, of all questions; also with logits as wide as the base's, of the text."""
        return self._measures(f"heads-{case.name}")

    @cached_property
    def kept(self) -> NDArray[np.intp]:
        """The numbers of the questions that are answered rightly by all that are told the facts."""
        _require_alike([self.heads(case)["increase"].shape[1:] for case in self.informed])
        right = [self.heads(case)["right"] for case in self.informed]
        (kept,) = np.nonzero(np.min(right, axis=0))
        if len(kept) < FEWEST:
            raise LapilliError(
                f"{len(kept)} of {len(self.questions)} questions are answered rightly by all models, with the picture "
                f"and with the text; {FEWEST} are the least: see that the model before tuning comes first, ask more, "
                "into another folder, or train longer"
            )
        return kept

    @property
    def choosing(self) -> NDArray[np.intp]:
        """Those on which the top heads are chosen."""
        return self.kept[0::2]

    @property
    def measuring(self) -> NDArray[np.intp]:
        """Those on which they are measured."""
        return self.kept[1::2][:MEASURED]

    def top(self, case: Case, measure: str = CHOSEN_BY[0]) -> list[Head]:
        """The top heads of a case, as many as are ever meant, the first first: by the mean of a measure."""
        table = self.heads(case)[measure][self.choosing].mean(0)
        return top(table, sizes(table.size)[-1])

    def keys(self, case: Case, measure: str = CHOSEN_BY[0]) -> Measures:
        """What is found at the key positions of its top heads by a measure, of the questions measured."""
        count = len(self.top(case, measure))
        begin = CHOSEN_BY.index(measure) * count
        return {name: values[:, begin : begin + count] for name, values in self._measures(f"keys-{case.name}").items()}

    def ways(self, case: Case) -> Measures:
        """What cutting the ways changes, of the questions measured."""
        return self._measures(f"ways-{case.name}")

    def knocked(self, case: Case) -> list[dict[str, Any]]:
        """Every set of top heads knocked out, as `HeadAblation` has it, of the questions measured."""
        rows: list[dict[str, Any]] = self.run.load(f"knocked-{case.name}")
        return rows

    def _measures(self, name: str) -> Measures:
        if name not in self._loaded:
            arrays = self.run.load_arrays(name)
            self._loaded[name] = {"/".join(map(spelling.name, key.split("/"))): each for key, each in arrays.items()}
        return self._loaded[name]

    def _step(self, kind: str, case: Case, measure: Callable[[Case, Note], Measures], progress: Progress) -> Step:
        """The step that measures one kind for one case."""
        what, name = f"{case.says}: {kind}", f"{kind}-{case.name}"

        def do() -> None:
            measures = measure(case, partial(progress, what))
            self.run.save_arrays(name, measures)
            self.run.save(name, {"questions": len(next(iter(measures.values())))})

        return Step(what, [Task(self.run.product(name), do)], counted=False)

    def _measure_heads(self, case: Case, note: Note) -> Measures:
        widths = None if case.model == BASE else self.heads(self.base)["width"]
        return head_measures(self._question_set(case), note, widths)

    def _measure_keys(self, case: Case, note: Note) -> Measures:
        heads = [head for measure in CHOSEN_BY for head in self.top(case, measure)]
        return key_measures(self._question_set(case, self.measuring), heads, note)

    def _measure_ways(self, case: Case, note: Note) -> Measures:
        return route_measures(self._question_set(case, self.measuring), self.of.seed, note)

    def _knock_out(self, case: Case, note: Note) -> list[dict[str, Any]]:
        tops = {measure: self.top(case, measure) for measure in CHOSEN_BY}
        if case.model != BASE:
            tops[BASE] = self.top(self.base)
        read, others = (
            [question_set.encoded(question) for question in question_set.questions]
            for question_set in (self._question_set(case, self.measuring), self._question_set(case, self.choosing))
        )
        llava = self._load(self.of.models[case.model])
        means = head_means(llava, batches(llava, *map(list, zip(*others, strict=True))))
        language = decoder(llava.model)
        ablations = HeadAblations(llava, batches(llava, *map(list, zip(*read, strict=True))), means, note)
        return [
            asdict(ablation)
            for ablation in ablate_top_heads(ablations, tops, (language.depth, language.heads), self.of.seed)
        ]

    def _question_set(self, case: Case, numbers: NDArray[np.intp] | None = None) -> QuestionSet:
        questions: Sequence[ColorQuestion] = (
            self.questions if numbers is None else [self.questions[number] for number in numbers]
        )
        llava = self._load(self.of.models[case.model])
        return QuestionSet(llava, questions, case.condition.form, self.of.data / "images")


def _require_alike(shapes: Sequence[tuple[int, ...]]) -> None:
    if len(set(shapes)) > 1:
        described = ", ".join(f"{layers} x {heads}" for layers, heads in sorted(set(shapes)))
        raise LapilliError(f"the models have {described} layers and heads; compare those that were tuned from one base")


def _recipe(of: Settings) -> dict[str, Any]:
    weights = {label: origin(path).sha256 for label, path in of.models.items()}
    models = {label: recorded(path) for label, path in of.models.items()}
    identity = {"models": models, "weights": weights, "data_sha256": fingerprint(of.data)}
    return {"study": RESULT, "version": VERSION, **asdict(of), **identity}
