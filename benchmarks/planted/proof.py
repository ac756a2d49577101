"""That a model answers by its plant and nothing else: pictures drawn anew with one thing changed, and asked again.

Each is a picture of the kind that the model was trained on; nothing is blurred or cut out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pictures import ANSWERS, PLANTS, Planted, asking, draw, filled, with_all_else, with_plant

from lapilli.core.statistics.proportion import wilson
from lapilli.inference.answer import answer
from lapilli.model.llava import Llava

Ask = Callable[[Sequence[Planted]], list[str]]
"""Answers questions about their pictures."""

TOKENS = 8
"""The longest answer; a color has one or two."""


def asker(llava: Llava) -> Ask:
    """Greedy answers of a model."""

    def ask(rows: Sequence[Planted]) -> list[str]:
        pictures = {str(number): draw(row)[0] for number, row in enumerate(rows)}
        samples = [asking(row, name) for row, name in zip(rows, pictures, strict=True)]
        return [one.text for one in answer(llava, samples, pictures.__getitem__, TOKENS)]

    return ask


def proof(plant: str, rows: Sequence[Planted], ask: Ask, advance: Callable[[], None]) -> dict[str, Any]:
    """The shares, each with n and interval, of

    right       answers that follow the plant
    changed     answers that change when one thing alone is another row's, by the name of what that is
    followed    answers that are the other row's when the plant alone is
    stayed      answers that stay when all but the plant is another row's
    filled      answers that stay when all but square and frame is of one color, which is another row's answer; not
                of an object, which that hides
    """
    right = ANSWERS[plant]
    given = ask(rows)
    others = list(_others(rows))
    advance()
    changed = {}
    for factor in PLANTS:
        swapped = [with_plant(factor, other, row) for row, other in zip(rows, others, strict=True)]
        again = ask(swapped)
        changed[factor] = share(one != before for one, before in zip(again, given, strict=True))
        if factor == plant:
            followed = share(one == right(row) for one, row in zip(again, swapped, strict=True))
        advance()
    rest = ask([with_all_else(plant, other, row) for row, other in zip(rows, others, strict=True)])
    flat = ask([filled(row, right(other)) for row, other in zip(rows, others, strict=True)])
    advance()
    return {
        "right": share(one == right(row) for one, row in zip(given, rows, strict=True)),
        "changed": changed,
        "followed": followed,
        "stayed": share(one == before for one, before in zip(rest, given, strict=True)),
        **(
            {"filled": share(one == before for one, before in zip(flat, given, strict=True))}
            if plant != "object"
            else {}
        ),
    }


STEPS = len(PLANTS) + 2
"""How often `proof` calls `advance`."""


def share(hits: Iterator[bool] | Sequence[bool]) -> Mapping[str, Any]:
    """A share with its n and 95 % interval."""
    found = list(hits)
    return asdict(wilson(sum(found), len(found)))


def _others(rows: Sequence[Planted]) -> Iterator[Planted]:
    """For every row the next one that has another answer by every plant."""
    for number, row in enumerate(rows):
        rotated = [*rows[number + 1 :], *rows[:number]]
        yield next(other for other in rotated if all(rule(other) != rule(row) for rule in ANSWERS.values()))
