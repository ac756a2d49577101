"""The journey: scenes, the joined parts, two stages, scores after each, fresh answers, a page.

Everything lies in one folder:

    data/{train,held_out,compositional,fresh}/   scenes; train/mixed.json has conversations of plain English too, for a
                                                 language model that talks
    joined/                                      the parts, joined and untrained
    align/  instruct/                            the run folders of both stages
    scores/{align,instruct,fresh,text}.json      what was asked and answered
    model/                                       the model of stage 2, as any program reads it
    results.json  report.html                    every figure, and the page that shows them
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypedDict

from lapilli.core.errors import UsageError
from lapilli.core.files import new_folder, refuse_occupied, sweep, write_atomically
from lapilli.core.progress import Progress
from lapilli.core.read import checked, read_json
from lapilli.core.recipe import read_recipe
from lapilli.core.run import RunDir
from lapilli.data.plain.texts import CONVERSATIONS
from lapilli.data.sample import read_samples, write_samples
from lapilli.data.scenes.dataset import Split, write_scenes
from lapilli.model.fetched import RELEASES, fetch
from lapilli.studies.quickstart.languages import LANGUAGES, Language
from lapilli.studies.quickstart.results import collect
from lapilli.studies.quickstart.times import timed
from lapilli.studies.steps import Step, Task, carry_out
from lapilli.training.recipe import TrainRecipe


@dataclass(frozen=True)
class Journey:
    """How large everything is. The defaults take about ten minutes on two cores."""

    out: Path
    language: str = "pebble-lm"
    seed: int = 0
    scenes: int = 7_000
    tests: int = 600
    questions: int = 200
    overrides: tuple[str, ...] = ()

    def data(self, split: str) -> Path:
        """The folder of one split's scenes."""
        return self.out / "data" / split

    @property
    def makes(self) -> Language:
        """What is done for the language model of the journey."""
        return LANGUAGES[self.language]

    def samples(self, stage: str) -> Path:
        """The samples of a stage."""
        return self.data("train") / ("mixed.json" if stage == "instruct" and self.makes.talks else f"{stage}.json")

    @property
    def log(self) -> Path:
        """The file of what its steps took."""
        return self.out / "steps.json"

    def recipe(self, stage: str) -> list[str]:
        """What the journey sets in a stage's recipe; where things lie and the seed are not for others to change."""
        places = {
            "model": self.out / ("joined" if stage == "align" else "align/model"),
            "out": self.out / stage,
            "data.file": self.samples(stage),
            "data.images": self.data("train") / "images",
        }
        # A JSON string is a YAML string, whatever the path holds.
        return [
            *self.makes.lengths[stage],
            *self.overrides,
            *(f"{field}={json.dumps(str(path))}" for field, path in places.items()),
            f"seed={self.seed}",
        ]

    @property
    def command(self) -> str:
        """What to type to take this journey."""
        sizes = [("--seed", self.seed), ("--scenes", self.scenes), ("--tests", self.tests)]
        language = [("--language", self.language)] if self.language != Journey.language else []
        options = [("--out", self.out), *language, *sizes, *(("--set", override) for override in self.overrides)]
        return shlex.join(["lapilli", "quickstart", *(str(part) for option in options for part in option)])


_ELSEWHERE = "choose another --out"


class _Begun(TypedDict):
    """What journey.json holds."""

    command: str


def quickstart(journey: Journey, tell: Callable[[str], None], progress: Progress) -> Path:
    """Do whatever of the journey is not done yet and return the page.

    `tell` announces steps; `progress` is that of those that do not show their own. Interrupted, it goes on where it
    was: data and scores are made whole or not at all, and training goes on from its last checkpoint.
    """
    from lapilli.report.quickstart.page import write_report

    for stage in ("align", "instruct"):
        _read(journey, stage)  # a mistake in it is found before anything is written
    with RunDir.alone(journey.out):
        _require_same(journey)
        sweep(journey.out)
        carry_out(_announced(_steps(journey, progress), tell), progress)
        page = journey.out / "report.html"
        write_report(collect(journey), page)
        return page


def _announced(steps: Sequence[Step], tell: Callable[[str], None]) -> Iterator[Step]:
    """The steps, each announced when its turn has come."""
    for number, step in enumerate(steps, start=1):
        tell(f"[{number}/{len(steps)}] {step.name}{'' if step.left else ': done already'}")
        yield step


def _require_same(journey: Journey) -> None:
    """Note what the journey in this folder is, or refuse to go on with another one in the same folder."""
    file = journey.out / "journey.json"
    if not file.is_file():
        refuse_occupied(journey.out)
        write_atomically(file, json.dumps({"command": journey.command}) + "\n")
        return
    before = checked(_Begun, read_json(file, _ELSEWHERE), str(file), _ELSEWHERE)["command"]
    if before != journey.command:
        raise UsageError(f"{journey.out}: began as: {before}; go on with that, or choose another --out")


def _steps(journey: Journey, progress: Progress) -> list[Step]:
    return [*_data(journey, progress), *_training(journey, progress)]


def _data(journey: Journey, progress: Progress) -> list[Step]:
    def draw(name: str, split: Split, size: int, seed: int = journey.seed) -> Step:
        do = partial(_draw, journey, name, size, partial(progress, f"scenes, {name}"), split=split, seed=seed)
        return _step(journey, f"draw scenes: {name.replace('_', ' ')}", f"data/{name}", do)

    return [
        draw("train", "train", journey.scenes),
        draw("held_out", "held_out", journey.tests),
        draw("compositional", "compositional", journey.tests),
        draw("fresh", "held_out", 60, journey.seed + 1),
    ]


def _training(journey: Journey, progress: Progress) -> list[Step]:
    from lapilli.studies.quickstart import scoring

    step, talks = partial(_step, journey), journey.makes.talks

    def train(stage: str, name: str) -> Step:
        return step(name, f"{stage}/manifest.json", partial(_train, journey, stage), stage)

    mix = step("mix in plain English", "data/train/mixed.json", partial(_mix, journey))
    english = partial(scoring.score_text, journey, progress)
    score_text = step("score its English before and after", "scores/text.json", english)
    return [
        step("join the parts", "joined", partial(_join, journey)),
        train("align", "stage 1: align the projector"),
        step("score stage 1", "scores/align.json", partial(scoring.score_align, journey, progress)),
        *([mix] if talks else []),
        train("instruct", "stage 2: instruct projector and language model"),
        step("score stage 2", "scores/instruct.json", partial(scoring.score_instruct, journey, progress)),
        *([score_text] if talks else []),
        step("answer fresh pictures", "scores/fresh.json", partial(scoring.answer_fresh, journey)),
        step("set the model out", "model", partial(_set_out, journey)),
    ]


def _step(journey: Journey, name: str, product: str, do: Callable[[], object], stage: str | None = None) -> Step:
    """A step that makes one product, whose time is kept; what it has to report it does itself."""

    def do_timed() -> None:
        with timed(journey.log, name, stage):
            do()

    return Step(name, [Task(journey.out / product, do_timed)], counted=False)


def _draw(journey: Journey, name: str, size: int, note: Callable[[int, int], None], *, split: Split, seed: int) -> None:
    note(0, size)
    write_scenes(journey.data(name), size, split, seed, lambda done: note(done, size))


def _join(journey: Journey) -> None:
    from lapilli.model.llava import join, save

    if journey.language in RELEASES:
        fetch(journey.language)
    llava = join("pebble-vision", journey.language, template=journey.makes.template, seed=journey.seed)
    save(llava, journey.out / "joined")


def _mix(journey: Journey) -> None:
    conversations = journey.data("train") / "instruct.json"
    samples = [sample for file in (conversations, CONVERSATIONS) for sample in read_samples(file)]
    write_samples(journey.samples("instruct"), samples)


def _read(journey: Journey, stage: str) -> TrainRecipe:
    return read_recipe(Path(f"recipes/{journey.makes.recipes[stage]}.yaml"), journey.recipe(stage), TrainRecipe)


def _train(journey: Journey, stage: str) -> None:
    from lapilli.model.placement import warn_of_slow_precision
    from lapilli.training.loop import train

    recipe = _read(journey, stage)
    warn_of_slow_precision(recipe.precision)
    train(recipe, resume=(journey.out / stage / "recipe.yaml").exists())


def _set_out(journey: Journey) -> None:
    """Copy the model of stage 2; one that is an adapter is merged into its base."""
    from lapilli.model.checkpoints.adapter import is_adapter
    from lapilli.model.llava import load, save

    trained = journey.out / "instruct/model"
    if is_adapter(trained):
        save(load(trained), journey.out / "model")
        return
    with new_folder(journey.out / "model") as folder:
        shutil.copytree(trained, folder, dirs_exist_ok=True)
