"""What a model is asked while it trains: the questions of benchmarks, and samples of its validation data.

All that can be refused is refused here, before torch is imported. A training gets `Questions` as its `on_eval`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.progress import Progress
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.core.run import RunDir
from lapilli.core.statistics.clusters import clustered
from lapilli.data.pictures import open_picture
from lapilli.data.sample import Sample
from lapilli.evaluation.asking import Answerer, ask
from lapilli.evaluation.benchmark import Benchmark, Response, benchmark
from lapilli.evaluation.own import own_benchmark
from lapilli.evaluation.question_file import question_files
from lapilli.report.kit.pictures import thumbnail
from lapilli.training.preflight import RunSamples
from lapilli.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from lapilli.model.llava import Llava

PICTURES = "sample_pictures"
"""The result of a run that has the pictures of its sample answers, small, by their names."""

OVERALL = "overall"
"""The name of all benchmarks together."""

_SEED = 1  # of the scenes, the same for every evaluation; that of `lapilli eval`
_SHORT = 32  # tokens of an answer to a benchmark, at most, as in `lapilli eval`
_TOKENS = 64  # of a sample answer, at most


@dataclass(frozen=True)
class QuestionSet:
    """The questions of one split of a benchmark; `name` is that of its figures, `folder` where they were read."""

    name: str
    benchmark: Benchmark[Any]
    is_right: Callable[[Response[Any]], bool]
    questions: Sequence[Any]
    folder: Path


@dataclass(frozen=True)
class Questions:
    """What a training asks its model at every evaluation; called with the model it returns the figures of a log line.

    Of every set of questions there are NAME_accuracy, its 95 % interval NAME_accuracy_low and NAME_accuracy_high, and
    NAME_n; of several sets the same of `overall`. `samples` has a row for each sample that was answered.
    """

    recipe: TrainRecipe
    sets: Sequence[QuestionSet]
    samples: Sequence[Sample]

    def __call__(self, llava: Llava) -> dict[str, Any]:
        """Ask the model, which is left as it is. Raises LapilliError for a question that it has no room for."""
        import torch

        # Answers come in many shapes, and would be compiled for each.
        with torch.compiler.set_stance("force_eager") if self.recipe.compile else nullcontext():
            figures = self._accuracies(llava)
            return {**figures, "samples": self._answers(llava)} if self.samples else figures

    def require_room(self) -> None:
        """Raise LapilliError for a question of a benchmark that is too long for the model; its weights are not read."""
        from lapilli.data.encode import encode
        from lapilli.training.stages import INSTRUCT, requirements_of

        if not self.sets:
            return
        of = requirements_of(INSTRUCT, self.recipe.model)

        def measured(samples: Sequence[Sample], _: Any) -> list[str]:
            for sample in samples:
                tokens = len(encode(sample, of.codec, for_generation=True).ids)
                if tokens + _SHORT > of.longest:
                    what = f"question {sample.id!r}: {tokens} tokens and an answer of up to {_SHORT}"
                    raise LapilliError(
                        f"{what}, but the language model reads {of.longest}; shorten it, or leave it out"
                    )
            return [""] * len(samples)

        for one in self.sets:
            _judged(one, measured)

    def _accuracies(self, llava: Llava) -> dict[str, float]:
        from lapilli.inference.answer import answer

        def respond(samples: Sequence[Sample], pictures: Any) -> list[str]:
            return [reply.text for reply in answer(llava, samples, pictures, _SHORT)]

        judged = {one.name: _judged(one, respond) for one in self.sets}
        if len(judged) > 1:
            judged[OVERALL] = [pair for pairs in judged.values() for pair in pairs]
        return {key: value for name, pairs in judged.items() for key, value in _figures(name, pairs).items()}

    def _answers(self, llava: Llava) -> list[dict[str, Any]]:
        """The model's answers to the samples that it has room for; their pictures are saved with the run at first."""
        from lapilli.data.encode import encode
        from lapilli.inference.answer import answer
        from lapilli.training.stages import STAGES

        self._save_pictures()
        template = STAGES[self.recipe.stage].template
        codec = replace(llava.codec, template=template or llava.codec.template)
        model: Any = llava.model
        room = model.config.text_config.max_position_embeddings - _TOKENS
        fitting = [one for one in self.samples if len(encode(one, codec, for_generation=True).ids) <= room]
        replies = answer(llava, fitting, self._open, _TOKENS, template=template) if fitting else []
        return [_row(sample, reply.text) for sample, reply in zip(fitting, replies, strict=True)]

    def _open(self, name: str) -> Any:
        return open_picture(self.recipe.data.images or Path(), name)

    def _save_pictures(self) -> None:
        run = RunDir.open(self.recipe.out)
        if not run.has(PICTURES):
            names = dict.fromkeys(name for sample in self.samples for name in sample.images)
            run.save(PICTURES, {name: thumbnail(self._open(name)) for name in names})


def questions_of(recipe: TrainRecipe, samples: RunSamples, drawn: Path, progress: Progress) -> Questions | None:
    """What a run of the recipe asks its model, or None where that is nothing; scenes are drawn into the folder `drawn`.

    Raises UsageError for a benchmark that there is not, of conversations, whose answers are not right or wrong, or
    whose figures are called as another's, and LapilliError for a file of questions or a picture that cannot be read.
    """
    chosen = _benchmarks(recipe, progress)
    folders = _folders(list(chosen.values()), recipe.validation.questions, drawn, progress)
    sets = [one for name, of in chosen.items() for one in _sets(name, of, folders[of.draw], recipe)]
    few = _spread(samples.validation, recipe.validation.samples)
    return Questions(recipe, sets, [_first_exchange(sample) for sample in few]) if sets or few else None


def _benchmarks(recipe: TrainRecipe, progress: Progress) -> dict[str, Benchmark[Any]]:
    """The benchmarks by the names of their figures."""
    validation = recipe.validation
    files = question_files(validation.benchmarks)
    names = {name: benchmark(name) for name in validation.benchmarks if name not in files}
    if validation.images and not files:
        raise UsageError("validation.images: the pictures of files of questions; name such a file in benchmarks")
    chosen: dict[str, Benchmark[Any]] = {}
    for name in dict.fromkeys(validation.benchmarks):
        file = files.get(name)
        of = names[name] if file is None else _own(file, recipe, progress)
        key = re.sub(r"\W+", "_", name if file is None else file.stem).strip("_").lower() or "questions"
        if key in chosen or key == OVERALL:
            raise UsageError(f"validation.benchmarks: {name}: its figures would be called {key}, as others; rename it")
        if of.is_right is None:
            raise UsageError(f"validation.benchmarks: {name}: its answers are neither right nor wrong; leave it out")
        if of.conversation:
            raise UsageError(f"validation.benchmarks: {name}: conversations, for `lapilli eval` alone; leave it out")
        chosen[key] = of
    return chosen


def _own(file: Path, recipe: TrainRecipe, progress: Progress) -> Benchmark[Any]:
    of = recipe.validation
    return own_benchmark(file, of.images or file.parent, of.questions, progress=progress)


def _folders(of: Sequence[Benchmark[Any]], count: int, drawn: Path, progress: Progress) -> dict[Any, Path]:
    """The folders of questions by what draws them, which is done in `drawn`; those of files need none."""
    folders = {draw: drawn / str(number) for number, draw in enumerate(dict.fromkeys(one.draw for one in of))}
    for draw, folder in folders.items():
        if draw:
            folder.mkdir()
            draw(folder, count, _SEED, progress)
    return folders


def _sets(name: str, of: Benchmark[Any], folder: Path, recipe: TrainRecipe) -> list[QuestionSet]:
    """The questions of every split that is asked with its pictures."""
    splits = list(dict.fromkeys(split for split, condition in of.rounds if condition == "image"))
    names = {split: name if split == splits[0] else f"{name}_{split}" for split in splits}
    read = {split: of.read(folder / split, split, recipe.validation.questions) for split in splits}
    return [
        QuestionSet(names[split], of, of.is_right, questions, folder / split)
        for split, questions in read.items()
        if questions and of.is_right
    ]


def _spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """So many of the samples, evenly from the first on: neighbours are often about one picture."""
    count = min(count, len(samples))
    return [samples[index * len(samples) // count] for index in range(count)]


def _first_exchange(sample: Sample) -> Sample:
    """The first question of a conversation, with its pictures and its answer."""
    turns = sample.turns[:2]
    return Sample(sample.id, sample.images[: turns[0].text.count(IMAGE_MARK)], turns)


def _row(sample: Sample, reply: str) -> dict[str, Any]:
    question, *answers = (turn.text for turn in sample.turns)
    question = question.replace(IMAGE_MARK, "").strip()
    expected = answers[0] if answers else ""
    return {"id": sample.id, "images": sample.images, "question": question, "expected": expected, "reply": reply}


def _judged(of: QuestionSet, answer: Answerer) -> list[tuple[bool, str]]:
    """Whether each question was answered rightly, and its picture."""
    responses: list[Response[Any]] = ask(of.benchmark, of.questions, of.folder, "image", answer)
    return [(of.is_right(response), f"{of.benchmark.name}/{response.question.image}") for response in responses]


def _figures(name: str, pairs: Sequence[tuple[bool, str]]) -> Mapping[str, float]:
    share = clustered([right for right, _ in pairs], [picture for _, picture in pairs])
    return {
        f"{name}_accuracy": share.estimate,
        f"{name}_accuracy_low": share.low,
        f"{name}_accuracy_high": share.high,
        f"{name}_n": share.n,
    }
