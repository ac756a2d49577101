"""From models and questions to the result: keep the states of all models, measure them, bring the figures together.

states/base-image                   the states of the base on the questions with their pictures
results/states/base-image           says that they are whole, and at which sites
results/measured/image-last-003     all measures of all models at a position and a site, the fourth in depth
results/local/change-image          the change of each layer itself
results/states/base-caption         the same of the captions of the pictures, if the data has them
results/modalities                  how far layers turn tokens, and how pictures and captions lie
results/weights                     how far the weights have moved
results/scores/gradient             what a selector makes of every layer, where layers are to be suggested
results/compare                     what the page shows
masks/gradient.json                 the layers that it would train
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lapilli.core.placement import AS_STORED, Placement
from lapilli.core.progress import Progress
from lapilli.core.run import RunDir
from lapilli.data.pictures import open_picture
from lapilli.data.sample import Sample
from lapilli.inspection.measures import WeightChange, by_layer, weight_changes
from lapilli.inspection.streams import States, Streams, collect, stored, stream_sites
from lapilli.model.llava import Llava, load
from lapilli.studies.compare.layer_scores import dissimilarities, gradient_norms, layer_contributions
from lapilli.studies.compare.local import changed_layers
from lapilli.studies.compare.measuring import Lens, lenses, measured
from lapilli.studies.compare.modalities import beside_captions, turns
from lapilli.studies.compare.profiles import Measurements, brought_together
from lapilli.studies.compare.selectors import (
    Scores,
    by_errors,
    by_samples,
    patch_effects,
    require_usable,
    suggested,
    write_masks,
)
from lapilli.studies.compare.settings import AGAIN, CAPTION, POSITIONS, RESULT, SCORED, TOKENS, Suggestion, pairs_of
from lapilli.studies.steps import Step, Task, carry_out, result
from lapilli.studies.tuned_models import Models, begun
from lapilli.studies.tuning import BASE, TUNED, Tuning

VERSION = 4
"""Of what is measured. A folder that was begun with another is not gone on with."""

BATCH = 8
"""The prompts of a call; in the base's second run there are half as many."""

Note: TypeAlias = Callable[[int], None]
"""Is told how many samples of a task are done."""

_LANGUAGE = "model.language_model.layers."


def opened(out: Path, of: Tuning, placement: Placement = AS_STORED, suggestion: Suggestion | None = None) -> RunDir:
    """The run folder of a comparison: new, interrupted, or finished.

    Raises UsageError as `require_usable` does, and LapilliError as `begun` does and for a damaged file of captions.
    """
    _ = of.captions  # read before a model runs, which takes long
    if suggestion is None:
        return begun(out, of, placement, RESULT, VERSION)
    if not RunDir(out).is_complete:  # a finished one is drawn again, whether or not the patching study is still there
        require_usable(suggestion, of)
    patched = suggestion.patched and str(suggestion.patched.resolve())
    return begun(out, of, placement, RESULT, VERSION, suggest=suggestion.layers, patched=patched)


def study(
    of: Tuning, run: RunDir, placement: Placement, progress: Progress, suggestion: Suggestion | None = None
) -> dict[str, Any]:
    """Keep the states of all models, measure them, and save what comes of it; what the run has is not done again.

    Raises LapilliError for models that are no base and its tuned version: other layers, shapes or weights.
    """
    models = Models(partial(_loaded, of, placement))
    carry_out(_Comparison(of, run, models, progress, suggestion).steps(), progress)
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
    suggestion: Suggestion | None

    def steps(self) -> Iterator[Step]:
        """Every model's states, then what is measured of them and of the models themselves."""
        for model in self._names:
            parts = [(model, kind) for kind in POSITIONS]
            yield from self._counted(f"{model}: states", parts, self._collecting)
        if self.of.captions:
            parts = [(model, CAPTION) for model in (BASE, TUNED)]
            yield from self._counted("captions: states", parts, self._collecting)
        yield Step("measuring", [self._measuring(*place) for place in self._places])
        pairs = [(pair, kind) for pair in self._tuned for kind in POSITIONS]
        yield from self._counted("layers by themselves", pairs, self._changing)
        yield Step("modalities", [Task(self.run.product("modalities"), self._modalities)], counted=False)
        yield Step("weights", [result(self.run, "weights", self._weights)], counted=False)
        if self.suggestion:
            yield from self._scoring()
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
        positions = {**POSITIONS, "image": (*POSITIONS["image"], *TOKENS), CAPTION: ("question_mean",)}[kind]
        size = BATCH // halved
        streams = Streams(positions=positions, batch_size=size, batches=BATCH * halved, seed=self.of.seed)
        samples = self.of.captions if kind == CAPTION else self.of.prompts[kind]
        collect(self.run, f"{model}-{kind}", llava, samples, self._picture, streams=streams, progress=note)
        dtype = str(llava.model.dtype).removeprefix("torch.")
        return {"sites": stream_sites(llava, streams), "dtype": dtype, "batch_size": size}

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

    def _modalities(self) -> None:
        images = self._both("image")
        arrays = turns(images)
        if self.of.captions:
            arrays |= beside_captions(images, self._both(CAPTION))
        self.run.save_arrays("modalities", arrays)
        self.run.save("modalities", {"n": len(self.of.questions), "captions": len(self.of.captions)})

    def _both(self, kind: str) -> dict[str, States]:
        """The states of the base and of the tuned model."""
        return {model: stored(self.run, f"{model}-{kind}") for model in (BASE, TUNED)}

    def _weights(self) -> dict[str, Any]:
        """Of every pair the change of the language model's layers, of their parts, and of what is in no layer of it."""
        changes = {}
        for pair, names in self._tuned.items():
            first, second = (llava.model.state_dict() for llava in self.models.loaded(*names))
            changes[pair] = _moved(weight_changes(first, second, ranks=False))
        return changes

    def _scoring(self) -> Iterator[Step]:
        """The scores of the base's layers, by passes over the first samples and by the states of all."""
        total = 2 * len(self._scored)
        makes = {"gradient": self._gradients, "contribution": self._contributions}
        tasks = [
            Task(self.run.product(f"scores/{name}"), partial(self._score, name, make, number * len(self._scored)))
            for number, (name, make) in enumerate(makes.items())
        ]
        similarity = result(self.run, "scores/similarity", self._similarity)
        yield Step("scores of layers", [*tasks, similarity], counted=False)
        self.progress("scores of layers", total, total)

    @property
    def _scored(self) -> Sequence[Sample]:
        return self.of.prompts["image"][:SCORED]

    def _score(self, name: str, make: Callable[[Note], NDArray[np.float64]], before: int) -> None:
        total = 2 * len(self._scored)
        values = make(lambda done: self.progress("scores of layers", before + done, total))
        self.run.save_arrays(f"scores/{name}", {"values": values})
        self.run.save(f"scores/{name}", {"n": values.shape[1]})

    def _gradients(self, note: Note) -> NDArray[np.float64]:
        (base,) = self.models.loaded(BASE)
        answers = [question.answer for question in self.of.questions[:SCORED]]
        return gradient_norms(base, self._scored, answers, self._picture, note)

    def _contributions(self, note: Note) -> NDArray[np.float64]:
        (base,) = self.models.loaded(BASE)
        return layer_contributions(base, self._scored, self._picture, note)

    def _similarity(self) -> dict[str, Any]:
        return dissimilarities(stored(self.run, f"{BASE}-image"), "image_mean")

    def _suggested(self, suggestion: Suggestion, local: NDArray[np.float64]) -> dict[str, Any]:
        """What the selectors suggest, with a file of each; `local` are the changes of layers at image tokens."""
        seed = self.of.seed
        patching = "needs a patching study of these models: --patched"
        scores: dict[str, Scores | str] = {
            "patch": patch_effects(RunDir.open(suggestion.patched), seed) if suggestion.patched else patching,
            "local": by_samples(local, seed),
            "similarity": by_errors(self.run.load("scores/similarity"), seed),
            **{
                name: by_samples(self.run.load_arrays(f"scores/{name}")["values"], seed)
                for name in ("gradient", "contribution")
            },
        }
        made = suggested(scores, len(local), suggestion.layers, seed)
        write_masks(self.run, made)
        return made

    def _bring_together(self) -> None:
        measurements = Measurements(
            {place: self.run.load(measured_name(*place)) for place in self._places},
            {place: self.run.load_arrays(measured_name(*place)) for place in self._places},
            {(pair, kind): self.run.load_arrays(f"local/{pair}-{kind}") for pair in self._tuned for kind in POSITIONS},
            self.run.load("weights"),
        )
        runs = {model: self.run.load(f"states/{model}-{next(iter(POSITIONS))}") for model in self._names}
        made, arrays = brought_together(self.of, self._sites, measurements, runs)
        if self.suggestion:
            local = measurements.local["change", "image"]["image_mean.first"]
            made["suggested"] = self._suggested(self.suggestion, local)
        self.run.save_arrays(RESULT, arrays | self.run.load_arrays("modalities"))
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
