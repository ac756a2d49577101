"""Numbers as text on this page, and the findings of a scorecard: above all where our methods lose."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lapilli.core.statistics.ranks import least_signed_rank_p
from lapilli.report.kit import figures
from lapilli.report.kit.figures import THIN
from lapilli.report.scorecard.card import GAP, Card, Figure, Method, bounded, number

SIGNIFICANT = 0.05

FEW = 30
"""The least number of questions: bootstrap intervals of fewer are too narrow."""

NARROW = f"With fewer than {FEW} questions intervals are too narrow: even a random map may seem to differ from chance."

OLDER = (
    "This scorecard does not compare our best on questions that it was not chosen on: whether others are ahead of ours "
    "is not said here. One that an older version made can be measured again, into another folder."
)


def narrow(questions: int | None, compared: int | None) -> str:
    """The warning about few questions, in all or among those that our best is compared on; "" for enough."""
    if questions is not None and questions < FEW:
        return NARROW
    if compared is not None and compared < FEW:
        return f"Our best is compared on {compared} questions alone: with fewer than {FEW} intervals are too narrow."
    return ""


_SMALL = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve")


def plain(value: float | None, sign: bool = False) -> str:
    """Two decimals below 10, fewer above; see figures.number."""
    size = abs(value or 0.0)
    return figures.number(value, 2 if size < 9.995 else 1 if size < 99.95 else 0, sign)


def spread(low: float, high: float) -> str:
    """An interval: -0.02, 0.03 -> −0.02 to 0.03."""
    return f"{plain(low)} to {plain(high)}"


def interval(figure: Figure) -> str:
    """The interval of a figure; "" where there are too few samples for one."""
    return spread(figure.low, figure.high) if figure.has_interval else ""


def with_interval(figure: Figure | None) -> str:
    """A figure with its interval in words, if it has one."""
    if figure is None:
        return "not measured"
    return f"{plain(figure.value)} ({interval(figure)})" if figure.has_interval else plain(figure.value)


def ticks(values: Sequence[float], sign: bool = False) -> list[str]:
    """The labels of an axis, with as many decimals as their step needs, at least two: 0, 0.025 -> 0.000, 0.025."""
    digits = max([2, *(len(f"{value:.10f}".rstrip("0").partition(".")[2]) for value in values)])
    return [figures.number(value, digits, sign) for value in values]


def signed(value: float) -> str:
    """A difference: 0.031 -> +0.03."""
    return plain(value, sign=True)


def span(seconds: float, whole: bool = False) -> str:
    """0.00002 -> 20 µs, 0.0213 -> 21 ms, 2.74 -> 2.7 s, 95 -> 95 s, 200 -> 3.3 min; `whole` leaves out a final .0."""
    for size, unit in ((60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= 0.9995 * size * (1 if size < 60 else 2):
            text = f"{seconds / size:.{1 if seconds / size < 9.95 else 0}f}"
            return f"{text.removesuffix('.0') if whole else text}{THIN}{unit}"
    return f"0{THIN}s"


def passes(count: float | None) -> str:
    """Whole numbers as they are, others with one decimal."""
    if count is None:
        return figures.NONE
    return f"{count:,.0f}" if float(count).is_integer() or count >= 100 else f"{count:.1f}"


def counted(count: int, noun: str) -> str:
    """1, method -> One method; 3 -> Three methods; 40 -> 40 methods."""
    text = _SMALL[count] if count < len(_SMALL) else str(count)
    return f"{text} {noun}{'' if count == 1 else 's'}"


@dataclass(frozen=True)
class Loss:
    """Another method whose mean is above our best's under an operator.

    ahead        the difference of the means
    significant  whether the paired test, adjusted for all tests, puts it above as well
    own          whether the operator is the method's own
    """

    operator: str
    ours: str
    other: str
    ahead: Figure
    significant: bool
    own: bool


def losses(card: Card) -> list[Loss] | None:
    """The losses of our best, the primary operator first and within each the largest first; None if not tested.

    `ahead` is positive for every loss, whatever the sign in the scorecard. A scorecard without `best` is an older one,
    whose losses are on the questions that our best was chosen on.
    """
    if card.raw.get("losses") is None or card.raw.get("best") is None:
        return None
    order = [card.primary, *(name for name, _ in card.operators if name != card.primary)]
    owners = {method.name: method.operators for method in card.methods}
    ahead = [_loss(row, owners) for row in card.rows("losses")]
    return sorted(ahead, key=lambda loss: (_place(order, loss.operator), -loss.ahead.value))


def _place(order: list[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _loss(row: Mapping[str, Any], owners: Mapping[str, Sequence[str]]) -> Loss:
    operator, other = str(row.get("operator") or ""), str(row["other"])
    difference = number(row.get("difference")) or 0.0
    sign = math.copysign(1.0, difference)
    ends = [sign * end for key in ("low", "high") if (end := number(row.get(key))) is not None]
    low, high = sorted(ends) if len(ends) == 2 else (None, None)
    ahead = bounded(abs(difference), low, high, row.get("n"))
    significant = (
        verdict({**row, "difference": -abs(difference)}) == "down"
    )  # with the sign of a test: ours less theirs
    own = operator in owners.get(other, ())
    return Loss(operator, str(row["ours"]), other, ahead=ahead, significant=significant, own=own)


def rivals(card: Card) -> list[Method]:
    """The other methods with a primary gap, which our best is compared with."""
    return [m for m in card.ranked() if not (m.ours or m.released) and card.score(m.name)]


def best_tests(card: Card) -> list[Mapping[str, Any]]:
    """The paired tests of our best with the others under the primary operator."""
    return [row for row in card.rows("best_tests") if row.get("operator") == card.primary] if card.best else []


def strongest(card: Card) -> tuple[str, float] | None:
    """The rival with the largest gap, and that gap, on the questions that our best is compared on."""
    names = {method.name for method in rivals(card)}
    ahead = {str(row["other"]): -(number(row.get("difference")) or 0.0) for row in best_tests(card)}
    name = max((name for name in ahead if name in names), key=ahead.__getitem__, default=None)
    return (name, card.best.gap.value + ahead[name]) if card.best and name else None


def standing(card: Card, lost: Sequence[Loss]) -> dict[str, str]:
    """The verdict of the paired test for our best against each rival under the primary operator: up, down or even.

    The tests are on the questions that our best was not chosen on. A rival without a test is left out.
    """
    names = {method.name for method in rivals(card)}
    sides = {str(row["other"]): verdict(row) for row in best_tests(card) if row["other"] in names}
    own = [loss for loss in lost if loss.operator == card.primary]
    sides |= {loss.other: "down" if loss.significant else "even" for loss in own}
    return {other: side for other, side in sides.items() if side}


def untestable(card: Card) -> str:
    """That the paired tests cannot tell any method from our best, whatever the gaps are; "" where they can.

    That is so where the smallest p that they can come to, for all of them together (Holm), is not significant.
    """
    rows = best_tests(card)
    counts = [int(n) for row in rows if (n := number(row.get("n"))) is not None]
    if not counts or len(rows) * least_signed_rank_p(min(counts)) < SIGNIFICANT:
        return ""
    return f"Cannot be tested: too few questions ({figures.whole(min(counts))} to compare on)."


def headline(card: Card) -> str:
    """The page's first line: whether the paired test puts others above our best, below it, or neither, or cannot."""
    lost = losses(card)
    if card.best is None:
        scored = any(method.ours and card.score(method.name) for method in card.methods)
        if scored and card.raw.get("best") is None:
            return "Not tested against each other."
        return f"None of ours is held out under {card.primary}." if scored else "None of our own methods was scored."
    if lost is None:
        return "Not tested against each other."
    if few := untestable(card):
        return few
    sides = standing(card, lost)
    above, even = ([other for other, verdict in sides.items() if verdict == side] for side in ("down", "even"))
    if above:
        return f"{counted(len(above), 'method')} {'is' if len(above) == 1 else 'are'} more faithful than ours."
    if all(method.family == "floor" for method in rivals(card)):
        return "Ours, beside floors alone."
    if even:
        return f"Ours is not told apart from {even[0] if len(even) == 1 else f'{len(even)} others'}."
    if any(loss.significant for loss in lost):
        return "Ours loses under another operator."
    return "Ours is more faithful than every other." if sides else "None is measurably more faithful than ours."


def price(card: Card, lost: list[Loss]) -> str:
    """The costs of the methods above our best under the primary operator; those that are faster too are named."""
    costs = {method.name: method.seconds.value for method in card.methods if method.seconds}
    ours = costs.get(card.best.method.name, 0.0) if card.best else 0.0
    above = [loss.other for loss in lost if loss.operator == card.primary and loss.significant]
    ahead = [other for other in above if other in costs]
    factors = {other: costs[other] / ours for other in ahead if ours > 0}
    faster = [name for name, factor in factors.items() if factor < 1]
    slower = sorted(factor for factor in factors.values() if factor >= 1)
    sentences = [f"Faster than ours as well: {', '.join(faster)}."] if faster else []
    if slower:
        ends = list(dict.fromkeys(_times(factor) for factor in (slower[0], slower[-1])))
        who = "The others take" if faster else "It takes" if len(slower) == 1 else "They take"
        sentences.append(f"{who} {' to '.join(ends)} times as long per map ({span(ours)} for ours).")
    return " ".join(sentences)


def _times(factor: float) -> str:
    return f"{factor:,.0f}" if factor >= 9.5 else f"{factor:.1f}"


def against_random(card: Card) -> dict[tuple[str, str], Mapping[str, Any]]:
    """The tests of the gap against the random map: by (method, operator)."""
    tests = {}
    for row in card.rows("tests"):
        if row.get("other") == "random" and row.get("metric", GAP) == GAP:
            tests[(str(row["one"]), str(row.get("operator")))] = row
    return tests


def verdict(row: Mapping[str, Any] | None) -> str:
    """The verdict of a paired test, adjusted for all tests: up, down or even; "" without a test.

    The test is of ranks: where most cases favour one method and the mean the other, they are even.
    """
    difference, adjusted, wins = (number(row.get(key)) if row else None for key in ("difference", "holm", "wins"))
    if difference is None or adjusted is None:
        return ""
    torn = wins is not None and (wins - 0.5) * difference < 0
    return "even" if adjusted >= SIGNIFICANT or torn else "up" if difference > 0 else "down"
