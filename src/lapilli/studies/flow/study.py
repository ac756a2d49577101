"""From models and questions to the result: read every candidate with its picture hidden in some layers.

results/plan                     the depth of the models
results/read/tuned-image-000     what the tuned model makes of the first samples in every variant
results/flow                     what the page of claims draws
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
from lapilli.model.llava import load
from lapilli.studies.candidates import Floats, candidates, readouts
from lapilli.studies.flow.figures import ROLES, brought_together
from lapilli.studies.flow.plan import RESULT, Plan
from lapilli.studies.flow.reading import read_depths
from lapilli.studies.steps import Step, Task, carry_out, result
from lapilli.studies.tuned_models import Models, begun
from lapilli.studies.tuning import BASE, KINDS, Tuning

VERSION = 1
"""Of what is measured. A folder that was begun with another is not gone on with."""

GROUP = 8
"""The samples of a task, whose readings are a file."""


def opened(out: Path, of: Tuning, placement: Placement = AS_STORED) -> RunDir:
    """The run folder of a study: new, interrupted, or finished. Raises LapilliError as `begun` does."""
    return begun(out, of, placement, RESULT, VERSION)


def study(of: Tuning, run: RunDir, placement: Placement, progress: Progress) -> dict[str, Any]:
    """Read the base and the tuned model, and save what comes of it; what the run has is not done again.

    Raises LapilliError as `read_depths` does.
    """
    models = Models(lambda role: load(of.models[role], placement))
    carry_out(_Flow(of, run, models).steps(), progress)
    made: dict[str, Any] = run.load(RESULT)
    return made


@dataclass(frozen=True, eq=False)
class _Flow:
    """What the steps have in common."""

    of: Tuning
    run: RunDir
    models: Models

    def steps(self) -> Iterator[Step]:
        """The readings of both models, then the figures."""
        yield Step("plan", [result(self.run, "plan", self._measure_depth)], counted=False)
        for role in ROLES:
            yield Step(f"pictures in layers of {role}", [self._reading(*place) for place in self._places(role)])
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

    def _places(self, role: str) -> list[tuple[str, str, int]]:
        return [(role, kind, start) for kind in KINDS for start in range(0, len(self.of.questions), GROUP)]

    def _reading(self, role: str, kind: str, start: int) -> Task:
        name = _name(role, kind, start)
        return Task(self.run.product(name), partial(self._read, name, role, kind, start))

    def _read(self, name: str, role: str, kind: str, start: int) -> None:
        (llava,) = self.models.loaded(role)
        samples = self.of.prompts[kind][start : start + GROUP]
        seeds = [(self.of.seed, number) for number in range(start, start + len(samples))]
        texts = self._candidates[start : start + GROUP]
        self.run.save_arrays(name, read_depths(llava, samples, texts, self._picture, self._plan, seeds=seeds))
        self.run.save(name, {"n": len(samples)})

    def _bring_together(self) -> None:
        readings = {(role, kind): self._readings(role, kind) for role in ROLES for kind in KINDS}
        made, arrays = brought_together(self.of, self._plan, [len(texts) for texts in self._candidates], readings)
        self.run.save_arrays(RESULT, arrays)
        self.run.save(RESULT, made)

    def _readings(self, role: str, kind: str) -> Mapping[str, Floats]:
        """Every read-out of all samples, (variant, sample)."""
        places = [place for place in self._places(role) if place[1] == kind]
        parts = [self.run.load_arrays(_name(*place)) for place in places]
        return readouts(*(np.concatenate([part[name] for part in parts], 1) for name in ("log_p", "exact")))

    def _picture(self, name: str) -> Image.Image:
        return open_picture(self.of.data / "images", name)


def _name(role: str, kind: str, start: int) -> str:
    """The result of a group of samples."""
    return f"read/{role}-{kind}-{start // GROUP:03}"
