"""What claims are tested on: what three studies of the same models and questions have kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lapilli.core.run import RunDir
from lapilli.core.statistics.joint import mean_at
from lapilli.core.statistics.recovery import ROUNDING
from lapilli.studies.tuning import BASE, FLOOR, TUNED

Floats: TypeAlias = NDArray[np.float64]

COMPARISON, PATCHING, FLOW = "compare", "patch", "flow"
"""The results of the studies, and the folders of their runs in that of the claims."""

_OTHER = {BASE: TUNED, TUNED: BASE}


@dataclass(frozen=True, eq=False)
class Evidence:
    """The results of the studies as they saved them: values, and arrays by name.

    compared, states   of the comparison: profiles and what each sample contributes to them
    patched, answers   of the patching study: its hybrids, and what each made of every sample
    flow, readings     of the flow study, which hides pictures in some layers: the same of its variants
    """

    compared: Mapping[str, Any]
    states: Mapping[str, Floats]
    patched: Mapping[str, Any]
    answers: Mapping[str, Floats]
    seed: int
    flow: Mapping[str, Any]
    readings: Mapping[str, Floats]

    @classmethod
    def of(cls, comparison: RunDir, patching: RunDir, flow: RunDir, seed: int) -> Evidence:
        """What finished runs hold. Raises LapilliError for a damaged file."""
        return cls(
            comparison.load(COMPARISON),
            comparison.load_arrays(COMPARISON),
            patching.load(PATCHING),
            patching.load_arrays(PATCHING),
            seed,
            flow=flow.load(FLOW),
            readings=flow.load_arrays(FLOW),
        )

    @property
    def depth(self) -> int:
        """The number of layers."""
        depth: int = self.patched["depth"]
        return depth

    @property
    def n(self) -> int:
        """The number of samples."""
        return int(self.patched["settings"]["samples"])

    @property
    def has_floor(self) -> bool:
        """Whether there is a second tuning."""
        return FLOOR in self.compared["pairs"]

    def apart(self, kind: str, position: str, measure: str, pair: str) -> Floats:
        """How far two models' states are apart, (site, sample)."""
        return self.states[f"{kind}-{position}-{measure}-{pair}-samples"]

    def local(self, kind: str, position: str) -> Floats:
        """The change of each layer itself, (layer, sample)."""
        return self.states[f"{kind}-{position}-local-change-samples"]

    def turns(self, model: str, position: str) -> Floats:
        """How far each layer of a model turns a token, (layer, sample)."""
        return self.states[f"turn-{model}-{position}-samples"]

    @property
    def has_captions(self) -> bool:
        """Whether the data has captions of its pictures."""
        return f"caption-overlap-{TUNED}-samples" in self.states

    def caption_overlap(self, model: str) -> Floats:
        """The share of a picture's neighbors that are its caption's, above chance, (1 + layer, sample)."""
        return self.states[f"caption-overlap-{model}-samples"]

    def caption_overlap_of_halves(self, model: str) -> Floats:
        """The mean of that over samples, of all and of both halves of each halving, (1 + 2 halvings, 1 + layer)."""
        return self.states[f"caption-overlap-{model}"]

    def gap(self, measure: str, model: str) -> Floats:
        """How far pictures and captions lie apart at half depth: of all, then of both halves of each halving."""
        return self.states[f"caption-{measure}-{model}"]

    def gap_samples(self, measure: str, model: str) -> Floats:
        """What each sample says of it, (sample,)."""
        return self.states[f"caption-{measure}-{model}-samples"]

    def space(self, measure: str, model: str, kind: str = "image", position: str = "last") -> tuple[Floats, Floats]:
        """A measure of one model at every site, and its standard error, (site,) each; nan where it was not measured."""
        wanted = (kind, position, measure)
        one = next(one for one in self.compared["spaces"] if (one["kind"], one["position"], one["measure"]) == wanted)
        value, high = (np.array(one["curves"][model][end], np.float64) for end in ("value", "high"))
        sites = max(1, int(np.isfinite(high).sum()))  # the band is simultaneous: wide enough for all of them
        return value, (high - value) / NormalDist().inv_cdf(1 - self.compared["settings"]["level"] / 2 / sites)

    def window(self, start: int, stop: int) -> int:
        """The number of the hybrid with the layers from `start` to before `stop`."""
        return self._windows[start, stop]

    def windows(self, width: int) -> list[int]:
        """The numbers of all windows of so many layers, by their start."""
        return [at for (start, stop), at in self._windows.items() if stop - start == width]

    def within(self, part: str, what: str) -> int:
        """The number of the hybrid with a part of layers, such as those of the shallow half at image tokens."""
        (at,) = (one["at"] for one in self.patched["within"] if (one["part"], one["what"]) == (part, what))
        return int(at)

    @cached_property
    def _windows(self) -> dict[tuple[int, int], int]:
        return dict(sorted(((one["start"], one["stop"]), one["at"]) for one in self.patched["windows"]))

    def own(self, kind: str, role: str, readout: str) -> Floats:
        """What the base or the tuned model itself makes of every sample, (sample,)."""
        answers: Floats = self.answers[f"{kind}-{role}-{_OTHER[role]}-{readout}"][0]
        return answers

    def gains(self, kind: str, readout: str) -> Floats:
        """What the tuning gained, (sample,)."""
        gains: Floats = self.own(kind, TUNED, readout) - self.own(kind, BASE, readout)
        return gains

    def has_gain(self, kind: str, readout: str, level: float) -> bool:
        """Whether the tuning gained anything: the interval of the mean, at this level, is above 0."""
        gain = mean_at(self.gains(kind, readout), self.seed, level)
        return gain.low > ROUNDING

    def hybrids(self, numbers: Sequence[int], kind: str, target: str, readout: str, source: str = "") -> Floats:
        """What the target with parts of a source, or of the other model, makes of every sample, (hybrid, sample).

        Of random changes it is (draw, hybrid, sample).
        """
        source = source or _OTHER[target]
        (run,) = {
            tuple(one["numbers"])
            for one in self.patched["exchanges"]
            if (one["kind"], one["target"], one["source"], one["readout"]) == (kind, target, source, readout)
        }
        rows = [run.index(number) for number in numbers]
        return self.answers[f"{kind}-{target}-{source}-{readout}"][..., rows, :]

    def brought(self, numbers: Sequence[int], kind: str, readout: str, source: str = "") -> Floats:
        """What parts of the tuned model, put into the base, bring of the gain, (hybrid, sample)."""
        return self.hybrids(numbers, kind, BASE, readout, source) - self.own(kind, BASE, readout)

    def lost(self, numbers: Sequence[int], kind: str, readout: str) -> Floats:
        """What parts of the base, put into the tuned model, take of the gain, (hybrid, sample)."""
        return self.own(kind, TUNED, readout) - self.hybrids(numbers, kind, TUNED, readout)
