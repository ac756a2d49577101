"""From models and questions to the result: run the hybrids, group of samples by group, and bring the figures together.

results/plan                          the depth of the models
results/read/base-tuned-image-000     what the base with parts of the tuned model makes of the first samples
results/read/base-random-0-image-000  the same with the first draw of random changes in the tuned model's place
results/patch                         what the page shows
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lapilli.core.placement import AS_STORED, Placement
from lapilli.core.progress import Progress
from lapilli.core.run import RunDir
from lapilli.data.pictures import open_picture
from lapilli.data.questions import PictureQuestion
from lapilli.data.sample import Sample
from lapilli.inspection.decoder import decoder
from lapilli.inspection.intervention.patching import Patch
from lapilli.model.llava import Llava, load
from lapilli.studies.candidates import candidates, readouts
from lapilli.studies.patch.figures import brought_together
from lapilli.studies.patch.plan import Plan
from lapilli.studies.patch.random_change import change_at_random
from lapilli.studies.patch.reading import read_answers
from lapilli.studies.patch.settings import DRAWS, OTHER, RANDOM, RESULT, SWAPPED
from lapilli.studies.patch.shares import Exchange, Readings, together
from lapilli.studies.patch.swapping import with_other_pictures
from lapilli.studies.steps import Step, Task, carry_out, result
from lapilli.studies.tuned_models import Models, begun
from lapilli.studies.tuning import BASE, CONTROL, FLOOR, KINDS, Tuning

VERSION = 3
"""Of what is measured. A folder that was begun with another is not gone on with."""

GROUP = 8
"""The samples of a task, whose readings are a file."""


def opened(out: Path, of: Tuning, placement: Placement = AS_STORED) -> RunDir:
    """The run folder of a study: new, interrupted, or finished. Raises LapilliError as `begun` does."""
    return begun(out, of, in_float32(placement), RESULT, VERSION)


def study(of: Tuning, run: RunDir, placement: Placement, progress: Progress) -> dict[str, Any]:
    """Run all hybrids, and save what comes of it; what the run has is not done again.

    Raises LapilliError for models that are no base and its tuned version: other layers, shapes or formats.
    """
    carry_out(_Patching(of, run, Models(partial(load_role, of, placement))).steps(), progress)
    made: dict[str, Any] = run.load(RESULT)
    return made


def exchanges(of: Tuning) -> list[tuple[str, str]]:
    """The targets and the sources: both directions, then each target with the controls in the source's place."""
    controls = [*_draws(), *(role for role in (FLOOR, CONTROL) if role in of.models)]
    return [*OTHER.items(), *((target, source) for target in OTHER for source in controls)]


def _draws() -> list[str]:
    """The sources that are draws of random changes."""
    return [f"{RANDOM}-{draw}" for draw in range(DRAWS)]


def in_float32(placement: Placement) -> Placement:
    """The placement, in float32.

    In formats of fewer bits a small change of every weight is rounded away, and the control would be no change.
    """
    return replace(placement, dtype="fp32")


def load_role(of: Tuning, placement: Placement, role: str) -> Llava:
    """A model, in float32; a draw of random changes is called `random-DRAW-TARGET`."""
    placement = in_float32(placement)
    if not role.startswith(RANDOM):
        return load(of.models[role], placement)
    _, draw, target = role.split("-")
    changed, other = (load(of.models[one], placement) for one in (target, OTHER[target]))
    return change_at_random(changed, other, of.seed * DRAWS + int(draw))


@dataclass(frozen=True, eq=False)
class _Patching:
    """What the steps have in common."""

    of: Tuning
    run: RunDir
    models: Models

    def steps(self) -> Iterator[Step]:
        """The hybrids of every target and source, then the figures."""
        yield Step("plan", [result(self.run, "plan", self._measure_depth)], counted=False)
        for target, source in exchanges(self.of):
            tasks = [
                self._reading(target, source, kind, group)
                for kind in self._kinds(source)
                for group in range(self._groups(kind))
            ]
            yield Step(f"{source} into {target}", tasks)
        yield Step("results", [Task(self.run.product(RESULT), self._bring_together)], counted=False)

    def _measure_depth(self) -> dict[str, int]:
        (base,) = self.models.loaded(BASE)
        return {"depth": decoder(base.model).depth}

    @cached_property
    def _plan(self) -> Plan:
        return Plan(self.run.load("plan")["depth"])

    @cached_property
    def _candidates(self) -> list[list[str]]:
        return candidates(self.of.all_questions, self.of.questions)

    @cached_property
    def _swapped(self) -> dict[int, PictureQuestion]:
        return with_other_pictures(self.of.all_questions, self.of.questions, self.of.seed)

    def _prompts(self, kind: str) -> list[tuple[Sample, list[str]]]:
        """The samples of a kind, each with its candidates."""
        if kind == SWAPPED:
            return [(question.sample, self._candidates[number]) for number, question in self._swapped.items()]
        return list(zip(self.of.prompts[kind], self._candidates, strict=True))

    def _kinds(self, source: str) -> list[str]:
        """The kinds of prompts that hybrids with parts of a source read."""
        return [*KINDS, *[SWAPPED] * (source in OTHER and bool(self._swapped))]

    def _groups(self, kind: str) -> int:
        return -(-len(self._prompts(kind)) // GROUP)

    def _patches(self, source: str, kind: str) -> list[Patch]:
        if source not in OTHER:
            return self._plan.readable(self._plan.controls, kind)
        return self._plan.beside if kind == SWAPPED else self._plan.readable(self._plan.patches, kind)

    def _reading(self, target: str, source: str, kind: str, group: int) -> Task:
        name = read_name(target, source, kind, group)
        return Task(self.run.product(name), partial(self._read, name, (target, source), kind, group))

    def _read(self, name: str, exchange: tuple[str, str], kind: str, group: int) -> None:
        target, source = exchange
        first, second = self.models.loaded(target, source if source in self.of.models else f"{source}-{target}")
        samples, texts = zip(*self._prompts(kind)[group * GROUP : (group + 1) * GROUP], strict=True)
        arrays = read_answers((first, second), samples, texts, self._picture, self._patches(source, kind))
        self.run.save_arrays(name, arrays)
        self.run.save(name, {"n": len(samples)})

    def _bring_together(self) -> None:
        readings: dict[Exchange, list[Readings]] = {}
        for kind in (*KINDS, SWAPPED):
            for target, source in exchanges(self.of):
                if kind in self._kinds(source):
                    place = (kind, target, source.partition("-")[0])
                    readings.setdefault(place, []).append(self._readings(target, source, kind))
        joined = {place: together(several) for place, several in readings.items()}
        made, arrays = brought_together(
            self.of, self._plan, joined, candidates=[len(texts) for texts in self._candidates], swapped=self._swapped
        )
        self.run.save_arrays(RESULT, arrays)
        self.run.save(RESULT, made)

    def _readings(self, target: str, source: str, kind: str) -> Readings:
        """Every read-out of all samples, (patch, sample), and the numbers of its patches in the plan."""
        parts = [self.run.load_arrays(read_name(target, source, kind, group)) for group in range(self._groups(kind))]
        values = readouts(*(np.concatenate([part[name] for part in parts], 1) for name in ("log_p", "exact")))
        return Readings(self._plan.numbers(self._patches(source, kind)), values)

    def _picture(self, name: str) -> Image.Image:
        return open_picture(self.of.data / "images", name)


def read_name(target: str, source: str, kind: str, group: int) -> str:
    """The result of a group of samples."""
    return f"read/{target}-{source}-{kind}-{group:03}"
