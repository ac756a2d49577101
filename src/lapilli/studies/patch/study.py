"""From models and questions to the result: run the hybrids, group of samples by group, and bring the figures together.

results/plan                          the depth of the models
results/read/base-tuned-image-000     what the base with parts of the tuned model makes of the first samples
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
from lapilli.inspection.decoder import decoder
from lapilli.inspection.intervention.patching import Patch
from lapilli.model.llava import Llava, load
from lapilli.studies.candidates import candidates, readouts
from lapilli.studies.patch.figures import Readings, brought_together
from lapilli.studies.patch.plan import Plan
from lapilli.studies.patch.random_change import change_at_random
from lapilli.studies.patch.reading import read_answers
from lapilli.studies.patch.settings import OTHER, RANDOM, RESULT
from lapilli.studies.steps import Step, Task, carry_out, result
from lapilli.studies.tuned_models import Models, begun
from lapilli.studies.tuning import BASE, CONTROL, FLOOR, KINDS, TUNED, Tuning

VERSION = 1
"""Of what is measured. A folder that was begun with another is not gone on with."""

GROUP = 8
"""The samples of a task, whose readings are a file."""


def opened(out: Path, of: Tuning, placement: Placement = AS_STORED) -> RunDir:
    """The run folder of a study: new, interrupted, or finished. Raises LapilliError as `begun` does."""
    return begun(out, of, placement, RESULT, VERSION)


def study(of: Tuning, run: RunDir, placement: Placement, progress: Progress) -> dict[str, Any]:
    """Run all hybrids, and save what comes of it; what the run has is not done again.

    Raises LapilliError for models that are no base and its tuned version: other layers, shapes or formats.
    """
    carry_out(_Patching(of, run, Models(partial(_loaded, of, placement))).steps(), progress)
    made: dict[str, Any] = run.load(RESULT)
    return made


def exchanges(of: Tuning) -> list[tuple[str, str]]:
    """The targets and the sources: both directions, then each target with the controls in the source's place."""
    controls = [RANDOM, *(role for role in (FLOOR, CONTROL) if role in of.models)]
    return [*OTHER.items(), *((target, source) for target in OTHER for source in controls)]


def _loaded(of: Tuning, placement: Placement, role: str) -> Llava:
    """A model, in float32; a random one is called `random-TARGET`.

    In formats of fewer bits a small change of every weight is rounded away, and the control would be no change.
    """
    placement = replace(placement, dtype="fp32")
    random, _, target = role.partition("-")
    if random != RANDOM:
        return load(of.models[role], placement)
    return change_at_random(load(of.models[target], placement), load(of.models[OTHER[target]], placement), of.seed)


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
            tasks = [self._reading(target, source, kind, group) for kind in KINDS for group in range(self._groups)]
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

    @property
    def _groups(self) -> int:
        return -(-len(self.of.questions) // GROUP)

    def _patches(self, source: str) -> list[Patch]:
        return self._plan.patches if source in (BASE, TUNED) else self._plan.controls

    def _reading(self, target: str, source: str, kind: str, group: int) -> Task:
        name = read_name(target, source, kind, group)
        return Task(self.run.product(name), partial(self._read, name, (target, source), kind, group))

    def _read(self, name: str, exchange: tuple[str, str], kind: str, group: int) -> None:
        target, source = exchange
        pair = self.models.loaded(target, f"{RANDOM}-{target}" if source == RANDOM else source)
        those = slice(group * GROUP, (group + 1) * GROUP)
        samples, texts = self.of.prompts[kind][those], self._candidates[those]
        self.run.save_arrays(
            name, read_answers((pair[0], pair[1]), samples, texts, self._picture, self._patches(source))
        )
        self.run.save(name, {"n": len(samples)})

    def _bring_together(self) -> None:
        readings = {
            (kind, *exchange): self._readings(*exchange, kind) for kind in KINDS for exchange in exchanges(self.of)
        }
        made, arrays = brought_together(self.of, self._plan, [len(texts) for texts in self._candidates], readings)
        self.run.save_arrays(RESULT, arrays)
        self.run.save(RESULT, made)

    def _readings(self, target: str, source: str, kind: str) -> Readings:
        """Every read-out of all samples, (patch, sample), and the numbers of its patches in the plan."""
        parts = [self.run.load_arrays(read_name(target, source, kind, group)) for group in range(self._groups)]
        values = readouts(*(np.concatenate([part[name] for part in parts], 1) for name in ("log_p", "exact")))
        return Readings(self._plan.numbers(self._patches(source)), values)

    def _picture(self, name: str) -> Image.Image:
        return open_picture(self.of.data / "images", name)


def read_name(target: str, source: str, kind: str, group: int) -> str:
    """The result of a group of samples."""
    return f"read/{target}-{source}-{kind}-{group:03}"
