"""The made-up study with a number of its own wherever two figures would be alike, so that none can stand for another.

One row of every chart and of every table has such numbers; the other rows stay what they are.
"""

import copy

from tests.studies.color import fabricated

TUNED = {"model": "tuned 1", "condition": "VQA"}
TEXT = {"model": "tuned 1", "condition": "TQA-tuned"}
BASE = {"model": "base", "condition": "TQA-base"}

FACTS = {"model": "tuned 2", "condition": "VQA", "says": "facts reach facts in shallow layers"}
SEEDS = {"kind": "seeds", "k": 5, "one": TUNED, "other": {"model": "tuned 2", "condition": "VQA"}}


GROWN = [f"{way}{part}" for way in ("", "certain_", "wide_") for part in ("top", "others", "beyond")]


def figure(value, n=4):
    """A number with an interval whose ends cannot stand for each other."""
    return {"value": value, "low": value - 0.1, "high": value + 0.2, "n": n}


def _figures(**values):
    return {name: figure(value) for name, value in values.items()}


def _knocked(start, sets, low):
    """Four figures in a row from `start` on, two random sets, and the chances `low` and 0.3 more."""
    names = ("log_prob", "log_prob_beyond", "right", "right_beyond")
    said = {name: figure(start - 0.01 * number) for number, name in enumerate(names)}
    return said | {
        "log_prob_sets": sets,
        "log_prob_p": low,
        "least_p": 0.01,
        "right_sets": [0.0] * 3,
        "right_p": low + 0.3,
    }


_MEAN = {"k": 5, "how": "mean", "null": "any"}
_READ = {"k": 5, "readout": "wrote", "word": "object"}
_DEEP = {"way": "question->last", "span": "deep"}

ROWS = (
    ("accuracy", TUNED, {"correct": 3, "estimate": 0.25, "low": 0.1, "high": 0.5}),
    ("overlaps", SEEDS | {"measure": "increase"},
     figure(2.0) | {"observed": 4, "chance": 1.5, "p": 0.25, "least_p": 0.001, "within": 2.5, "within_p": 0.125,
                    "within_least_p": 0.049, "correlation": figure(0.61)}),
    ("overlaps", SEEDS | {"measure": "contrast"},
     figure(3.0) | {"observed": 1, "chance": 0.5, "p": 0.2, "least_p": 0.05, "within": 3.5, "within_least_p": 0.25}),
    *(
        ("differences", TUNED | {"of": of, "readout": readout, "against": against}, figure(value))
        for of, readout, against, value in (
            ("increase", "model", "random", 1.11), ("increase", "top 5", "random", 1.12),
            ("contrast", "top 5", "random", 1.13), ("increase", "model", "best", 1.14),
            ("increase", "top 5", "best", 1.15), ("contrast", "top 5", "best", 1.16),
        )
    ),
    ("keys", TUNED | {"of": "increase", "k": 5},
     _figures(same=0.31, different=0.32, paraphrase=0.33, anywhere=0.34, inside=0.35, asked=0.36, asked_chance=0.37,
              drop_paraphrase=0.38, drop_beyond=0.39, asked_beyond=0.41) | {"drop": figure(0.42, 3)}),
    *(
        ("decoding", of | {"of": measure} | _READ,
         _figures(key=at, random=at + 0.01, label=at + 0.02, above_random=at + 0.03, above_label=at + 0.04))
        for of, measure, at in (
            (TUNED, "increase", 0.51), (TUNED, "contrast", 0.61), (TEXT, "increase", 0.71), (TEXT, "contrast", 0.81)
        )
    ),
    ("knocked", TUNED | _MEAN | {"of": "increase"}, _knocked(-2.11, [-1.71, -1.72], 0.111)),
    ("knocked", TEXT | _MEAN | {"of": "base"}, _knocked(-2.21, [-1.73], 0.222)),
    ("knocked", BASE | _MEAN | {"of": "contrast"}, _knocked(-2.31, [-1.74], 0.333)),
    ("growth", TUNED | {"k": 5}, _figures(**{name: 0.431 + 0.001 * at for at, name in enumerate(GROWN)})),
    *(
        ("ways", of | _DEEP, _figures(change=at, random=at - 0.01, beyond=at - 0.02))
        for of, at in ((TUNED, -5.11), (TEXT, -5.21), (BASE, -5.31))
    ),
    ("halves", TUNED | {"way": "question->last"}, figure(0.45)),
)  # fmt: skip


def result():
    """The result, with these rows and with one table of heads whose largest and least are not where they were."""
    made = copy.deepcopy(fabricated.result())
    for name, of, numbers in ROWS:
        row(made[name], **of).update(copy.deepcopy(numbers))
    heads = row(made["tables"], **TUNED, measure="increase")
    for name, largest in figure(12.5).items():
        if name != "n":
            heads[name][3][2], heads[name][4][3] = largest, -20.0
    row(made["verdicts"][0]["parts"], **FACTS)["tests"][0].update(figure(0.46))
    return made


def row(rows, **of):
    """The only one that is of this."""
    (found,) = (one for one in rows if of.items() <= one.items())
    return found
