"""The answers of an evaluation, on the disk as they are given: one that was interrupted asks nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

from PIL import Image

from lapilli.core.progress import Progress
from lapilli.core.read import checked
from lapilli.core.run import RunDir
from lapilli.data.order import longest_first
from lapilli.data.sample import Sample
from lapilli.evaluation.asking import Answerer, Round

BATCH = 32  # answers between two writings; a model reads as many at once


WHOLE = (0, 1)
"""The shard that is all of the work."""

Key: TypeAlias = tuple[Round, int, str]
"""The round, the index of a question among those of it that are asked at once, and its id."""


@dataclass(frozen=True)
class LoggedAnswer:
    """A line of the log: the answer to the question at `index` of a round, or of a turn of its conversations."""

    benchmark: str
    split: str
    condition: str
    index: int
    id: str
    answer: str


@final
class AnswerLog:
    """The answers so far, each a line of metrics.jsonl of `run`; without a run they are only counted.

    `progress` gets how many answers of a round there are. With `shard`, (part, parts), only every so many-th batch is
    answered, from that one on, counted over all rounds so that many small ones are shared out too; the answers that
    `others` have, runs of shards, are taken over. Raises LapilliError for a line that is no answer.
    """

    def __init__(
        self,
        run: RunDir | None,
        progress: Progress,
        shard: tuple[int, int] = WHOLE,
        others: Sequence[RunDir] = (),
    ) -> None:
        self._run, self._progress, self._shard = run, progress, shard
        self._batches = 0  # of the rounds before
        self._answers = logged(run) if run else {}
        self._others = {key: text for other in others for key, text in logged(other).items()}
        if run:
            run.rewind(0)  # drops half a line at the end

    def answerer(self, answer: Answerer, of: Round) -> Answerer:
        """`answer` for the questions of a round: it is asked what the log lacks, in batches, as `longest_first` has it.

        Those about one picture are together: the model reads it once for all of a batch. The batches are those of a run
        that was never interrupted nor shared out, and one of which the log lacks a part is asked whole: with other
        padding an answer that is nearly a tie could be another. Of a shard, the answers to the others' are empty.
        """

        def respond(samples: Sequence[Sample], pictures: Callable[[str], Image.Image]) -> Sequence[str]:
            keys = [(of, index, sample.id) for index, sample in enumerate(samples)]
            (part, parts), every = self._shard, _batches(samples)
            batches = every[(part - self._batches) % parts :: parts]
            self._batches += len(every)
            missing = [batch for batch in batches if any(keys[index] not in self._answers for index in batch)]
            total = sum(map(len, batches))
            done = total - sum(map(len, missing))
            step = ", ".join(filter(None, of))
            self._progress(step, done, total)
            for batch in missing:
                named = [keys[index] for index in batch]
                taken = [self._others[key] for key in named if key in self._others]
                is_there = len(taken) == len(batch)
                texts = taken if is_there else answer([samples[index] for index in batch], pictures)
                self._keep(dict(zip(named, texts, strict=True)))
                done += len(batch)
                self._progress(step, done, total)
            return [self._answers.get(key, "") for key in keys]

        return respond

    def _keep(self, answers: Mapping[Key, str]) -> None:
        """Write the answers of a batch in one go, so that whoever is killed has all of them or none."""
        new = {key: text for key, text in answers.items() if key not in self._answers}  # of a batch asked again
        self._answers |= new
        if self._run:
            rows = (LoggedAnswer(*of, index, name, text) for (of, index, name), text in new.items())
            self._run.append("metrics", rows)


def logged(run: RunDir) -> dict[Key, str]:
    """The answers in the log of a run. Raises LapilliError for a line that is none."""
    answers = {}
    for number, line in enumerate(run.metrics(), 1):
        row = checked(LoggedAnswer, line, f"{run.path / 'metrics.jsonl'}:{number}", "run it again, in another folder")
        answers[(row.benchmark, row.split, row.condition), row.index, row.id] = row.answer
    return answers


def _batches(samples: Sequence[Sample]) -> list[list[int]]:
    lengths = [sum(len(turn.text) for turn in one.turns) for one in samples]
    order = longest_first(lengths, [one.images for one in samples])
    return [order[start : start + BATCH] for start in range(0, len(samples), BATCH)]
