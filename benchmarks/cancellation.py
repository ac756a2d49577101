"""From which condition number on is a map's order no better than chance? Prints JSON.

    python benchmarks/cancellation.py MODEL DATA [--questions 120] [--seed 0] [--json FILE]

MODEL is a quickstart's, DATA a folder of its scenes, such as runs/quickstart/data/held_out. Questions are spread evenly
over DATA; the right answer is given, and its word that a blurred picture costs most is explained, where that costs at
least half a nat. Of each of explain's three maps:

condition   its condition number, the sum of its patches' sizes over the size of their sum: quantiles over words
gap         insertion less deletion under blur and read-knockout, in the map's order (0 for a random one), with 95 %
            intervals: of all words, and of thirds of them by the condition number
rank        Spearman's correlation of condition number and gap over words, with a bootstrap interval
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.stats import spearmanr

from lapilli.cli.console import messages
from lapilli.core.files import write_atomically
from lapilli.core.statistics.bootstrap import mean, resampled
from lapilli.data.pictures import open_picture
from lapilli.data.questions import PictureQuestion, read_picture_questions
from lapilli.inspection.all_paths import all_paths
from lapilli.inspection.contrast import answered
from lapilli.inspection.direct import decompose
from lapilli.inspection.scorecard.case import Case, case_of
from lapilli.inspection.scorecard.curves import Sets, drawn, gone, orders
from lapilli.inspection.scorecard.operators import chosen
from lapilli.inspection.sources import condition_number
from lapilli.model.llava import Llava, load

OPERATORS = ("blur", "knockout")
POINTS = 13  # of a curve: of 36 patches, every third
LEAST = 0.5  # nats that a word loses in a blurred picture: of others no map is a reason


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--questions", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    llava, questions = load(options.model), read_picture_questions(options.data)
    spread = [questions[at] for at in np.linspace(0, len(questions) - 1, options.questions).astype(int)]
    words = [word_of(llava, one, options.data / "images", options.seed) for one in progress(spread)]
    told = [word for word in words if word]
    found = {"words": len(told)} | {name: figures([word[name] for word in told], options.seed) for name in told[0]}
    print(json.dumps(found, indent=1))
    if options.json:
        write_atomically(options.json, json.dumps(found | {"each": told}, indent=1) + "\n")


def progress(questions: list[PictureQuestion]) -> Any:
    """The questions, with a bar."""
    return track(questions, "questions", console=messages)


def word_of(llava: Llava, question: PictureQuestion, images: Path, seed: int) -> dict[str, dict[str, float]]:
    """The condition number and the gaps of every map of a question's word; nothing of a word that needs no picture."""
    picture = open_picture(images, question.image)
    case = case_of(llava, question.sample, answered(llava, question.sample, question.answer), picture, picture, seed)
    if case.visual < LEAST:
        return {}
    maps = maps_of(case)
    gaps = gaps_of(case, list(maps.values()))
    return {
        name: {"condition": float(condition_number(values)), **dict(zip(OPERATORS, map(float, gap), strict=True))}
        for (name, values), gap in zip(maps.items(), gaps, strict=True)
    }


def maps_of(case: Case) -> dict[str, NDArray[np.float64]]:
    """The maps of the key word that explain shows, (patch,) each."""
    trace = case.trace
    paths = all_paths(trace.llava, trace.ids, trace.layout, case.pixels, case.rows, case.target)
    assert paths.cells is not None
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
        numbers.append({"morf": sets.add(gone(order, POINTS)), "lerf": sets.add(gone(order[::-1], POINTS))})
    left = [operator(case, sets.unique).log_prob for operator in chosen(OPERATORS).values()]
    return np.array([[drawn(both, log_prob).gap for log_prob in left] for both in numbers])


def figures(words: list[dict[str, float]], seed: int) -> dict[str, Any]:
    """What the words of one map come to."""
    conditions = np.array([word["condition"] for word in words])
    thirds = np.array_split(np.argsort(conditions), 3)
    found: dict[str, Any] = {"condition": dict(zip(("5 %", "50 %", "95 %"), quantiles(conditions), strict=True))}
    for name in OPERATORS:
        gaps = np.array([word[name] for word in words])

        def rank(at: NDArray[np.intp], gaps: NDArray[np.float64] = gaps) -> float:
            return float(spearmanr(conditions[at], gaps[at]).statistic)

        found[name] = {
            "gap": asdict(mean(gaps, seed)),
            "by condition": [
                {"from": conditions[some].min(), "to": conditions[some].max(), **asdict(mean(gaps[some], seed))}
                for some in thirds
            ],
            "rank": asdict(resampled(rank, len(gaps), seed)),
        }
    return found


def quantiles(values: NDArray[np.float64]) -> list[float]:
    """Of 5, 50 and 95 in 100."""
    return [float(value) for value in np.quantile(values, [0.05, 0.5, 0.95])]


if __name__ == "__main__":
    main()
