"""From models and questions to the result: keep the states of all models, measure them, bring the figures together.

states/base-image                   the states of the base on the questions with their pictures
results/states/base-image           says that they are whole, and at which sites
results/measured/image-last-003     all measures of all models at a position and a site, the fourth in depth
results/local/change-image          the change of each layer itself
results/weights                     how far the weights have moved
results/compare                     what the page shows
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from PIL import Image

from lapilli.core.placement import AS_STORED, Placement
from lapilli.core.progress import Progress
from lapilli.core.run import RunDir
from lapilli.data.pictures import open_picture
from lapilli.inspection.measures import WeightChange, by_layer, weight_changes
from lapilli.inspection.streams import Streams, collect, stored, stream_sites
from lapilli.model.llava import Llava, load
from lapilli.studies.compare.local import changed_layers
from lapilli.studies.compare.measuring import Lens, lenses, measured
from lapilli.studies.compare.profiles import Measurements, brought_together
from lapilli.studies.compare.settings import AGAIN, POSITIONS, RESULT, pairs_of
from lapilli.studies.steps import Step, Task, carry_out, result
from lapilli.studies.tuned_models import Models, begun
from lapilli.studies.tuning import BASE, Tuning

VERSION = 2
"""Of what is measured. A folder that was begun with another is not gone on with."""

BATCH = 8
"""The prompts of a call; in the base's second run there are half as many."""

Note: TypeAlias = Callable[[int], None]
"""Is told how many samples of a task are done."""

_LANGUAGE = "model.language_model.layers."


def opened(out: Path, of: Tuning, placement: Placement = AS_STORED) -> RunDir:
    """The run folder of a comparison: new, interrupted, or finished. Raises LapilliError as `begun` does."""
    return begun(out, of, placement, RESULT, VERSION)


def study(of: Tuning, run: RunDir, placement: Placement, progress: Progress) -> dict[str, Any]:
    """Keep the states of all models, measure them, and save what comes of it; what the run has is not done again.

    Raises LapilliError for models that are no base and its tuned version: other layers, shapes or weights.
    """
    models = Models(partial(_loaded, of, placement))
    carry_out(_Comparison(of, run, models, progress).steps(), progress)
    made: dict[str, Any] = run.load(RESULT)
    return made


def _loaded(of: Tuning, placement: Placement, role: str) -> Llava:
    """A model; AGAIN is the base in bfloat16, or in float32 where it is not stored in that."""
    if role != AGAIN:
        return load(of.models[role], placement)
    whole = load(of.models[BASE], placement).model.dtype == torch.float32
    return load(of.models[BASE], replace(placement, dtype="bf16" if whole else "fp32"))


@dataclass(frozen=True, eq=False)
class _Comparison:
    """What the steps have in common."""

    of: Tuning
    run: RunDir
    models: Models
    progress: Progress

    def steps(self) -> Iterator[Step]:
        """Every model's states, then what is measured of them and of the models themselves."""
        for model in self._names:
            yield from self._counted(f"{model}: states", [(model, kind) for kind in POSITIONS], self._collecting)
        yield Step("measuring", [self._measuring(*place) for place in self._places])
        pairs = [(pair, kind) for pair in self._tuned for kind in POSITIONS]
        yield from self._counted("layers by themselves", pairs, self._changing)
        yield Step("weights", [result(self.run, "weights", self._weights)], counted=False)
        yield Step("results", [Task(self.run.product(RESULT), self._bring_together)], counted=False)

    @property
    def _names(self) -> list[str]:
        return [*self.of.models, AGAIN]

    @property
    def _tuned(self) -> dict[str, tuple[str, str]]:
        """The pairs of two sets of weights: the base run again has no others, and no layer of it has changed."""
        return {pair: models for pair, models in pairs_of(self.of).items() if AGAIN not in models}

    def _counted(
        self, what: str, parts: Sequence[tuple[str, str]], task: Callable[[str, str, Note], Task]
    ) -> Iterator[Step]:
        """The step of these tasks, of all samples each, which tell how many samples they have done."""
        count, total = len(self.of.questions), len(self.of.questions) * len(parts)

        def note(before: int, done: int) -> None:
            self.progress(what, before + done, total)

        note(0, 0)
        yield Step(what, [task(*part, partial(note, number * count)) for number, part in enumerate(parts)], False)
        note(total, 0)

    def _collecting(self, model: str, kind: str, note: Note) -> Task:
        return result(self.run, f"states/{model}-{kind}", partial(self._collect, model, kind, note))

    def _collect(self, model: str, kind: str, note: Note) -> dict[str, Any]:
        (llava,) = self.models.loaded(model)
        halved = 2 if model == AGAIN else 1
        streams = Streams(positions=POSITIONS[kind], batch_size=BATCH // halved, batches=BATCH * halved)
        samples = self.of.prompts[kind]
        collect(self.run, f"{model}-{kind}", llava, samples, self._picture, streams=streams, progress=note)
        dtype = str(llava.model.dtype).removeprefix("torch.")
        return {"sites": stream_sites(llava, streams), "dtype": dtype, "batch_size": streams.batch_size}

    @cached_property
    def _sites(self) -> list[str]:
        sites: list[str] = self.run.load(f"states/{BASE}-{next(iter(POSITIONS))}")["sites"]
        return sites

    @property
    def _places(self) -> list[tuple[str, str, int]]:
        """Every kind, position and number of a site."""
        return [
            (kind, position, number)
            for kind, positions in POSITIONS.items()
            for position in positions
            for number in range(len(self._sites))
        ]

    @cached_property
    def _lenses(self) -> dict[str, tuple[Lens, Lens]]:
        return {model: lenses(self.models.loaded(model)[0]) for model in self._names}

    def _measuring(self, kind: str, position: str, number: int) -> Task:
        name = measured_name(kind, position, number)
        return Task(self.run.product(name), partial(self._measure, name, kind, position, self._sites[number]))

    def _measure(self, name: str, kind: str, position: str, site: str) -> None:
        states = {model: stored(self.run, f"{model}-{kind}").at(position, site) for model in self._names}
        behind_norm = site == "llm.final_norm"
        lens = {model: pair[behind_norm] for model, pair in self._lenses.items()}
        values, samples = measured(states, lens, pairs_of(self.of), self.of.seed)
        self.run.save_arrays(name, samples)
        self.run.save(name, values)

    def _changing(self, pair: str, kind: str, note: Note) -> Task:
        name = f"local/{pair}-{kind}"
        return Task(self.run.product(name), partial(self._change, name, pair, kind, note))

    def _change(self, name: str, pair: str, kind: str, note: Note) -> None:
        first, second = self.models.loaded(*self._tuned[pair])
        samples = self.of.prompts[kind]
        self.run.save_arrays(name, changed_layers((first, second), samples, self._picture, POSITIONS[kind], note))
        self.run.save(name, {"n": len(samples)})

    def _weights(self) -> dict[str, Any]:
        """Of every pair the change of the language model's layers, of their parts, and of what is in no layer of it."""
        changes = {}
        for pair, names in self._tuned.items():
            first, second = (llava.model.state_dict() for llava in self.models.loaded(*names))
            changes[pair] = _moved(weight_changes(first, second, ranks=False))
        return changes

    def _bring_together(self) -> None:
        measurements = Measurements(
            {place: self.run.load(measured_name(*place)) for place in self._places},
            {place: self.run.load_arrays(measured_name(*place)) for place in self._places},
            {(pair, kind): self.run.load_arrays(f"local/{pair}-{kind}") for pair in self._tuned for kind in POSITIONS},
            self.run.load("weights"),
        )
        runs = {model: self.run.load(f"states/{model}-{next(iter(POSITIONS))}") for model in self._names}
        made, arrays = brought_together(self.of, self._sites, measurements, runs)
        self.run.save_arrays(RESULT, arrays)
        self.run.save(RESULT, made)

    def _picture(self, name: str) -> Image.Image:
        return open_picture(self.of.data / "images", name)


def measured_name(kind: str, position: str, number: int) -> str:
    """The result of all measures at a position and a site."""
    return f"measured/{kind}-{position}-{number:03}"


def _moved(changes: Sequence[WeightChange]) -> dict[str, Any]:
    inside = [change for change in changes if change.name.startswith(_LANGUAGE)]
    outside = [change for change in changes if not change.name.startswith(_LANGUAGE)]
    return {
        "layers": [{"absolute": moved, "relative": share} for moved, share in by_layer(inside).values()],
        "parts": [{"layer": one.layer, "part": one.part, "relative": one.relative} for one in inside],
        "outside": [{"name": name, "relative": share} for name, share in _by_module(outside).items()],
    }


def _by_module(changes: Sequence[WeightChange]) -> dict[str, float]:
    """The relative change of every module outside the language model's layers, as a whole."""
    squares: dict[str, tuple[float, float]] = {}
    for change in changes:
        name = _module(change.name)
        moved, length = squares.get(name, (0.0, 0.0))
        squares[name] = moved + change.absolute**2, length + change.length**2
    return {name: (moved / length) ** 0.5 if length else float("nan") for name, (moved, length) in squares.items()}


def _module(name: str) -> str:
    for module in ("vision_tower", "multi_modal_projector", "embed_tokens", "lm_head"):
        if module in name:
            return module
    return name.removesuffix(".weight").removeprefix("model.language_model.")
