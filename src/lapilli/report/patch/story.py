"""What a patching study says in words: what brings the gain back, beside which control, and what does not fit."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from lapilli.core.statistics.recovery import ROUNDING
from lapilli.report.kit.figures import NONE, counted, is_number, number, percent, within

Result: TypeAlias = Mapping[str, Any]
"""The content of results/patch.json."""

MAIN = ("image", "content")
"""The kind of prompts and the read-out that the page opens with."""

KINDS = {"image": "with the picture", "text": "without the picture", "swapped": "with another's picture"}
READOUTS = {
    "content": ("Content", "log p(right answer | candidates), nats"),
    "format": ("Format", "log p(any candidate), nats"),
    "log_p": ("Both", "log p(right answer) = content + format, nats"),
    "likeliest": ("Right by content", "the right candidate is the likeliest, share of samples"),
    "exact": ("Right word for word", "every token of the right answer is the likeliest, share of samples"),
}
"""The read-outs: title, and what they are."""

PARTS = {
    "layers": "all layers",
    "shallow": "the shallow half",
    "connector": "the connector",
    "embeddings": "the embeddings",
    "norm": "the last norm",
    "head": "the head",
    "all": "everything",
}
"""What is exchanged as one, as the page calls it."""

WITHIN = {
    "image": "at image tokens",
    "text": "at all other tokens",
    "attention": "attention",
    "mlp": "the MLP",
    "gate_up": "gate and up of the MLP",
    "down": "down of the MLP",
    "norms": "the norms",
}
"""What is exchanged of layers: where, or which of their modules."""

WAYS = {"base": ("tuned", "tuned parts in the base"), "tuned": ("base", "base parts in the tuned model")}
"""By target: the source, and what the hybrids are."""

CONTROLS = {
    "random": "random changes of the same size",
    "floor": "another seed's tuning",
    "control": "the format control",
}
"""The sources of the controls."""

share_of = partial(percent, digits=0)


def shared(value: float | None, low: float | None, high: float | None) -> str:
    """A share with its interval in per cent: 62 % [42, 79]; a dash for none."""
    if not (is_number(value) and is_number(low) and is_number(high)):
        return NONE
    return f"{share_of(value)} [{number(100 * low, 0)}, {number(100 * high, 0)}]"


def exchange(result: Result, target: str, source: str, place: tuple[str, str] = MAIN) -> Mapping[str, Any]:
    """The figures of an exchange."""
    wanted = (*place, target, source)
    return next(
        one for one in result["exchanges"] if (one["kind"], one["readout"], one["target"], one["source"]) == wanted
    )


def controls_of(result: Result) -> list[str]:
    """The sources of the controls that were run."""
    sources = {one["source"] for one in result["exchanges"]}
    return [source for source in CONTROLS if source in sources]


def share_at(one: Mapping[str, Any], at: int, column: str = "share") -> tuple[float | None, float | None, float | None]:
    """The share of the gain of a hybrid in an exchange, with the ends of its interval."""
    index = one["numbers"].index(at)
    value, low, high = (one[column][name][index] for name in ("value", "low", "high"))
    return value, low, high


def window_at(result: Result, start: int, stop: int) -> int:
    """The hybrid of the layers from `start` to before `stop`."""
    number_of: int = next(one["at"] for one in result["windows"] if (one["start"], one["stop"]) == (start, stop))
    return number_of


def layers(start: int, stop: int) -> str:
    """Layers in words: layer 2, layers 0 to 2."""
    return f"layer {start}" if stop - start == 1 else f"layers {start} to {stop - 1}"


def score(result: Result, place: tuple[str, str]) -> Mapping[str, Any]:
    """A read-out of both models and its gain."""
    return next(one for one in result["scores"] if (one["kind"], one["readout"]) == place)


def estimate(one: Mapping[str, Any]) -> str:
    """An estimate with its interval."""
    return within(one["value"], one["low"], one["high"])


def has_gain(result: Result, place: tuple[str, str] = MAIN) -> bool:
    """Whether the interval of the gain is above 0; of a loss, or of neither, nothing has a share."""
    gain = score(result, place)["gain"]
    return is_number(gain["low"]) and gain["low"] > ROUNDING


def strongest(result: Result) -> str | None:
    """The part that alone brings most back, of those beyond random changes; None where none is."""
    true = exchange(result, "base", "tuned")
    shares = {
        part: share_at(true, at)[0] or 0.0
        for part, at in result["parts"].items()
        if part not in ("all", "shallow") and _is_beyond(result, at)
    }
    return max(shares, key=lambda part: shares[part]) if shares else None


def _is_beyond(result: Result, at: int) -> bool:
    """Whether a hybrid brings more back than the random changes in its place."""
    return (share_at(exchange(result, "base", "random"), at, "beyond")[1] or 0.0) > 0


def half(result: Result) -> int | None:
    """How many of the first layers bring half of the gain back; None where even all do not."""
    depth = exchange(result, "base", "tuned")["half"]["value"]
    return int(depth) + 1 if is_number(depth) and depth < result["depth"] else None


def headline(result: Result) -> str:
    """The finding in a few words, of layers that stand beside random changes."""
    if not has_gain(result):
        return "There is no gain to bring back"
    part = strongest(result)
    if part is None:
        return "No part brings more back than random changes do"
    if part != "layers":
        value, *_ = share_at(exchange(result, "base", "tuned"), result["parts"][part])
        return f"{_capital(PARTS[part])} alone brings {share_of(value)} of the gain back"
    if (count := half(result)) is None:
        return "Half of the gain does not come back with all layers"
    stop, at = controlled(result, count)
    if not _is_beyond(result, at):
        return f"All layers bring more back than random changes do, {layers(0, stop)} no more"
    return f"{_capital(layers(0, stop))} bring half of the gain back".replace("Layer 0 bring ", "Layer 0 brings ")


def controlled(result: Result, count: int) -> tuple[int, int]:
    """How many of the first layers, `count` or the next more, stand beside random changes, and the hybrid's number."""
    numbers = exchange(result, "base", "random")["numbers"]
    stops = {window["stop"]: window["at"] for window in result["windows"] if window["start"] == 0}
    stop = min(stop for stop, at in stops.items() if stop >= count and at in numbers)
    return stop, stops[stop]


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def opening(result: Result) -> list[str]:
    """The finding, sentence by sentence."""
    sentences = [_gain(result)]
    if has_gain(result):
        sentences += [*_parts(result), _from_below(result), _blocks(result), _positions(result)]
    return [*sentences, *_seeing(result), _interference(result), _form(result)]


def _gain(result: Result) -> str:
    """What there is to bring back, with the picture and without."""
    gain, without = (score(result, (kind, "content"))["gain"] for kind in ("image", "text"))
    right = score(result, ("image", "likeliest"))
    known = "" if has_gain(result) else " Its interval is not above 0, so there is no gain to recover."
    return (
        f"Among the candidates, the tuning made the right answer likelier by {estimate(gain)} nats with the "
        f"picture (n = {gain['n']}) and by {estimate(without)} without; with the picture it is the likeliest "
        f"in {share_of(right['base']['value'])} of samples in the base and in "
        f"{share_of(right['tuned']['value'])} in the tuned model.{known}"
    )


def beside(result: Result, target: str, at: int, place: tuple[str, str] = MAIN) -> str:
    """The share of a hybrid, and what the controls have in its place."""
    source, _ = WAYS[target]
    own = shared(*share_at(exchange(result, target, source, place), at))
    others = [
        f"{CONTROLS[control]} {shared(*share_at(exchange(result, target, control, place), at))}"
        for control in controls_of(result)
    ]
    return f"{own}; {', '.join(others)}"


def _parts(result: Result) -> Iterator[str]:
    """What each part alone brings back, and what the tuned model loses without it."""
    for part in ("connector", "layers"):
        at = result["parts"][part]
        yield (
            f"{_capital(PARTS[part])}, put into the base alone, brought back {beside(result, 'base', at)}. "
            f"Taken from the base, the tuned model lost {beside(result, 'tuned', at)}."
        )


def _from_below(result: Result) -> str:
    """How many of the first layers it takes for half of the gain."""
    depth = exchange(result, "base", "tuned")["half"]
    if (count := half(result)) is None:
        return "From the first layer upwards, no number of layers brings half of the gain back without the connector."
    stop, at = controlled(result, count)
    next_ = "" if stop == count else f"; {layers(0, stop)}, which controls were run of"
    return (
        f"From the first layer upwards, half of the gain is back with {layers(0, count)} "
        f"({_until(result, depth['low'])} to {_until(result, depth['high'])} in redrawn samples){next_}: "
        f"{beside(result, 'base', at)}."
    )


def _until(result: Result, layer: float) -> str:
    return f"layer {number(layer, 0)}" if layer < result["depth"] else "not with all"


def _blocks(result: Result) -> str:
    """Which blocks of layers have the largest and the least share, whatever order they are put in."""
    shares = shapley(result, "base")["share"]
    order = sorted(range(len(shares["value"])), key=lambda block: shares["value"][block])
    least, most = (_block(result, shares, block) for block in (order[0], order[-1]))
    return f"Of the layers, whatever order they are put in, {most}, has most, and {least}, least."


def _block(result: Result, shares: Mapping[str, Any], block: int) -> str:
    inside = result["blocks"][block]
    values = shared(*(shares[name][block] for name in ("value", "low", "high")))
    return f"{layers(inside[0], inside[-1] + 1)}, {values}"


def shapley(result: Result, target: str, place: tuple[str, str] = MAIN) -> Mapping[str, Any]:
    """The shares of the blocks."""
    return next(one for one in result["shapley"] if (one["kind"], one["readout"], one["target"]) == (*place, target))


def within_at(result: Result, part: str, what: str) -> int:
    """The hybrid of a part of layers."""
    number_of: int = next(one["at"] for one in result["within"] if (one["part"], one["what"]) == (part, what))
    return number_of


def _positions(result: Result) -> str:
    """Where the shallow half of the layers acts: at the image tokens, or at the others."""
    at_images, elsewhere = (beside(result, "base", within_at(result, "shallow", what)) for what in ("image", "text"))
    return (
        f"The shallow half of the tuned layers, put into the base at image tokens alone, brought back {at_images}. "
        f"At all other tokens alone: {elsewhere}."
    )


def _of_control(one: Mapping[str, Any], at: int) -> str:
    """The share of a control in a hybrid's place, if it was run there."""
    return shared(*share_at(one, at)) if at in one["numbers"] else NONE


def own_and_other(result: Result, target: str, readout: str = "content") -> Mapping[str, Any] | None:
    """What hybrids change with the own picture and with another; None where there was no other."""
    those = [one for one in result["seeing"] if (one["target"], one["readout"]) == (target, readout)]
    return those[0] if those else None


def _seeing(result: Result) -> Iterator[str]:
    """How much of the gain is left with another's picture."""
    if (one := own_and_other(result, "base")) is not None:
        own, other, apart = (
            within(*share_at(one, result["parts"]["all"], name)) for name in ("own", "other", "seeing")
        )
        yield (
            f"With its own picture the right answer gained {own} nats, with another's, which has another answer, "
            f"{other} (n = {one['n']}): the difference, {apart}, is seeing."
        )


def interfering(result: Result) -> list[Mapping[str, Any]]:
    """The windows that end below both models, on average and in most samples, beyond what so many find by chance."""
    tests = [one for one in result["tests"] if one["test"] == "interference" and is_number(one["holm"])]
    return [one for one in tests if one["holm"] < 0.05 and one["high"] < 0 and one["below"] > one["above"]]


def _interference(result: Result) -> str:
    if not (those := interfering(result)):
        return "No window of layers ends below the worse of both models, beyond what so many tests find by chance."
    worst = min(those, key=lambda one: one["value"])
    return (
        f"Below the worse of both models, so made of layers that do not fit: {counted(len(those), 'hybrid')}. "
        f"Furthest is {WAYS[worst['target']][1]}, {layers(worst['start'], worst['stop'])}, {KINDS[worst['kind']]}: by "
        f"{estimate(worst)} nats (n = {worst['n']})."
    )


def _form(result: Result) -> str:
    """How much of the gain is form."""
    both, form = (score(result, ("image", readout))["gain"] for readout in ("log_p", "format"))
    return (
        f"Of {estimate(both)} nats that the right answer gained in all, {estimate(form)} are format: that any of the "
        "candidates is said at all."
    )


def p_value(value: float | None) -> str:
    """A p to three digits."""
    return "< 0.001" if is_number(value) and value < 0.001 else number(value, 3)


def gain_rows(result: Result) -> Iterator[dict[str, str]]:
    """Every read-out of both models, with the test of its gain."""
    for kind, readout in ((one["kind"], one["readout"]) for one in result["scores"]):
        words, (title, says) = KINDS[kind], READOUTS[readout]
        one = score(result, (kind, readout))
        test = next(
            test
            for test in result["tests"]
            if test["test"] == "gain" and (test["kind"], test["readout"]) == (kind, readout)
        )
        yield {
                "kind": words, "title": title, "says": says, "n": one["gain"]["n"],
                **{name: estimate(one[name]) for name in ("base", "tuned", "gain")}, "p": p_value(test["holm"]),
            }  # fmt: skip


def part_rows(result: Result, place: tuple[str, str]) -> Iterator[dict[str, Any]]:
    """The share of every part alone, both ways, with the controls and the test of the likeliest candidate."""
    for target in WAYS:
        for part, words in PARTS.items():
            yield {"part": words, **_row(result, target, result["parts"][part], place)}


def within_rows(result: Result, place: tuple[str, str]) -> Iterator[dict[str, Any]]:
    """The same of parts of layers."""
    for target in WAYS:
        for one in result["within"]:
            words = f"{PARTS[one['part']]}, {WITHIN[one['what']]}"
            yield {"part": words, **_row(result, target, one["at"], place)}


def _row(result: Result, target: str, at: int, place: tuple[str, str]) -> dict[str, Any]:
    """A hybrid's share, those of the controls in its place, and the test of its answers."""
    source, way = WAYS[target]
    test = answer_test(result, place[0], target, at)
    return {
        "way": way, "n": test["n"],
        "share": shared(*share_at(exchange(result, target, source, place), at)),
        "controls": [_of_control(exchange(result, target, control, place), at) for control in controls_of(result)],
        "answers": f"+{test['gained']}, −{test['lost']}", "p": p_value(test["holm"]),
    }  # fmt: skip


def seeing_rows(result: Result) -> Iterator[dict[str, Any]]:
    """Of every part what it changes with the own picture, with another's, and its share in seeing; both ways."""
    for target, (_, way) in WAYS.items():
        if (one := own_and_other(result, target)) is not None:
            for part, words in PARTS.items():
                at = result["parts"][part]
                changes = {name: within(*share_at(one, at, name)) for name in ("own", "other", "seeing")}
                yield {"way": way, "part": words, "n": one["n"], **changes, "share": shared(*share_at(one, at))}


def answer_test(result: Result, kind: str, target: str, at: int) -> Mapping[str, Any]:
    """McNemar's test of a hybrid and its target."""
    wanted = (kind, target, at)
    return next(
        test
        for test in result["tests"]
        if test["test"] == "likeliest" and (test["kind"], test["target"], test["at"]) == wanted
    )


def window_rows(result: Result, place: tuple[str, str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Every window, with its share both ways."""
    for window in result["windows"]:
        shares = [
            shared(*share_at(exchange(result, target, source, place), window["at"]))
            for target, (source, _) in WAYS.items()
        ]
        yield layers(window["start"], window["stop"]), shares
