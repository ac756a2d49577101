"""What a comparison says in words: what changed most, where, and beyond which floor."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from lapilli.report.kit.figures import is_number, number, percent, within

Result: TypeAlias = Mapping[str, Any]
"""The content of results/compare.json."""

Verdict: TypeAlias = Mapping[str, Any]

MAIN = "overlap_10"
"""The measure that the page opens with."""

PLACES = {
    ("image", "last"): "the last token with the picture",
    ("image", "question_end"): "the end of the question with the picture",
    ("image", "image_mean"): "the mean of the image tokens",
    ("text", "last"): "the last token without the picture",
    ("text", "question_end"): "the end of the question without the picture",
}
"""The kinds of prompts and positions, as the page calls them."""

MEASURES = {
    "overlap_10": ("Neighbors that stay", "of the 10 nearest, above chance: 1 all, 0 none but by chance"),
    "overlap_30": ("Neighbors that stay, of 30", "the same of the 30 nearest"),
    "cka": ("Linear CKA, debiased", "1: alike up to rotation and scale; 0: independent"),
    "cosine": ("Cosine", "of a sample's two states"),
    "relative_l2": ("Length of the change", "|tuned − base| / |base| of a sample's states"),
    "lens_kl": ("KL of the logit lens", "nats between the next tokens that both states would give"),
    "imbalance": ("Information imbalance, there", "0: the base's nearest neighbor is near in the tuned; 1: not at all"),
    "imbalance_back": ("Information imbalance, back", "the same from the tuned model to the base"),
}
"""The measures of two models: title, and how a value reads."""

SPACES = {
    "two_nn": "TwoNN",
    **{f"gride_{rank}": f"Gride, ranks {rank} and {rank // 2}" for rank in (2, 4, 8, 16, 32)},
    "participation_ratio": "Participation ratio",
    "spectrum_entropy": "Spectrum entropy",
    "mean_cosine": "Mean cosine",
    "largest_variance_share": "Variance in the largest dimension",
}
"""The measures of one model."""

FLOORS = {"again": "the base run again", "floor": "two tunings"}
"""The floors, as the page calls them."""


def at(curve: Mapping[str, Sequence[float | None]], site: int) -> str:
    """The value of a curve at a site, with its band."""
    return within(*(curve[name][site] for name in ("value", "low", "high")))


def profile_of(result: Result, place: tuple[str, str], measure: str) -> Mapping[str, Any]:
    """The profile of a measure at a place."""
    return next(
        one for one in result["profiles"] if (one["kind"], one["position"], one["measure"]) == (*place, measure)
    )


def verdicts_of(result: Result, place: tuple[str, str], measure: str) -> dict[str, Verdict]:
    """The verdicts of a measure at a place, by floor."""
    return {
        one["floor"]: one
        for one in result["verdicts"]
        if (one["kind"], one["position"], one["measure"]) == (*place, measure)
    }


def sites(result: Result, numbers: Sequence[int]) -> str:
    """Sites in words, those in a row as a range: embeddings, layers 2 to 4, last norm."""
    runs: list[list[int]] = []
    for one in numbers:
        if runs and runs[-1][-1] == one - 1:
            runs[-1].append(one)
        else:
            runs.append([one])
    names = result["sites"]
    return ", ".join(names[run[0]] if len(run) == 1 else f"{names[run[0]]} to {names[run[-1]]}" for run in runs)


def beyond(result: Result, place: tuple[str, str], measure: str = MAIN) -> list[int]:
    """The sites at which the tuning changed more than every floor that there is."""
    these = [set(one["beyond"]) for one in verdicts_of(result, place, measure).values()]
    return sorted(set.intersection(*these))


def _most(result: Result) -> tuple[tuple[str, str], int] | None:
    """The place and the site with fewest neighbors left, of those beyond every floor; None where none is."""
    these = [
        (profile_of(result, place, MAIN)["curves"]["change"]["value"][site], place, site)
        for place in PLACES
        for site in beyond(result, place)
    ]
    return min(these)[1:] if these else None


def headline(result: Result) -> str:
    """The finding in a few words."""
    if most := _most(result):
        place, site = most
        return f"Most changed: {PLACES[place]}, at {_the(result['sites'][site])}"
    if "floor" in result["pairs"] and any(_again(result, place) for place in PLACES):
        return "The tuning changed no more than another seed does"
    return "No change beyond what running the base again gives"


def _the(site: str) -> str:
    return site if site.startswith("layer") else f"the {site}"


def _again(result: Result, place: tuple[str, str]) -> Sequence[int]:
    sites_beyond: Sequence[int] = verdicts_of(result, place, MAIN)["again"]["beyond"]
    return sites_beyond


def opening(result: Result) -> list[str]:
    """The finding, sentence by sentence."""
    sentences = []
    if most := _most(result):
        sentences.append(_level(result, *most))
    sentences += [_floor(result, floor) for floor in FLOORS if floor in result["pairs"]]
    sentences += [sentence for sentence in (_layers(result), _weights(result), _dimensions(result)) if sentence]
    return sentences


def _level(result: Result, place: tuple[str, str], site: int) -> str:
    profile = profile_of(result, place, MAIN)
    curves = profile["curves"]
    again = f"The base run again keeps {at(curves['again'], site)}"
    second = f", and two tunings share {at(curves['floor'], site)}" if "floor" in curves else ""
    return (
        f"There, of a sample's 10 nearest neighbors, {at(curves['change'], site)} are the same in both models, above "
        f"chance (1: all; with samples shuffled {number(profile['shuffled'][site])}; n = {profile['n'][site]}). "
        f"{again}{second}."
    )


def _floor(result: Result, floor: str) -> str:
    """Where the tuning is beyond a floor, and where it is not."""
    by_range: dict[str, list[str]] = {}
    for place, words in PLACES.items():
        by_range.setdefault(sites(result, verdicts_of(result, place, MAIN)[floor]["beyond"]), []).append(words)
    where = [f"{', '.join(words)} ({these})" for these, words in by_range.items() if these]
    nowhere = f"; nowhere: {', '.join(by_range[''])}" if "" in by_range and where else ""
    return f"Beyond {FLOORS[floor]}, by these neighbors: {'; '.join(where) or 'nowhere'}{nowhere}."


def _layers(result: Result) -> str:
    """Which layer itself changed most, at the last token with the picture."""
    local = next(one for one in result["local"] if (one["kind"], one["position"]) == ("image", "last"))
    curve, most = local["curves"]["change"]["first"], local["most"]["change"]
    if not any(map(is_number, curve["value"])) or not any(curve["value"]):
        return "No layer itself has changed: given the same states, both models' layers do the same."
    layer = max(range(len(most)), key=lambda one: most[one])
    sure = f"it is the largest in {percent(most[layer], 0)} of redrawn samples"
    seeds = ""
    if "floor" in local["curves"]:
        above = "more" if (local["over_floor"]["low"][layer] or 0) > 0 else "not more"
        seeds = (
            f" Between two tunings that is {at(local['curves']['floor']['first'], layer)}, so it is {above} than that."
        )
    return (
        f"Of the layers themselves, given the same states, layer {layer} changed most for the last token with the "
        f"picture: by {at(curve, layer)} of the length of what it adds; {sure} (n = {local['n']}).{seeds}"
    )


def _weights(result: Result) -> str:
    moved = [layer["relative"] for layer in result["weights"]["change"]["layers"]]
    known = [value for value in moved if is_number(value)]
    if not known or not max(known):
        return "The weights of the layers are the same in both models."
    layer = moved.index(max(known))
    return (
        f"The weights moved by {percent(max(known))} of their length in layer {layer}, the most, and by "
        f"{percent(min(known))} in layer {moved.index(min(known))}, the least."
    )


def _dimensions(result: Result) -> str:
    """Where all measures of dimension agree on a sign."""
    words = []
    for sign, name in ((1, "more"), (-1, "fewer")):
        where = [
            f"{PLACES[one['kind'], one['position']]} ({sites(result, these)})"
            for one in result["dimensions"]
            if (these := [site for site, own in enumerate(one["sign"]) if own == sign])
        ]
        words += [f"{name} dimensions at {'; '.join(where)}"] if where else []
    if not words:
        return "Whether states have more or fewer dimensions is open: the scales do not agree anywhere."
    return f"At every scale, states of the tuned model have {', and '.join(words)}."


def rows(result: Result) -> Iterator[dict[str, Any]]:
    """The table of verdicts: a row for every place and measure, at the site that changed most."""
    for place, words in PLACES.items():
        for measure, (title, _) in MEASURES.items():
            by_floor = verdicts_of(result, place, measure)
            site, profile = by_floor["again"]["most"], profile_of(result, place, measure)
            if site is None:
                yield {"place": words, "measure": title, "site": None, "n": max(profile["n"])}
                continue
            yield {
                "place": words, "measure": title, "site": result["sites"][site], "n": profile["n"][site],
                "change": at(profile["curves"]["change"], site), "shuffled": number(profile["shuffled"][site]),
                "floors": {
                    floor: {
                        "value": at(profile["curves"][floor], site),
                        "excess": at(one["excess"], site),
                        "beyond": sites(result, one["beyond"]) or "nowhere",
                    }
                    for floor, one in by_floor.items()
                },
            }  # fmt: skip
