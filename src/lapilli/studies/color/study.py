"""The study of colour questions: Yu & Ananiadou (arXiv 2411.10950), with the controls that it lacked.

    heads-MODEL-CONDITION     what every head adds to the right answer, of every question
    keys-MODEL-CONDITION      the key positions of the top heads
    ways-MODEL-CONDITION      the ways by which the facts reach the answer
    knocked-MODEL-CONDITION   the top heads knocked out

Each is saved when it is done, and not done again. Heads are compared on the questions that are answered rightly by
every model under VQA and TQA. The top heads are chosen on every other one of them; all that is said of top heads, and
of the ways, was measured on the others, at most MEASURED of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.progress import Progress
from lapilli.core.run import RunDir
from lapilli.data.questions import fingerprint
from lapilli.inspection.decoder import decoder
from lapilli.inspection.intervention.ablation import Head
from lapilli.model.hub import recorded
from lapilli.model.llava import Llava
from lapilli.model.parts import origin
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
from lapilli.studies.color.top_head_ablation import HeadAblations, ablate_top_heads

MEASURED = 100
"""Questions on which top heads and ways are measured, at most."""

FEWEST = 4
"""Questions that must be answered rightly under all conditions."""

CHOSEN_BY = ("increase", "contrast")
"""What top heads are chosen by: the paper's increase, which the verdicts are about; and the direct contribution to the
right colour's logit less that to a random other one's, for which raising all colours alike counts nothing."""

BASE = "base"

VERSION = 2
"""Of what is measured. A folder that was begun with another is not gone on with."""

RESULT = "colour"
"""What the run calls all that comes of it."""


@dataclass(frozen=True)
class Case:
    """One model under one condition."""

    model: str
    condition: Condition

    @property
    def name(self) -> str:
        """As files are called."""
        return f"{self.model.replace(' ', '-')}-{self.condition.name}"


@dataclass(frozen=True)
class Settings:
    """What decides a study's figures. `models` are folders by their labels, the one before tuning first."""

    models: dict[str, Path]
    data: Path
    questions: int
    seed: int


def settings(base: Path, tuned: Sequence[Path], data: Path, questions: int, seed: int) -> Settings:
    """The settings, with the models called base, tuned 1, tuned 2, ...

    Raises UsageError for a model that is not there.
    """
    for path in (base, *tuned):
        if not path.is_dir():
            raise UsageError(f"{path}: no such folder; give a LLaVA whose language model is not tuned, then tuned ones")
    models = {BASE: base} | {f"tuned {number}": path for number, path in enumerate(tuned, 1)}
    return Settings({label: path.resolve() for label, path in models.items()}, data.resolve(), questions, seed)


def opened(out: Path, of: Settings) -> RunDir:
    """The run folder of a study: new, interrupted, or finished.

    Raises LapilliError as `RunDir.begin` does, and as `read_color_questions` does, before anything is written.
    """
    read_color_questions(of.data, of.questions, of.seed)
    return RunDir.begin(out, _recipe(of), of.seed)


@final
class Study:
    """A study under way in a run folder; `load` opens models, `progress` is told what is being done."""

    def __init__(self, of: Settings, run: RunDir, load: Callable[[Path], Llava], progress: Progress) -> None:
        self.of = of
        self.run = run
        self.asked = read_color_questions(of.data, of.questions, of.seed)
        self._load = load
        self._progress = progress
        self._held: dict[str, Measures] = {}

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
        widths = None if case.model == BASE else self.heads(self.base)["width"]
        return self._rows(
            f"heads-{case.name}", case, lambda llava, note: head_measures(self._asking(llava, case), note, widths)
        )

    @cached_property
    def kept(self) -> NDArray[np.intp]:
        """The numbers of the questions that are answered rightly by all that are told the facts."""
        _require_alike([self.heads(case)["increase"].shape[1:] for case in self.informed])
        right = [self.heads(case)["right"] for case in self.informed]
        (kept,) = np.nonzero(np.min(right, axis=0))
        if len(kept) < FEWEST:
            raise LapilliError(
                f"{len(kept)} of {len(self.asked)} questions are answered rightly by all models, with the picture and "
                f"with the text; {FEWEST} are the least: see that the model before tuning comes first, ask more, into "
                "another folder, or train longer"
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
        tops = {name: self.top(case, name) for name in CHOSEN_BY}
        heads = [head for some in tops.values() for head in some]

        def work(llava: Llava, note: Note) -> Measures:
            return key_measures(self._asking(llava, case, self.measuring), heads, note)

        begin = CHOSEN_BY.index(measure) * len(tops[measure])
        rows = self._rows(f"keys-{case.name}", case, work)
        return {name: values[:, begin : begin + len(tops[measure])] for name, values in rows.items()}

    def ways(self, case: Case) -> Measures:
        """What cutting the ways changes, of the questions measured."""

        def work(llava: Llava, note: Note) -> Measures:
            return route_measures(self._asking(llava, case, self.measuring), self.of.seed, note)

        return self._rows(f"ways-{case.name}", case, work)

    def knocked(self, case: Case) -> list[dict[str, Any]]:
        """Every set of top heads knocked out, as `Knockout` has it, of the questions measured."""
        name = f"knocked-{case.name}"
        if not self.run.has(name):
            tops = {measure: self.top(case, measure) for measure in CHOSEN_BY}
            if case.model != BASE:
                tops[BASE] = self.top(self.base)
            self.run.save(name, [asdict(one) for one in self._knocked(case, tops)])
        found: list[dict[str, Any]] = self.run.load(name)
        return found

    def _knocked(self, case: Case, tops: dict[str, list[Head]]) -> list[Any]:
        llava = self._load(self.of.models[case.model])
        note = partial(self._progress, f"{case.model}, {case.condition.name}: heads knocked out")
        read, others = (
            [asking.encoded(one) for one in asking.questions]
            for asking in (self._asking(llava, case, self.measuring), self._asking(llava, case, self.choosing))
        )
        means = head_means(llava, batches(llava, *map(list, zip(*others, strict=True))))
        language = decoder(llava.model)
        knocking = HeadAblations(llava, batches(llava, *map(list, zip(*read, strict=True))), means, note)
        return ablate_top_heads(knocking, tops, (language.depth, language.heads), self.of.seed)

    def _asking(self, llava: Llava, case: Case, numbers: NDArray[np.intp] | None = None) -> QuestionSet:
        asked: Sequence[ColorQuestion] = self.asked if numbers is None else [self.asked[number] for number in numbers]
        return QuestionSet(llava, asked, case.condition.form, self.of.data / "images")

    def _rows(self, name: str, case: Case, work: Callable[[Llava, Note], Measures]) -> Measures:
        if not self.run.has(name):
            what = f"{case.model}, {case.condition.name}: {name.partition('-')[0]}"
            found = work(self._load(self.of.models[case.model]), partial(self._progress, what))
            self.run.save_arrays(name, found)
            self.run.save(name, {"questions": len(found[next(iter(found))])})  # says that the arrays are whole
        if name not in self._held:
            self._held[name] = self.run.load_arrays(name)
        return self._held[name]


def _require_alike(shapes: Sequence[tuple[int, ...]]) -> None:
    if len(set(shapes)) > 1:
        said = ", ".join(f"{layers} x {heads}" for layers, heads in sorted(set(shapes)))
        raise LapilliError(f"the models have {said} layers and heads; compare those that were tuned from one base")


def _recipe(of: Settings) -> dict[str, Any]:
    weights = {label: origin(path).sha256 for label, path in of.models.items()}
    models = {label: recorded(path) for label, path in of.models.items()}
    told = {"models": models, "weights": weights, "questions_sha256": fingerprint(of.data)}
    return {"study": RESULT, "version": VERSION, **asdict(of), **told}
