"""Do the patches that a map names matter? Receipts of every correctly answered colour question; prints JSON.

    python benchmarks/receipts.py MODEL DATA [--questions 200] [--controls 20] [--seed 0]

MODEL is a quickstart's, DATA a folder of its scenes, such as runs/quickstart/data/held_out. Of both maps, by both ways
of removing the eighth of the patches that they name:

apart       the share of questions where the answer's log-probability falls by more than it does for random patches, and
            by more than a new random removal would in 95 of 100 cases (Student's prediction interval of the difference
            is apart from 0); also of the target, the centred logit; and apart of the questions whose colour no other
            thing in the picture has
verdicts    of the receipts, counted; they speak of the target, which the map predicts
otherwise   the share of answers that are no longer the likeliest
difference  the mean change of the log-probability, less that of random patches, in nats, with a bootstrap interval
slope       the measured change of the target over the predicted one, by least squares through 0

Shares have their n and a 95 % interval.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track
from scipy.stats import t as student

from lapilli.cli.console import messages
from lapilli.core.statistics.proportion import wilson
from lapilli.core.template import IMAGE_MARK
from lapilli.data.pictures import open_picture
from lapilli.data.sample import Sample, Turn
from lapilli.inference.answer import answer
from lapilli.inspection.all_paths import all_paths
from lapilli.inspection.direct import decompose
from lapilli.inspection.explain import Shown, answer_text, answer_words
from lapilli.inspection.receipt import Changes, Claim, Receipt
from lapilli.inspection.recording import recording
from lapilli.inspection.target import Target
from lapilli.model.llava import Llava, load


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
    llava, asked = load(options.model), colour_questions(options.data, options.questions)
    colours = colours_of(options.data)
    found: dict[str, list[tuple[bool, Receipt]]] = {}
    correct = []
    for question in track(asked, "questions", console=messages):
        receipts = receipts_of(llava, question, options.data / "images", options.controls, options.seed)
        correct.append(bool(receipts))
        only = colours[question["image"]].count(question["answer"]) == 1
        for receipt in receipts:
            found.setdefault(f"{receipt.map}, {receipt.kind}", []).append((only, receipt))
    figures = {way: figures_of(receipts, options.seed) for way, receipts in found.items()}
    right = share(correct)
    print(json.dumps({"answered_right": right, "seconds": time.perf_counter() - begun, **figures}, indent=1))


def colour_questions(data: Path, count: int) -> list[dict[str, str]]:
    """The first so many questions about the colour of a thing, with their answers."""
    lines = (data / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [question for question in map(json.loads, lines) if question["type"] == "colour"][:count]


def colours_of(data: Path) -> dict[str, list[str]]:
    """The colours of the things in every picture, by its name."""
    lines = (data / "scenes.jsonl").read_text(encoding="utf-8").splitlines()
    return {scene["image"]: [thing["colour"] for thing in scene["things"]] for scene in map(json.loads, lines)}


def receipts_of(llava: Llava, question: dict[str, str], images: Path, controls: int, seed: int) -> list[Receipt]:
    """The receipts of an answer's first word; none of a wrong answer."""
    picture = open_picture(images, question["image"])
    sample = Sample(question["id"], (question["image"],), (Turn("user", f"{IMAGE_MARK}\n{question['question']}"),))
    with recording(llava, whole=True) as record:
        (given,) = answer(llava, [sample], lambda name: picture)
    trace = record.trace(given.ids, given.layout)
    if answer_text(trace) != question["answer"]:
        return []
    target, pixels = Target(), llava.pixels([picture])
    patches, word = trace.layout.patches(0).ravel(), slice(*answer_words(trace)[1][0])
    paths = all_paths(llava, trace.ids, trace.layout, pixels, trace.rows, target, to_pixels=False)
    maps = {"direct": decompose(trace, target).positions, "all paths": paths.positions}
    claims = [Claim(name, values[word][:, patches].sum(0), word) for name, values in maps.items()]
    return Shown(trace, llava.pixels.view(picture), pixels, target).receipts(claims, None, controls, seed)


def figures_of(found: Sequence[tuple[bool, Receipt]], seed: int) -> dict[str, Any]:
    """What receipts of one map and one way of removing come to; each with whether its colour is the only one."""
    receipts = [receipt for _, receipt in found]
    differences = np.array([receipt.log_prob.named - np.mean(receipt.log_prob.controls) for receipt in receipts])
    draws = np.random.default_rng(seed).integers(0, len(differences), (10_000, len(differences)))
    low, high = np.quantile(differences[draws].mean(1), [0.025, 0.975])
    predicted = np.array([receipt.predicted for receipt in receipts])
    measured = np.array([receipt.target.named for receipt in receipts])
    return {
        "apart": share([is_apart(receipt.log_prob) for receipt in receipts]),
        "apart, target": share([is_apart(receipt.target) for receipt in receipts]),
        "apart, only thing of its colour": share([is_apart(receipt.log_prob) for only, receipt in found if only]),
        "apart, others of its colour": share([is_apart(receipt.log_prob) for only, receipt in found if not only]),
        "verdicts": Counter(receipt.verdict for receipt in receipts),
        "otherwise": share([receipt.said[0] != receipt.said[1] for receipt in receipts]),
        "difference": {"mean": differences.mean(), "low": low, "high": high},
        "slope": (predicted * measured).sum() / (predicted**2).sum(),
        "correlation": np.corrcoef(predicted, measured)[0, 1],
    }


def is_apart(found: Changes) -> bool:
    """Whether removing the named patches lowers more than removing a new random set would."""
    controls = np.array(found.controls)
    spread = controls.std(ddof=1) * np.sqrt(1 + 1 / len(controls)) * student.ppf(0.975, len(controls) - 1)
    return bool(found.named - controls.mean() < -spread)


def share(hits: Sequence[bool]) -> dict[str, Any]:
    """A share with its n and interval."""
    return asdict(wilson(sum(hits), len(hits)))


if __name__ == "__main__":
    main()
