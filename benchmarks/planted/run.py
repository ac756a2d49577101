"""Models that answer by a known part of the picture, and what every method and every verdict says of them.

    python benchmarks/planted/run.py OUT [--questions 100] [--gaps 30] [--steps N] [--seed 0]

Draws pictures, trains a model for each of four plants, proves by changed pictures that it answers by its plant and
nothing else, and scores on it every method of `lapilli scorecard` and the verdicts of `lapilli explain`. Prints tables;
OUT/planted.json holds all of it. What OUT holds already is not done again.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import Any

from maps import Question, measure, questions
from pictures import PLANTS, Planted, sample
from proof import STEPS as PROOFS
from proof import Ask, asker, proof
from tables import Found, tables
from training import join_parts, train_plant, write_rows
from verdicts import verdicts

from lapilli.cli.console import note, say, steps
from lapilli.core.errors import LapilliError
from lapilli.core.files import write_atomically
from lapilli.core.plain import json_text
from lapilli.core.progress import Progress
from lapilli.core.run import RunDir
from lapilli.model.llava import Llava, load

TRAINED = {"patch": 300, "frame": 400, "object": 1800, "question": 200}
"""Steps that each plant is trained for: enough to answer by it nearly always."""

PICTURES = 10_000
"""Of the training, the same for all plants."""

RIGHT = 0.95
"""The share of right answers below which a model has not learned its plant."""


@dataclass(frozen=True, eq=False)
class Taught:
    """A plant's model, its test rows, those of them that it answers rightly, and the run of what is measured."""

    plant: str
    llava: Llava
    rows: Sequence[Planted]
    run: RunDir
    options: argparse.Namespace

    @cached_property
    def ask(self) -> Ask:
        """Asks the model."""
        return asker(self.llava)

    @cached_property
    def asked(self) -> list[Question]:
        """As many as are to be explained."""
        return questions(self.plant, self.rows, self.ask, self.options.questions)


def main() -> None:
    """Parse, do what is not done, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--questions", type=int, default=100, help="answered rightly, of each plant")
    parser.add_argument("--gaps", type=int, default=30, help="of them, those that the gap is measured on")
    parser.add_argument("--steps", type=int, help="of every training; each plant has its own otherwise")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not 2 <= options.gaps <= options.questions:
        parser.error("--gaps: from 2 to as many as --questions")
    try:
        found = _all(options)
    except LapilliError as error:
        raise SystemExit(f"Error: {error}") from error
    for line in tables(found):
        say(line)


def _all(options: argparse.Namespace) -> Found:
    """Train all models, and measure one thing of all before the next; OUT/planted.json has what there is so far."""
    models = [_taught(plant, options) for plant in PLANTS]
    found: dict[str, dict[str, Any]] = {plant: {} for plant in PLANTS}
    with steps() as progress:
        for name, work in PARTS.items():
            for one in models:
                if name != "maps" or one.plant != "question":  # of which there is no right map
                    found[one.plant][name] = _once(one.run, name, partial(work, one, progress))
            write_atomically(options.out / "planted.json", json_text(found, indent=1) + "\n")
    return found


def _taught(plant: str, options: argparse.Namespace) -> Taught:
    """The model of a plant, trained if it is not there, with all that it is trained from."""
    out, length = options.out, int(options.steps or TRAINED[plant])
    if not (out / "train").exists():
        with steps() as progress:
            write_rows(out / "train", PICTURES, options.seed, _counter(progress, "pictures", PICTURES))
    if not (out / "joined").exists():
        join_parts(out / "joined", options.seed)
    note(f"{plant}: training")
    llava = load(train_plant(plant, out, length, options.seed))
    rows = [sample(f"test-{options.seed}-{number}", apart=True) for number in range(2 * options.questions)]
    plan = {"plant": plant, "steps": length, "questions": options.questions, "gaps": options.gaps}
    return Taught(plant, llava, rows, RunDir.begin(out / "scores" / plant, plan, options.seed), options)


def _proof(one: Taught, progress: Progress) -> dict[str, Any]:
    found = proof(one.plant, one.rows, one.ask, _counter(progress, f"{one.plant}: proof", PROOFS))
    if found["right"]["estimate"] < RIGHT:
        share = f"{found['right']['estimate']:.0%} of {found['right']['n']} answers"
        raise LapilliError(f"{one.plant}: {share} follow it, {RIGHT:.0%} are the least; train longer, with --steps")
    return found


def _verdicts(one: Taught, progress: Progress) -> dict[str, Any]:
    return verdicts(one.llava, one.plant, one.asked, _counter(progress, f"{one.plant}: verdicts", len(one.asked)))


def _maps(one: Taught, progress: Progress) -> dict[str, Any]:
    tick = _counter(progress, f"{one.plant}: maps", len(one.asked))
    return measure(one.run, one.llava, one.plant, one.asked, one.options.gaps, tick)


PARTS: dict[str, Callable[[Taught, Progress], dict[str, Any]]] = {
    "proof": _proof,
    "verdicts": _verdicts,
    "maps": _maps,
}
"""What is measured of every model, in this order."""


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
