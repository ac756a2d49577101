"""Bring the figures of all sites together: profiles over depth with their bands, and what is beyond which floor."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lapilli.core.environment import versions
from lapilli.core.statistics.bootstrap import draws
from lapilli.studies.compare.measuring import KS, RANKS
from lapilli.studies.compare.settings import AGAIN, POSITIONS, pairs_of
from lapilli.studies.tuning import BASE, FLOOR, TUNED, Tuning

CHANGED = {
    **{f"overlap_{k}": -1 for k in KS}, "cka": -1, "cosine": -1,
    "relative_l2": 1, "lens_kl": 1, "imbalance": 1, "imbalance_back": 1,
}  # fmt: skip
"""The measures of two models, and whether a value is larger (1) or smaller (-1) where more has changed."""

_PAIRED = ("cosine", "relative_l2", "lens_kl")
"""Those that are means of independent samples: two pairs of models are compared sample by sample."""

SCALES = tuple(f"gride_{2**step}" for step in range(1, RANKS.bit_length()))
SPACES = ("two_nn", *SCALES, "participation_ratio", "spectrum_entropy", "mean_cosine", "largest_variance_share")
"""The measures of one model."""

LEVEL = 0.05
"""The error rate of all sites of a profile together: bands are simultaneous (Bonferroni)."""

Place: TypeAlias = tuple[str, str, int]
"""A kind of prompts, a position, and the number of a site."""

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measurements:
    """What the steps have saved: values and samples' arrays of every place, changes of layers and of weights."""

    values: Mapping[Place, Any]
    samples: Mapping[Place, Mapping[str, Floats]]
    local: Mapping[tuple[str, str], Mapping[str, Floats]]
    weights: Mapping[str, Any]

    def profile(self, kind: str, position: str, *path: str) -> tuple[Floats, Floats]:
        """The values and the errors of one figure over the sites, (site,) each; nan where it was not measured."""
        pairs = []
        for place, values in self.values.items():
            if place[:2] == (kind, position):
                figure: Any = values
                for name in path:
                    figure = figure.get(name, {})
                pairs.append([figure.get("value"), figure.get("error")])
        value, error = np.array(pairs, np.float64).T
        return value, error

    def counts(self, kind: str, position: str) -> list[int]:
        """The number of distinct samples at every site."""
        return [values["n"] for place, values in self.values.items() if place[:2] == (kind, position)]


def brought_together(
    of: Tuning, sites: Sequence[str], measurements: Measurements, runs: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Floats]]:
    """The content of the page as plain values, and arrays of its profiles, `KIND-POSITION-MEASURE-PAIR`, (site,).

    Beside them are arrays of what every sample contributes.
    """
    places = [(kind, position) for kind, positions in POSITIONS.items() for position in positions]
    profiles = [_profile(of, measurements, *place, measure) for place in places for measure in CHANGED]
    made = {
        "models": {
            model: {"label": of.labels.get(model, of.labels[BASE]), "dtype": run["dtype"], "batch": run["batch_size"]}
            for model, run in runs.items()
        },
        "settings": {"samples": len(of.questions), "seed": of.seed, "level": LEVEL, "ks": KS, "data": of.data.name,
                     "versions": versions()},
        "sites": [_site(site) for site in sites],
        "pairs": pairs_of(of),
        "profiles": profiles,
        "verdicts": [verdict for place in places for verdict in _verdicts(of, measurements, *place)],
        "spaces": [_space(of, measurements, *place, measure) for place in places for measure in SPACES],
        "dimensions": [_dimension(measurements, *place) for place in places],
        "local": [_local(of, measurements, *place) for place in places],
        "weights": measurements.weights,
    }  # fmt: skip
    arrays = {
        "-".join((one["kind"], one["position"], one["measure"], pair)): curve["value"]
        for one in profiles
        for pair, curve in one["curves"].items()
    }
    return made, arrays | dict(_of_samples(of, measurements))


def _of_samples(of: Tuning, measurements: Measurements) -> Iterator[tuple[str, Floats]]:
    """What every sample contributes to the measures that are means of theirs, and to the change of every layer.

    `KIND-POSITION-MEASURE-PAIR-samples`, (site, sample), nan where a sample was left out of a site, and
    `KIND-POSITION-local-PAIR-samples`, (layer, sample), of the first model's states.
    """
    for kind, position in dict.fromkeys(place[:2] for place in measurements.samples):
        sites = [arrays for place, arrays in measurements.samples.items() if place[:2] == (kind, position)]
        for pair, measure in ((pair, measure) for pair in pairs_of(of) for measure in _PAIRED):
            values = np.full((len(sites), len(of.questions)), np.nan)
            for row, arrays in zip(values, sites, strict=True):
                if arrays:
                    row[arrays["row"].astype(np.intp)] = arrays[f"{pair}.{measure}"]
            yield f"{kind}-{position}-{measure}-{pair}-samples", values
        for pair in (pair for pair in pairs_of(of) if (pair, kind) in measurements.local):
            changes = measurements.local[pair, kind][f"{position}.first"]
            yield f"{kind}-{position}-local-{pair}-samples", changes


def _site(site: str) -> str:
    """What a site is called on the page: the stream before the first layer, after each, and behind the last norm."""
    if site == "llm.final_norm":
        return "last norm"
    return "embeddings" if site.endswith("resid_pre") else f"layer {site.split('.')[2]}"


def banded(value: Floats, error: Floats) -> dict[str, Floats]:
    """Values over sites with their simultaneous band: each site's interval is wide enough for all of them together."""
    half = _width(error) * error
    return {"value": value, "low": value - half, "high": value + half}


def _width(error: Floats) -> float:
    return NormalDist().inv_cdf(1 - LEVEL / 2 / max(1, int(np.isfinite(error).sum())))


def _profile(of: Tuning, measurements: Measurements, kind: str, position: str, measure: str) -> dict[str, Any]:
    return {
        "kind": kind, "position": position, "measure": measure, "n": measurements.counts(kind, position),
        "curves": {
            pair: banded(*measurements.profile(kind, position, "pairs", pair, measure)) for pair in pairs_of(of)
        },
        "shuffled": measurements.profile(kind, position, "shuffled", measure)[0],
    }  # fmt: skip


def floors(of: Tuning) -> list[str]:
    """The pairs that say how much changes without the tuning, or with any other."""
    return [pair for pair in (AGAIN, FLOOR) if pair in pairs_of(of)]


def _verdicts(of: Tuning, measurements: Measurements, kind: str, position: str) -> Iterator[dict[str, Any]]:
    """Of every measure and floor, where the tuning changed more than the floor does."""
    for measure, sign in CHANGED.items():
        value, _ = measurements.profile(kind, position, "pairs", "change", measure)
        changed = sign * value
        for floor in floors(of):
            excess = banded(*_excess(measurements, (kind, position), measure, floor))
            most = int(np.nanargmax(changed)) if np.isfinite(changed).any() else None
            yield {
                "kind": kind, "position": position, "measure": measure, "floor": floor, "most": most,
                "n": measurements.counts(kind, position), "excess": excess,
                "beyond": [int(site) for site in np.flatnonzero(excess["low"] > 0)],
                "below": [int(site) for site in np.flatnonzero(excess["high"] < 0)],
            }  # fmt: skip


def _excess(measurements: Measurements, place: tuple[str, str], measure: str, floor: str) -> tuple[Floats, Floats]:
    """By how much more the tuning changed than the floor, and its standard error, (site,) each.

    Samples are paired where a measure is a mean of theirs. For others the errors are added as if both were independent;
    they are of the same samples, so that the true error is smaller.
    """
    sign = CHANGED[measure]
    (value, error), (other, floor_error) = (
        measurements.profile(*place, "pairs", pair, measure) for pair in ("change", floor)
    )
    if measure in _PAIRED:
        return sign * (value - other), np.array(
            [_paired_error(each, measure, floor) for at, each in measurements.samples.items() if at[:2] == place]
        )
    return sign * (value - other), np.hypot(error, floor_error)


def _paired_error(samples: Mapping[str, Floats], measure: str, floor: str) -> float:
    if f"change.{measure}" not in samples:
        return float("nan")
    apart = samples[f"change.{measure}"] - samples[f"{floor}.{measure}"]
    return float(apart.std(ddof=1) / np.sqrt(len(apart)))


def _space(of: Tuning, measurements: Measurements, kind: str, position: str, measure: str) -> dict[str, Any]:
    return {
        "kind": kind, "position": position, "measure": measure, "n": measurements.counts(kind, position),
        "curves": {
            model: banded(*measurements.profile(kind, position, "models", model, measure))
            for model in [*of.models, AGAIN]
        },
    }  # fmt: skip


def _dimension(measurements: Measurements, kind: str, position: str) -> dict[str, Any]:
    """Where the tuned model's states have more or fewer dimensions: 1 or -1 where all measures of it agree, else 0.

    One estimate says little: all scales and the participation ratio must differ beyond their errors, to the same side.
    """
    signs = []
    for measure in (*SCALES, "participation_ratio"):
        (value, error), (other, other_error) = (
            measurements.profile(kind, position, "models", model, measure) for model in (TUNED, BASE)
        )
        band = banded(value - other, np.hypot(error, other_error))
        signs.append(np.where(band["low"] > 0, 1, np.where(band["high"] < 0, -1, 0)))
    agreed = np.array(signs)
    sign = np.where((agreed == agreed[0]).all(0), agreed[0], 0)
    return {"kind": kind, "position": position, "n": measurements.counts(kind, position), "sign": sign}


def _local(of: Tuning, measurements: Measurements, kind: str, position: str) -> dict[str, Any]:
    """The change of each layer itself, on the first model's states and on the second's, and which is the largest."""
    curves, most, over = {}, {}, {}
    for pair in (pair for pair in pairs_of(of) if (pair, kind) in measurements.local):
        arrays = measurements.local[pair, kind]
        curves[pair] = {states: banded(*_mean(arrays[f"{position}.{states}"])) for states in ("first", "second")}
        most[pair] = _largest(arrays[f"{position}.first"], of.seed)
    if FLOOR in curves:
        apart = (
            measurements.local["change", kind][f"{position}.first"]
            - measurements.local[FLOOR, kind][f"{position}.first"]
        )
        over = banded(*_mean(apart))
    count = len(of.questions)
    return {"kind": kind, "position": position, "n": count, "curves": curves, "most": most, "over_floor": over}


def _mean(values: Floats) -> tuple[Floats, Floats]:
    """The mean of every layer over the samples, and its standard error, of values (layer, sample)."""
    return values.mean(1), values.std(1, ddof=1) / np.sqrt(values.shape[1])


def _largest(values: Floats, seed: int) -> Floats:
    """How often each layer has the largest mean when samples are drawn again, (layer,), of values (layer, sample)."""
    means = draws(values.shape[1], seed).means(values.T)
    return np.bincount(means.argmax(1), minlength=len(values)) / len(means)
