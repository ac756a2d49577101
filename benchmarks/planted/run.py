"""Models that answer by a known part of the picture, and what every method and every verdict says of them.

    python benchmarks/planted/run.py OUT [--questions 100] [--gaps 30] [--steps N] [--seed 0]

Draws pictures, trains a model for each of four plants, proves by changed pictures that it answers by its plant and
nothing else, and scores on it every method of `lapilli scorecard` and the verdicts of `lapilli explain`. Prints tables;
OUT/planted.json holds all of it. What OUT holds already is not done again.
"""

import argparse
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from maps import measure, questions
from pictures import PLANTS, Planted, sample
from proof import STEPS as PROOFS
from proof import asker, proof
from tables import tables
from training import join_parts, train_plant, write_rows
from verdicts import verdicts

from lapilli.cli.console import note, say, steps
from lapilli.core.errors import LapilliError
from lapilli.core.files import write_atomically
from lapilli.core.plain import json_text
from lapilli.core.progress import Progress
from lapilli.core.run import RunDir
from lapilli.model.llava import load

TRAINED = {"patch": 400, "frame": 400, "object": 1200, "question": 200}
"""Steps that each plant is trained for: enough to answer by it nearly always."""

PICTURES = 10_000
"""Of the training, the same for all plants."""

RIGHT = 0.95
"""The share of right answers below which a model has not learned its plant."""


def main() -> None:
    """Parse, do what is not done, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--questions", type=int, default=100, help="answered rightly, of each plant")
    parser.add_argument("--gaps", type=int, default=30, help="of them, those that the gap is measured on")
    parser.add_argument("--steps", type=int, help="of every training; each plant has its own otherwise")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    try:
        found = {plant: _scored(plant, options) for plant in PLANTS}
    except LapilliError as error:
        raise SystemExit(f"Error: {error}") from error
    write_atomically(options.out / "planted.json", json_text(found, indent=1) + "\n")
    for line in tables(found):
        say(line)


def _scored(plant: str, options: argparse.Namespace) -> dict[str, Any]:
    """All that is measured of one plant's model, which is trained if it is not there."""
    trained = _trained(plant, options)
    plan = {"plant": plant, "questions": options.questions, "gaps": options.gaps, "seed": options.seed}
    run = RunDir.begin(options.out / "scores" / plant, plan | {"steps": _steps(plant, options)}, options.seed)
    rows = [sample(f"test-{options.seed}-{number}", apart=True) for number in range(2 * options.questions)]
    with steps() as progress:
        return _measured(run, trained, plant, rows, options, progress)


def _measured(
    run: RunDir, model: Path, plant: str, rows: Sequence[Planted], options: argparse.Namespace, progress: Progress
) -> dict[str, Any]:
    llava = load(model)
    ask = asker(llava)
    proved = _once(run, "proof", lambda: proof(plant, rows, ask, _counter(progress, f"{plant}: proof", PROOFS)))
    if proved["right"]["estimate"] < RIGHT:
        raise LapilliError(f"{model}: {proved['right']['estimate']:.0%} answered by the {plant}; train it longer")
    asked = questions(plant, rows, ask, options.questions)
    judged = _once(
        run, "verdicts", lambda: verdicts(llava, plant, asked, _counter(progress, f"{plant}: verdicts", len(asked)))
    )
    if plant == "question":  # there is no right map
        return {"proof": proved, "verdicts": judged}
    tick = _counter(progress, f"{plant}: maps", len(asked))
    mapped = _once(run, "maps", lambda: measure(run, llava, plant, asked, options.gaps, tick))
    return {"proof": proved, "verdicts": judged, "maps": mapped}


def _trained(plant: str, options: argparse.Namespace) -> Path:
    """The model of a plant, with all that it is trained from."""
    out = options.out
    if not (out / "train").exists():
        with steps() as progress:
            write_rows(out / "train", PICTURES, options.seed, _counter(progress, "pictures", PICTURES))
    if not (out / "joined").exists():
        join_parts(out / "joined", options.seed)
    note(f"{plant}: training")
    return train_plant(plant, out, _steps(plant, options), options.seed)


def _steps(plant: str, options: argparse.Namespace) -> int:
    return int(options.steps or TRAINED[plant])


def _once(run: RunDir, name: str, work: Callable[[], Any]) -> Any:
    """A result of a run, made if it is not there."""
    if not run.has(name):
        run.save(name, work())
    return run.load(name)


def _counter(progress: Progress, step: str, total: int) -> Callable[[], None]:
    done = count(1)
    return lambda: progress(step, next(done), total)


if __name__ == "__main__":
    main()
