"""Which layers selectors would train, in words and tables, and how far the selectors agree."""

from collections.abc import Iterator, Mapping
from typing import Any

from lapilli.report.kit.figures import is_number, number, percent

SELECTORS = {
    "patch": ("patch effect", "nats of content that the tuned layer alone brings into the base"),
    "local": ("local change", "how much the layer itself changed at image tokens, on the base's states"),
    "similarity": (
        "1 − CKA",
        "1 − debiased CKA of image tokens before and behind the base's layer",
    ),
    "gradient": ("gradient norm", "|gradient| / |weights| of the base's layer, for the right answers"),
    "contribution": ("layer contribution", "KL, in nats, where the base's layer passes image tokens on as they came"),
    "random": ("random", "an order that the seed draws"),
    "uniform": ("uniform", "evenly spread layers"),
}
"""The selectors: what the page calls them, and what they score a layer by."""


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """A line for every selector with its layers and its file, then what is missing; none where nothing is suggested."""
    made = result.get("suggested")
    if made is None:
        return
    for one in made["selectors"]:
        layers = ", ".join(map(str, one["layers"]))
        yield f"{SELECTORS[one['name']][0]}: layers {layers} (masks/{one['name']}.json)"
    for name, why in made["missing"].items():
        yield f"{SELECTORS[name][0]}: none, {why}"


def tables(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """The tables of the page, of texts; None where nothing is suggested."""
    made = result.get("suggested")
    if made is None:
        return None
    names = [one["name"] for one in made["selectors"]]
    return {
        "titles": [SELECTORS[name][0] for name in names],
        "layers": [_layer(made, layer) for layer in range(made["depth"])],
        "agreement": list(_agreement(made)),
        "shared": [
            {"title": SELECTORS[name][0], "counts": counts}
            for name, counts in zip(names, made["shared"]["counts"], strict=True)
        ],
        "missing": [(SELECTORS[name][0], why) for name, why in made["missing"].items()],
        "legend": [
            (*SELECTORS[one["name"]], f"n = {one['n']}" if "n" in one else "no sample") for one in made["selectors"]
        ],
        "chance": made["agreement"]["chance"],
        "shared_by_chance": made["shared"]["chance"],
    }


def _layer(made: Mapping[str, Any], layer: int) -> dict[str, Any]:
    """A row of the first table: of every selector the layer's place, its score, and how often it would be chosen."""
    return {"layer": layer, "cells": [_cell(one, layer) for one in made["selectors"]]}


def _cell(selector: Mapping[str, Any], layer: int) -> dict[str, Any]:
    cell = {"chosen": layer in selector["layers"], "place": "", "score": "", "often": ""}
    if selector["order"] is not None:
        cell["place"] = str(selector["order"].index(layer) + 1)
    if "scores" in selector:
        cell["score"] = _scored(*(selector["scores"][end][layer] for end in ("value", "low", "high")))
        cell["often"] = percent(selector["often"][layer], 0)
    return cell


def _scored(value: float | None, low: float | None, high: float | None) -> str:
    """A score with its band, small ones with more digits."""
    digits = 2 if value is None or abs(value) >= 0.1 or not value else 4
    return f"{number(value, digits)} [{number(low, digits)}, {number(high, digits)}]"


def _agreement(made: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rank correlations of each selector with the others, and whether they are beyond those of random orders."""
    agreement = made["agreement"]
    low, high = agreement["chance"]["low"], agreement["chance"]["high"]
    for name, row in zip(agreement["names"], agreement["correlation"], strict=True):
        cells = [
            {
                "text": "" if other == name else number(value),
                "beyond": other != name and is_number(value) and not low <= value <= high,
            }
            for other, value in zip(agreement["names"], row, strict=True)
        ]
        yield {"title": SELECTORS[name][0], "cells": cells}
