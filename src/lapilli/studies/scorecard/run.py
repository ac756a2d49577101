"""A scorecard's run: the questions are sifted, every case is measured, and a table is made, in a run folder.

    results/kept.json           the questions, in order, with the answers that were given
    results/case-0012.json,npz  one case's numbers (score.py)
    results/sanity-NAME.json,npz  maps under one sanity test's change
    results/cost.json           seconds, passes and memory of every method
    results/scorecard.json      what table.py makes of all that; the page is drawn from it alone

Cases are independent of each other, and so are sanity tests; they may be shared out among processes.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from lapilli.core.placement import AUTO, Placement
from lapilli.core.progress import Progress
from lapilli.core.run import RunDir
from lapilli.data.pictures import open_picture
from lapilli.data.questions import fingerprint
from lapilli.data.scenes.masks import covered, region
from lapilli.inspection.recording import answered
from lapilli.model.hub import recorded
from lapilli.model.llava import Llava, codec_of, load
from lapilli.model.parts import origin
from lapilli.studies.scorecard.case import Case, case_of
from lapilli.studies.scorecard.cost import cost
from lapilli.studies.scorecard.job import RESULT, Job
from lapilli.studies.scorecard.method import Method
from lapilli.studies.scorecard.methods.registry import chosen as chosen_methods
from lapilli.studies.scorecard.operators import Operator
from lapilli.studies.scorecard.operators import chosen as chosen_operators
from lapilli.studies.scorecard.plan import Plan
from lapilli.studies.scorecard.sanity import TESTS, again, file_of
from lapilli.studies.scorecard.score import Place, score
from lapilli.studies.scorecard.sift import SIFTING, sifted
from lapilli.studies.steps import Step, Task, carry_out, result


def opened(out: Path, model: Path, data: Path, plan: Plan) -> RunDir:
    """The run folder of a scorecard: new, interrupted, or finished.

    Raises LapilliError as `RunDir.begin` does, and where the model, an operator or a method is not there.
    """
    codec_of(model)
    chosen_operators(plan.operators)
    methods = _methods(plan)
    recipe = {"model": recorded(model), "data": str(data.resolve())} | asdict(plan)
    recipe |= {"methods": [method.name for method in methods], "weights": origin(model).sha256}
    recipe |= {"data_sha256": fingerprint(data)}
    if plan.plus:
        recipe |= {"plus_sha256": sha256(Path(plan.plus).read_bytes()).hexdigest()}
    return RunDir.begin(out, recipe, plan.seed)


def measure(job: Job, progress: Progress, processes: int | None = None) -> None:
    """Measure what is left of a run, and save its result; in as many processes as serve, if it is not said."""
    carry_out(_steps(job, progress), progress, processes or _processes(job.model, job.placement))


def _steps(job: Job, progress: Progress) -> Iterator[Step]:
    """Sifting, cases, sanity tests, costs, and the table."""
    yield Step(SIFTING, [result(job.run, "kept", partial(sifted, job, progress))], counted=False)
    bench = Bench(job)
    yield Step("cases", [bench.case_task(number) for number in range(len(job.kept))])
    if job.plan.sanity:
        yield Step("sanity tests", [bench.sanity_task(test.name) for test in TESTS])
    yield Step("costs", [result(job.run, "cost", bench.costs)])
    yield Step("table", [result(job.run, RESULT, partial(_table, job))])


def _table(job: Job) -> dict[str, Any]:
    from lapilli.studies.scorecard.assemble import scorecard  # statistics, of which measuring has no need

    return scorecard(job)


def _processes(model: Path, placement: Placement) -> int:
    """As many as there are cores, and as memory holds at three times the weights; a GPU is for one alone."""
    if placement.device not in (AUTO, "cpu") or (placement.device == AUTO and torch.accelerator.is_available()):
        return 1
    weights = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(os.cpu_count() or 1, memory // (3 * weights or 1)))


def _methods(plan: Plan) -> tuple[Method, ...]:
    return chosen_methods(plan.methods, Path(plan.plus) if plan.plus else None, plan.as_released)


@dataclass(frozen=True, eq=False)
class Bench:
    """A model, and what is to be measured of it: what a process holds while it works."""

    job: Job

    def __getstate__(self) -> dict[str, Any]:
        """What another process gets; it opens the model and the methods' file itself."""
        return {"job": self.job}

    def case_task(self, number: int) -> Task:
        """The measuring of the case of a kept question."""
        return Task(self.job.run.product(_case_file(number)), partial(self._measure_case, number))

    def sanity_task(self, test: str) -> Task:
        """The maps under one sanity test's change."""
        return Task(self.job.run.product(file_of(test)), partial(self._measure_sanity, test))

    def costs(self) -> dict[str, list[Any]]:
        """Of every method, by its name, one after the other."""
        cases = self._cases(self.job.plan.costs)
        return {method.name: [asdict(one) for one in cost(method, cases)] for method in self._methods}

    def case(self, number: int) -> Case:
        """The case of a kept question."""
        kept, images = self.job.kept[number], self.job.data / "images"
        sample = kept.question.sample
        encoded = answered(self._llava, sample, kept.given)
        picture, other = open_picture(images, kept.question.image), open_picture(images, kept.other)
        return case_of(self._llava, sample, encoded, picture=picture, other=other, seed=self.job.plan.seed + number)

    def _cases(self, most: int) -> list[Case]:
        return [self.case(number) for number in range(min(most, len(self.job.kept)))]

    def _measure_case(self, number: int) -> None:
        case, run, name = self.case(number), self.job.run, _case_file(number)
        run.save_arrays(name, score(case, self._methods, self._operators, self._place(number)).arrays())
        row = {"id": case.sample.id, "word": case.text, "log_prob": case.log_prob, "visual": case.visual}
        run.save(name, row | {"layers": case.trace.decoder.depth, "heads": case.trace.decoder.heads})

    def _measure_sanity(self, test: str) -> None:
        cases, run = self._cases(self.job.plan.sanity), self.job.run
        run.save_arrays(file_of(test), {"maps": again(test, cases, self._methods)})
        run.save(file_of(test), {"cases": len(cases)})

    def _place(self, number: int) -> Place | None:
        question, data = self.job.kept[number].question, self.job.data
        pixels = region(data, question, self.job.scenes)
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
        return load(self.job.model, self.job.placement)

    @cached_property
    def _methods(self) -> tuple[Method, ...]:
        return _methods(self.job.plan)

    @cached_property
    def _operators(self) -> Mapping[str, Operator]:
        return chosen_operators(self.job.plan.operators)


def _case_file(number: int) -> str:
    return f"case-{number:04d}"
