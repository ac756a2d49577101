"""From which condition number on is a map's order no better than chance? Prints JSON.

    python benchmarks/cancellation.py MODEL DATA [--questions 400] [--each 40] [--seed 0] [--json FILE]

MODEL is a quickstart's, DATA a folder of its scenes, such as runs/quickstart/data/held_out. Questions are spread evenly
over DATA; the right answer is given, and its word that a blurred picture costs most is explained, where that costs at
least half a nat. Words are binned by the condition number of the map to the pixels, the sum of its patches' sizes over
the size of their sum; of each bin the first `--each` are measured. Of every map that explain shows:

condition   the condition numbers of all words, measured or not: quantiles
gap         insertion less deletion in the map's order under blur and read-knockout, 0 for a random order, of the words
            in each bin of the map's own condition number; with a 95 % interval
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from lapilli.cli.console import messages
from lapilli.core.files import write_atomically
from lapilli.core.statistics.bootstrap import mean
from lapilli.data.pictures import open_picture
from lapilli.data.questions import PictureQuestion, read_picture_questions
from lapilli.inspection.attribution.all_paths import all_paths
from lapilli.inspection.attribution.direct import decompose
from lapilli.inspection.attribution.sources import condition_number
from lapilli.inspection.recording import answered
from lapilli.model.llava import Llava, load
from lapilli.studies.scorecard.case import Case, case_of
from lapilli.studies.scorecard.curves import Sets, curves_of, orders, removed_sets
from lapilli.studies.scorecard.operators import chosen

Word: TypeAlias = dict[str, dict[str, float]]  # by map: its condition number and, once measured, its gaps

BINS = (1.0, 1.2, 1.5, 2.0, 4.0, np.inf)
OPERATORS = ("blur", "knockout")
POINTS = 13  # of a curve: of 36 patches, every third
LEAST = 0.5  # nats that a word loses in a blurred picture: of others no map is a reason


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--each", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="a file for the figures, and for every word's")
    options = parser.parse_args()
    llava, questions = load(options.model), read_picture_questions(options.data)
    spread = [questions[at] for at in np.linspace(0, len(questions) - 1, options.questions).astype(int)]
    words: list[Word] = []
    filled: Counter[int] = Counter()
    for question in track(spread, "questions", console=messages):
        case = case_about(llava, question, options.data / "images", options.seed)
        if case.visual >= LEAST:
            words.append(word_of(case, filled, options.each))
    found = {"words": len(words)} | {name: figures([word[name] for word in words], options.seed) for name in words[0]}
    print(json.dumps(found, indent=1))
    if options.json:
        write_atomically(options.json, json.dumps(found | {"each": words}, indent=1) + "\n")


def case_about(llava: Llava, question: PictureQuestion, images: Path, seed: int) -> Case:
    """A question with its right answer."""
    picture = open_picture(images, question.image)
    encoded = answered(llava, question.sample, question.answer)
    return case_of(llava, question.sample, encoded, picture=picture, other=picture, seed=seed)


def word_of(case: Case, filled: Counter[int], each: int) -> Word:
    """The condition number of every map of a case's word, and its gaps unless its bin has been filled already."""
    maps = maps_of(case)
    word = {name: {"condition": float(condition_number(values))} for name, values in maps.items()}
    at = bin_of(word["pixels"]["condition"])
    if filled[at] < each:
        filled[at] += 1
        for name, gaps in zip(maps, gaps_of(case, list(maps.values())), strict=True):
            word[name] |= dict(zip(OPERATORS, map(float, gaps), strict=True))
    return word


def bin_of(number: float) -> int:
    """Of BINS, from 0; rounding may leave a number below 1."""
    return int(np.searchsorted(BINS[1:-1], number, side="right"))


def maps_of(case: Case) -> dict[str, NDArray[np.float64]]:
    """The maps of the key word that explain shows, (patch,) each."""
    trace = case.trace
    paths = all_paths(trace.llava, trace.ids, trace.layout, case.pixels, case.queries, case.target)
    assert paths.cells is not None  # there is a picture
    return {
        "direct": decompose(trace, case.target).positions[case.word][:, case.patches].sum(0),
        "all paths": paths.positions[:, case.patches].sum(0),
        "pixels": paths.cells.sum((0, 1)).ravel(),
    }


def gaps_of(case: Case, maps: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Insertion less deletion of every map under every operator, (map, operator)."""
    sets, rng = Sets(), case.random()
    numbers = []
    for values in maps:
        order = orders(values, rng)[0]
        numbers.append(
            {"morf": sets.add(removed_sets(order, POINTS)), "lerf": sets.add(removed_sets(order[::-1], POINTS))}
        )
    left = [operator(case, sets.unique).log_prob for operator in chosen(OPERATORS).values()]
    return np.array([[curves_of(both, log_prob).gap for log_prob in left] for both in numbers])


def figures(words: Sequence[dict[str, float]], seed: int) -> dict[str, Any]:
    """What the words of one map come to."""
    conditions = [word["condition"] for word in words]
    bins = [
        [word for word in words if bin_of(word["condition"]) == at and "blur" in word] for at in range(len(BINS) - 1)
    ]
    return {
        "condition": dict(
            zip(("5 %", "50 %", "95 %"), np.quantile(conditions, [0.05, 0.5, 0.95]).tolist(), strict=True)
        ),
        "gap": [
            {"from": BINS[at], **{name: asdict(mean([word[name] for word in some], seed)) for name in OPERATORS}}
            for at, some in enumerate(bins)
            if some
        ],
    }


if __name__ == "__main__":
    main()
