"""Do the patches that a map names matter, and those of a shuffled map? Receipts of rightly answered color questions.

    python benchmarks/receipts.py MODEL DATA [--questions 200] [--controls 20] [--seed 0]

MODEL is a quickstart's, DATA a folder of its scenes, such as runs/quickstart/data/held_out. Prints JSON. By both ways
of removing the eighth of the patches that a map names, of both maps, and of both with their values shuffled over the
patches:

confirmed   the share of receipts whose change lies beyond all controls on the predicted side, whatever its size
opposite    the same on the other side
sized       of those confirmed, how many changes are less than half of the predicted one, within a factor of 2, more
apart       the share of questions where the answer's log-probability falls by more than it does for random patches, and
            by more than a new random removal would in 95 of 100 cases (Student's prediction interval of the difference
            is apart from 0); also of the target, the centred logit; and apart of the questions whose color no other
            thing in the picture has

and of the maps that are not shuffled

otherwise   the share of answers that are no longer the likeliest
difference  the mean change of the log-probability, less that of random patches, in nats
slope       the measured change of the target over the predicted one, by least squares through 0
correlation of the two
removed     the share of the controls that `lapilli explain` removes before the verdicts are settled
as_all      whether its verdicts are those of all controls

Shares, means, the slope and the correlation have their n and a 95 % interval.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from lapilli.cli.console import steps
from lapilli.core.statistics.bootstrap import mean, resampled
from lapilli.core.statistics.proportion import wilson
from lapilli.data.pictures import open_picture
from lapilli.data.questions import PictureQuestion, read_picture_questions, same_answer
from lapilli.data.scenes.facts import read_scenes
from lapilli.inference.answer import answer
from lapilli.inspection.answer_words import answer_text, answer_words
from lapilli.inspection.attribution.all_paths import all_paths
from lapilli.inspection.attribution.direct import decompose
from lapilli.inspection.intervention.receipt import Changes, Claim, Receipt
from lapilli.inspection.recording import recording
from lapilli.inspection.target import Target
from lapilli.model.llava import Llava, load
from lapilli.studies.explain.findings import REMOVALS, TracedPicture

SIZES = ("confirmed-but-smaller", "confirmed", "confirmed-but-larger")


@dataclass(frozen=True)
class Case:
    """One receipt with all its controls, and the one that `lapilli explain` makes; both of one question.

    `only` is whether the answer's color is that of one thing alone.
    """

    only: bool
    receipt: Receipt
    stopped: Receipt


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--controls", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begun = time.perf_counter()
    llava, colors = load(options.model), _colors(options.data)
    asked = color_questions(options.data, options.questions)
    found: dict[str, list[Case]] = defaultdict(list)
    correct = []
    with steps() as progress:
        for number, question in enumerate(asked):
            progress("questions", number, len(asked))
            only = colors[question.image].count(question.answer) == 1
            cases = list(cases_of(llava, question, options.data, only, options.controls, options.seed + number))
            correct.append(bool(cases))
            for case in cases:
                found[f"{case.receipt.map}, {case.receipt.kind}"].append(case)
    figures = {way: figures_of(cases) for way, cases in found.items()}
    print(json.dumps({"right": share(correct), "seconds": time.perf_counter() - begun, **figures}, indent=1))


def color_questions(data: Path, count: int) -> list[PictureQuestion]:
    """The first so many questions about the color of a thing, with their answers."""
    return [question for question in read_picture_questions(data) if question.type == "color"][:count]


def _colors(data: Path) -> dict[str, list[str]]:
    """The colors of the things in every picture, by its name."""
    return {image: [thing.color for thing in scene.things] for image, scene in read_scenes(data).items()}


def cases_of(
    llava: Llava, question: PictureQuestion, data: Path, only: bool, controls: int, seed: int
) -> Iterator[Case]:
    """Both maps' receipts of an answer's first word, by every way of removing; none of a wrong answer."""
    picture = open_picture(data / "images", question.image)
    with recording(llava, whole=True) as record:
        (given,) = answer(llava, [question.sample], lambda name: picture)
    trace = record.trace(given.ids, given.layout)
    if not same_answer(answer_text(trace), question.answer):
        return
    target, pixels = Target(), llava.pixels([picture])
    patches, word = trace.layout.patches(0).ravel(), slice(*answer_words(trace)[1][0])
    paths = all_paths(llava, trace.ids, trace.layout, pixels, trace.queries, target, to_pixels=False)
    maps = {"direct": decompose(trace, target).positions, "all paths": paths.positions}
    claims = [Claim(name, values[word][:, patches].sum(0), word) for name, values in maps.items()]
    shown = TracedPicture(trace, llava.pixels.view(picture), pixels, target)
    for claim in claims:
        for kind in REMOVALS:
            every, stopped = (shown.receipt(claim, kind, None, controls, seed, whole) for whole in (True, False))
            yield Case(only, every, stopped)


def figures_of(cases: Sequence[Case]) -> dict[str, Any]:
    """What receipts of one map and one way of removing come to, beside those of the shuffled map."""
    receipts = [case.receipt for case in cases]
    differences = [receipt.log_prob.claimed - np.mean(receipt.log_prob.controls) for receipt in receipts]
    predicted = np.array([receipt.predicted for receipt in receipts])
    measured = np.array([receipt.target.claimed for receipt in receipts])

    def slope(chosen: NDArray[np.intp]) -> float:
        return float((predicted * measured)[chosen].sum() / (predicted[chosen] ** 2).sum())

    def correlation(chosen: NDArray[np.intp]) -> float:
        return float(np.corrcoef(predicted[chosen], measured[chosen])[0, 1])

    return {
        **verdicts_of([receipt.verdict for receipt in receipts]),
        **apart_of(cases, shuffled=False),
        "shuffled": {
            **verdicts_of([receipt.shuffled_verdict for receipt in receipts]),
            **apart_of(cases, shuffled=True),
        },
        "otherwise": share([receipt.texts[0] != receipt.texts[1] for receipt in receipts]),
        "difference": asdict(mean(differences)),
        "slope": asdict(resampled(slope, len(receipts))),
        "correlation": asdict(resampled(correlation, len(receipts))),
        "removed": asdict(mean([len(case.stopped.target.controls) / case.stopped.control_count for case in cases])),
        "as_all": share([verdicts(case.stopped) == verdicts(case.receipt) for case in cases]),
    }


def verdicts(receipt: Receipt) -> tuple[str, str]:
    """Of the map and of the shuffled one."""
    return receipt.verdict, receipt.shuffled_verdict


def verdicts_of(found: Sequence[str]) -> dict[str, Any]:
    """Both parts of verdicts: whether an effect is confirmed, and of what size."""
    return {
        "confirmed": share([verdict in SIZES for verdict in found]),
        "opposite": share([verdict == "opposite" for verdict in found]),
        "sized": {size: found.count(size) for size in SIZES},
    }


def apart_of(cases: Sequence[Case], shuffled: bool) -> dict[str, Any]:
    """The shares of changes that are apart from those of random removals."""
    by_log_prob = [is_apart(case.receipt.log_prob, shuffled) for case in cases]
    return {
        "apart": share(by_log_prob),
        "apart, target": share([is_apart(case.receipt.target, shuffled) for case in cases]),
        "apart, only thing of its color": share([a for a, case in zip(by_log_prob, cases, strict=True) if case.only]),
        "apart, others of its color": share([a for a, case in zip(by_log_prob, cases, strict=True) if not case.only]),
    }


def is_apart(found: Changes, shuffled: bool) -> bool:
    """Whether removing the patches of a map lowers more than removing a new random set would."""
    controls, change = np.array(found.controls), found.shuffled if shuffled else found.claimed
    spread = controls.std(ddof=1) * np.sqrt(1 + 1 / len(controls)) * student.ppf(0.975, len(controls) - 1)
    return bool(change - controls.mean() < -spread)


def share(hits: Sequence[bool]) -> dict[str, Any]:
    """A share with its n and interval."""
    return asdict(wilson(sum(hits), len(hits)))


if __name__ == "__main__":
    main()
