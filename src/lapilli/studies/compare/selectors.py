"""Which layers to train: the orders in which selectors put them, masks of the first, and how far the orders agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lapilli.core.errors import UsageError
from lapilli.core.files import write_atomically
from lapilli.core.plain import json_text
from lapilli.core.recipe import recipe_values
from lapilli.core.run import RunDir
from lapilli.core.statistics.bootstrap import draws
from lapilli.core.statistics.joint import mean_at
from lapilli.core.statistics.ranks import spearman
from lapilli.model.checkpoints.read import llava_config
from lapilli.model.parts import origin
from lapilli.studies.compare.profiles import LEVEL, banded
from lapilli.studies.compare.settings import Suggestion
from lapilli.studies.tuning import BASE, TUNED, Tuning

UNIFORM, RANDOM = "uniform", "random"
"""The selectors that know nothing of the layers: evenly spread ones, and ones that the seed draws."""

_DRAWS = 10_000

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scores:
    """What a selector makes of every layer, the larger the rather to be trained, of n samples.

    value, error    (layer,), the errors standard ones
    redrawn         (draw, layer), what redrawn samples make of them
    """

    value: Floats
    error: Floats
    redrawn: Floats
    n: int


def by_samples(values: Floats, seed: int) -> Scores:
    """The scores that are means over samples, of values (layer, sample)."""
    n = values.shape[1]
    with np.errstate(invalid="ignore"):  # of a layer that adds nothing: its score is not finite
        return Scores(values.mean(1), values.std(1, ddof=1) / np.sqrt(n), draws(n, seed).means(values.T), n)


def by_errors(measured: Mapping[str, Any], seed: int) -> Scores:
    """The scores whose errors are estimated, and drawn as if normal: `value` and `error`, (layer,) each, and `n`."""
    value, error = (np.array(measured[name], np.float64) for name in ("value", "error"))
    noise = np.random.default_rng(seed).standard_normal((_DRAWS, len(value)))
    return Scores(value, error, value + error * noise, measured["n"])


def require_usable(suggestion: Suggestion, of: Tuning) -> None:
    """Raise UsageError unless the models have more layers than are suggested, and the patched ones are the same."""
    depth = int(llava_config(of.models[BASE]).text_config.num_hidden_layers)
    if suggestion.layers >= depth:
        least = f"give 1 to {depth - 1}" if depth > 1 else "there is nothing to choose"
        raise UsageError(f"--suggest {suggestion.layers}: the language model has {depth} layers; {least}")
    if suggestion.patched is None:
        return
    run = RunDir.open(suggestion.patched)
    run.verify(pages=False)
    recipe = recipe_values(run.path / "recipe.yaml")
    if recipe.get("study") != "patch":
        raise UsageError(f"--patched {run.path}: no run of `lapilli patch`; give the folder of one")
    for role in (BASE, TUNED):
        if recipe["weights"].get(role) != origin(of.models[role]).sha256:
            raise UsageError(f"--patched {run.path}: its {role} is another than {of.models[role]}; patch the same pair")


def patch_effects(run: RunDir, seed: int) -> Scores | str:
    """What each tuned layer alone brings into the base, in nats of content with the picture; why there is nothing."""
    answers, windows = run.load_arrays("patch"), run.load("patch")["windows"]
    base, tuned = (answers[f"image-{one}-{other}-content"] for one, other in ((BASE, TUNED), (TUNED, BASE)))
    if not mean_at(tuned[0] - base[0], seed, LEVEL).low > 0:
        return "the tuning gained nothing about the questions of the patching study"
    single = {one["start"]: one["at"] for one in windows if one["stop"] - one["start"] == 1}
    return by_samples(base[[single[layer] for layer in sorted(single)]] - base[0], seed)


def evenly(depth: int, count: int) -> list[int]:
    """`count` of `depth` layers, as evenly spread as can be: the middles of as many parts."""
    return [(2 * number + 1) * depth // (2 * count) for number in range(count)]


def suggested(scores: Mapping[str, Scores | str], depth: int, count: int, seed: int) -> dict[str, Any]:
    """The orders of all selectors, the `count` layers that each would train, and how far they agree.

    Of a selector without scores, or with equal ones, it says why. Layers whose score is no finite number come last,
    as nothing is known of them, and of equal ones the shallower first.
    """
    missing = {name: why for name, one in scores.items() if (why := _why_not(one))}
    ranked = {name: one for name, one in scores.items() if isinstance(one, Scores) and name not in missing}
    values = {name: _unknown_last(one.value, one.value) for name, one in ranked.items()}
    values[RANDOM] = np.random.default_rng(seed).permutation(depth).astype(np.float64)
    selectors = [
        {"name": name, **_ranking(value, count), **(_certainty(ranked[name], count) if name in ranked else {})}
        for name, value in values.items()
    ]
    selectors.append({"name": UNIFORM, "order": None, "layers": evenly(depth, count)})
    return {
        "count": count, "depth": depth, "seed": seed, "selectors": selectors, "missing": missing,
        "agreement": _agreement(values, seed), "shared": _shared([one["layers"] for one in selectors], depth),
    }  # fmt: skip


def _why_not(scores: Scores | str) -> str:
    if isinstance(scores, str):
        return scores
    known = scores.value[np.isfinite(scores.value)]
    return "" if known.size and np.ptp(known) > 0 else "every layer has the same score"


def _unknown_last(scores: Floats, value: Floats) -> Floats:
    """These scores (..., layer), the least of all where a layer's `value` is not finite."""
    return np.where(np.isfinite(value) & np.isfinite(scores), scores, -np.inf)


def _ranking(value: Floats, count: int) -> dict[str, Any]:
    order = np.argsort(-value, kind="stable").tolist()
    return {"order": order, "layers": sorted(order[:count])}


def _certainty(scores: Scores, count: int) -> dict[str, Any]:
    """The scores with their bands, and in what share of redrawn samples each layer is among the first.

    All of them nan for a layer whose score is not finite.
    """
    known = np.isfinite(scores.value)
    redrawn = _unknown_last(scores.redrawn, scores.value)
    first = np.argsort(-redrawn, axis=1, kind="stable")[:, :count]
    often = np.bincount(first.ravel(), minlength=redrawn.shape[1]) / len(redrawn)
    bands = banded(*(np.where(known, values, np.nan) for values in (scores.value, scores.error)))
    return {"n": scores.n, "scores": bands, "often": np.where(known, often, np.nan)}


def _agreement(values: Mapping[str, Floats], seed: int) -> dict[str, Any]:
    """Rank correlations over the layers of each two selectors, and between which ends 95 of 100 random orders lie."""
    table = np.array(list(values.values()))
    rows = [spearman(np.tile(one, (len(table), 1)), table) for one in table]
    rng = np.random.default_rng(seed)
    by_chance = spearman(rng.random((_DRAWS, table.shape[1])), rng.random((_DRAWS, table.shape[1])))
    low, high = np.quantile(by_chance, (LEVEL / 2, 1 - LEVEL / 2))
    return {"names": list(values), "correlation": rows, "chance": {"low": float(low), "high": float(high)}}


def _shared(masks: Sequence[Sequence[int]], depth: int) -> dict[str, Any]:
    """How many layers each two masks share, and how many two random ones would."""
    counts = [[len({*one} & {*other}) for other in masks] for one in masks]
    return {"counts": counts, "chance": len(masks[0]) ** 2 / depth}


def write_masks(run: RunDir, made: Mapping[str, Any]) -> None:
    """Write a file for every selector, masks/SELECTOR.json, as `llm.layers` of a recipe takes it.

    Raises LapilliError when one cannot be written.
    """
    for one in made["selectors"]:
        mask = {"selector": one["name"], "layers": one["layers"]}
        write_atomically(run.path / "masks" / f"{one['name']}.json", json_text(mask) + "\n")
