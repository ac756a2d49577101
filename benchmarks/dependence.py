"""Is “no visual dependence” true where it is said, and said where it is true? Prints JSON.

    python benchmarks/dependence.py MODEL DATA [--questions 300] [--rows 1000] [--seed 0]

MODEL is a quickstart's, DATA a folder of its scenes, such as runs/quickstart/data/held_out; QUESTIONS are asked of each
type. Verdicts are of the word that `lapilli explain` chooses.

seeing    of the rightly answered questions of every type, how many get each verdict, and how many get “no visual
          dependence” although nine fresh pictures of DATA, none with the color that was answered, change the answer:
          at their median the word is less than half as probable, or most say another one. `blur alone` is the same for
          a verdict that asks nothing but whether the word survives the blurred picture
planted   the same of the answers to the questions about colors of a copy of MODEL that was taught, on as many ROWS
          with pictures drawn at random, to give a color that the text alone decides; `as taught` is how often it does

Shares have their n and a 95 % interval.
"""

import argparse
import json
import tempfile
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias, get_args

import numpy as np
from PIL import Image
from rich.progress import track

from lapilli.cli.console import messages
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.core.statistics.proportion import wilson
from lapilli.data.pictures import open_picture
from lapilli.data.questions import PictureQuestion, read_picture_questions, same_answer
from lapilli.data.sample import Sample, Turn, write_samples
from lapilli.data.scenes.facts import read_scenes
from lapilli.data.scenes.vocabulary import COLORS
from lapilli.inference.answer import answer
from lapilli.inspection.answer_words import answer_words
from lapilli.inspection.intervention.dependence import Dependence, Verdict
from lapilli.inspection.intervention.removal import reread
from lapilli.inspection.recording import answered, traced
from lapilli.inspection.target import Target
from lapilli.model.llava import Llava, load
from lapilli.studies.explain.findings import TracedPicture
from lapilli.training.loop import train
from lapilli.training.recipe import Data, TrainRecipe
from lapilli.training.tuning import LlmTuning, PartTuning

FRESH = 9
TURNS = 6  # of a row that is taught

Asked: TypeAlias = tuple[PictureQuestion, str]
"""A question and the answer that was given."""


@dataclass(frozen=True)
class Tested:
    """What is said of an answer, and whether fresh pictures change it."""

    found: Dependence
    changed: bool


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    begun = time.perf_counter()
    by_type: dict[str, list[PictureQuestion]] = {}
    for one in read_picture_questions(options.data):
        by_type.setdefault(one.type or "", []).append(one)
    asked = {kind: some[: options.questions] for kind, some in by_type.items()}
    seeing, found = load(options.model), {}
    for kind, some in asked.items():
        right = [one for one in given(seeing, some, options.data) if same_answer(one[1], one[0].answer)]
        found[kind] = figures(tested(seeing, right, options.data, options.seed))
    blind = planted(options.model, asked["color"], options.data, options.rows, options.seed)
    answers = given(blind, asked["color"], options.data)
    as_taught = share([same_answer(text, taught(one.question)) for one, text in answers])
    of_text = {"as taught": as_taught, **figures(tested(blind, answers, options.data, options.seed))}
    print(json.dumps({"seconds": time.perf_counter() - begun, "seeing": found, "planted": of_text}, indent=1))


def given(llava: Llava, asked: Sequence[PictureQuestion], data: Path) -> list[Asked]:
    """The questions with a model's own answers."""
    answers = answer(llava, [one.sample for one in asked], lambda name: open_picture(data / "images", name))
    return [(question, one.text) for question, one in zip(asked, answers, strict=True)]


def tested(llava: Llava, asked: Sequence[Asked], data: Path, seed: int) -> list[Tested]:
    """Every answer, by what `lapilli explain` reads and by fresh pictures."""
    rng, colors = np.random.default_rng(seed), colors_of(data)
    found = []
    for question, text in track(asked, "answers", console=messages):
        without = [name for name, some in colors.items() if text.strip() not in some and name != question.image]
        fresh = [open_picture(data / "images", str(name)) for name in rng.choice(without, FRESH, replace=False)]
        found.append(test(llava, (question, text), open_picture(data / "images", question.image), fresh))
    return found


def test(llava: Llava, asked: Asked, picture: Image.Image, fresh: Sequence[Image.Image]) -> Tested:
    """One answer."""
    question, text = asked
    pixels = llava.pixels([picture])
    trace = traced(llava, answered(llava, question.sample, text), pixels, whole=True)
    words = answer_words(trace)[1]
    focus, found = TracedPicture(trace, llava.pixels.view(picture), pixels, Target()).dependence(words)
    word = slice(*words[focus])
    read = reread(trace, fresh, Target(), pixels)
    lost = -read.log_prob_change[:, word].sum(1)
    same = (read.likeliest[:, word] == read.clean_likeliest[word]).all(1)
    return Tested(found, bool(np.median(lost) >= np.log(2) or same.mean() <= 0.5))


def planted(model: Path, asked: Sequence[PictureQuestion], data: Path, rows: int, seed: int) -> Llava:
    """A copy of a model that was taught to answer questions by their text, whatever the picture."""
    rng = np.random.default_rng(seed)
    texts, names = sorted({one.question for one in asked}), sorted({one.image for one in asked})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "taught.json"
        write_samples(file, [lesson(str(row), texts, str(rng.choice(names)), rng) for row in range(rows)])
        recipe = TrainRecipe(
            "instruct",
            model,
            Data(file, data / "images"),
            Path(folder) / "run",
            seed,
            batch_size=16,
            learning_rate=1.5e-3,
            projector=PartTuning(learning_rate=4e-3),
            llm=LlmTuning(muon_learning_rate=8e-3),
        )
        return load(train(recipe).path / "model")


def lesson(name: str, texts: Sequence[str], image: str, rng: np.random.Generator) -> Sample:
    """A row of some of the questions, about a picture that has nothing to do with their answers."""
    turns: list[Turn] = []
    for number, text in enumerate(rng.choice(texts, TURNS, replace=False).tolist()):
        mark = f"{IMAGE_MARK}\n" if number == 0 else ""
        turns += [Turn("user", mark + text), Turn("assistant", taught(text))]
    return Sample(name, (image,), tuple(turns))


def taught(question: str) -> str:
    """The color that a question's text decides."""
    return list(COLORS)[zlib.crc32(question.encode()) % len(COLORS)]


def colors_of(data: Path) -> dict[str, set[str]]:
    """The colors of the things in every picture, by its name."""
    return {image: {thing.color for thing in scene.things} for image, scene in read_scenes(data).items()}


def figures(found: Sequence[Tested]) -> dict[str, Any]:
    """How many answers get each verdict, and how many get one that fresh pictures refute."""
    verdicts = {verdict: share([one.found.verdict == verdict for one in found]) for verdict in get_args(Verdict)}
    refuted = share([one.found.verdict == "no visual dependence" and one.changed for one in found])
    blurred = [bool(one.found.swapped) for one in found]  # others were read because the blurred one did not decide
    alone = {"said": blurred, "refuted": [one.changed and said for one, said in zip(found, blurred, strict=True)]}
    shares = {name: share(hits) for name, hits in alone.items()}
    return {"verdicts": verdicts, "refuted": refuted, "blur alone": shares}


def share(hits: Sequence[bool]) -> dict[str, Any]:
    """A share with its n and interval."""
    return asdict(wilson(sum(hits), len(hits)))


if __name__ == "__main__":
    main()
