"""The figures of all plants as tables in Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from proof import share

from lapilli.inspection.intervention.dependence import Verdict as Need

SETS = ("own", "plant", "decoy", "shuffled")
"""The sets of patches that receipts are of."""

NEEDS = get_args(Need)

Found = Mapping[str, Mapping[str, Any]]


def tables(found: Found) -> Iterator[str]:
    """Proofs, methods, removals and verdicts, line by line."""
    yield from _proofs(found)
    mapped = [plant for plant in found if "maps" in found[plant]]
    yield from _methods(found, mapped)
    yield from _removals(found, mapped)
    yield from _verdicts(found)


def _proofs(found: Found) -> Iterator[str]:
    """A row for each model: what answers by it follow, and what they do not mind."""
    plants = list(found)
    yield f"\nWhat each model answers by; n = {_proof(found, plants[0])['right']['n']}, 95 % intervals\n"
    changed = [f"changed by the {plant}" for plant in plants]
    yield from _head(
        ["taught", "right", "follows a changed plant", "stays as all else changes", "stays in another color", *changed]
    )
    for plant in plants:
        one = _proof(found, plant)
        kept = [_percent(one[name]) if name in one else "" for name in ("right", "followed", "stayed", "filled")]
        yield _row([plant, *kept, *(_percent(one["changed"][factor]) for factor in plants)])


def _proof(found: Found, plant: str) -> Mapping[str, Any]:
    proof: Mapping[str, Any] = found[plant]["proof"]
    return proof


def _methods(found: Found, plants: Sequence[str]) -> Iterator[str]:
    """A row for each method; a star where the gap's own way of removing patches made the map."""
    maps = [found[plant]["maps"] for plant in plants]
    first = maps[0]["methods"][0]
    yield f"\nPointing, share of the positive map inside the plant (n = {first['inside']['n']}), gap under blur"
    yield f"(n = {first['gap']['n']}; a star: the map was made by blurring, or nearly so); ours in bold\n"
    kinds = {"pointing": "pointing", "inside": "inside", "gap": "gap"}
    yield from _head(["method", *(f"{plant}: {kind}" for plant in plants for kind in kinds.values())])
    chance = [[one["chance"]["pointing"]] * 2 + [0.0] for one in maps]
    yield _row(["*by chance*", *(f"{value:.2f}" for some in chance for value in some)])
    for rows in zip(*(one["methods"] for one in maps), strict=True):
        name = f"**{rows[0]['method']}**" if rows[0]["ours"] else rows[0]["method"]
        star = "" if rows[0]["held_out"] else " *"
        yield _row([name, *(_estimate(row[kind]) + star * (kind == "gap") for row in rows for kind in kinds)])


def _removals(found: Found, plants: Sequence[str]) -> Iterator[str]:
    yield "\nAnswers that change without the plant's patches, and that stay without all others\n"
    ways = [way for way in found[plants[0]]["maps"]["removed"] if way != "visual"]
    yield from _head(["taught", *(f"{way}: {what}" for way in ways for what in ("change", "stay")), "needs it"])
    for plant in plants:
        removed = found[plant]["maps"]["removed"]
        shares = [removed[way][what] for way in ways for what in ("changed_without_plant", "stayed_without_rest")]
        yield _row([plant, *map(_percent, [*shares, removed["visual"]])])


def _verdicts(found: Found) -> Iterator[str]:
    """A row for each model, map and way of removing; then what is said of the need of the picture."""
    yield "\nReceipts: confirmed in whatever size, of it as predicted within a factor of 2; the opposite"
    yield "\nof the patches that the map names, of the plant's own, of a decoy's, and of the shuffled map's\n"
    yield from _head(["taught", "map", "removed by", *SETS])
    for plant, one in found.items():
        shares = one["verdicts"]
        for claim, way in dict.fromkeys((name.split(", ")[0], name.split(", ")[2]) for name in shares if ", " in name):
            cells = [_receipts(shares.get(f"{claim}, {which}, {way}")) for which in SETS]
            yield _row([plant, claim, way, *cells])
    yield "\nWhether the answer needs its picture\n"
    yield from _head(["taught", *NEEDS])
    for plant, one in found.items():
        needs = one["verdicts"]["dependence"]
        n = next(iter(needs.values()))["n"]
        yield _row([plant, *(_percent(needs.get(need) or share([False] * n)) for need in NEEDS)])


def _receipts(shares: Mapping[str, Any] | None) -> str:
    """What came of receipts of one kind; nothing where there were none."""
    if shares is None:
        return ""
    n = next(iter(shares.values()))["n"]
    count = {name: one["correct"] for name, one in shares.items()}
    confirmed = sum(number for name, number in count.items() if name.startswith("confirmed"))
    whole = share([True] * confirmed + [False] * (n - confirmed))
    return f"{_percent(whole)}, {count['confirmed']} as predicted; {count['opposite']} opposite"


def _percent(share: Mapping[str, Any]) -> str:
    return f"{100 * share['estimate']:.0f} % [{100 * share['low']:.0f}, {100 * share['high']:.0f}]"


def _estimate(one: Mapping[str, Any]) -> str:
    return f"{one['value']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"


def _head(names: Sequence[str]) -> Iterator[str]:
    yield _row(names)
    yield _row(["---"] * len(names))


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
