"""The answers of an evaluation, on the disk as they are given: one that was interrupted asks nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from PIL import Image

from lapilli.core.progress import Progress
from lapilli.core.read import checked
from lapilli.core.run import RunDir
from lapilli.data.sample import Sample
from lapilli.evaluation.asking import Answerer, Round

BATCH = 32  # answers between two writings; a model reads as many at once


@dataclass(frozen=True)
class LoggedAnswer:
    """A line of the log: the answer to the question at `index` of a round."""

    benchmark: str
    split: str
    condition: str
    index: int
    id: str
    answer: str


@final
class AnswerLog:
    """The answers so far, each a line of metrics.jsonl of `run`; without a run they are only counted.

    `progress` gets how many answers of a round there are. Raises LapilliError for a line that is no answer.
    """

    def __init__(self, run: RunDir | None, progress: Progress) -> None:
        self._run, self._progress = run, progress
        self._answers: dict[tuple[Round, int, str], str] = {}
        if run is None:
            return
        for number, line in enumerate(run.metrics(), 1):
            row = checked(
                LoggedAnswer, line, f"{run.path / 'metrics.jsonl'}:{number}", "run it again, in another folder"
            )
            self._answers[(row.benchmark, row.split, row.condition), row.index, row.id] = row.answer
        run.rewind(0)  # drops half a line at the end

    def answerer(self, answer: Answerer, of: Round) -> Answerer:
        """`answer` for the questions of a round: it is asked what the log lacks, the longest first, in batches.

        The batches are those of a run that was never interrupted, and one of which the log lacks a part is asked whole:
        with other padding an answer that is nearly a tie could be another.
        """

        def respond(samples: Sequence[Sample], pictures: Callable[[str], Image.Image]) -> Sequence[str]:
            keys = [(of, index, sample.id) for index, sample in enumerate(samples)]
            order = sorted(range(len(samples)), key=_length_in(samples))
            batches = [order[start : start + BATCH] for start in range(0, len(samples), BATCH)]
            missing = [batch for batch in batches if any(keys[index] not in self._answers for index in batch)]
            done = len(samples) - sum(map(len, missing))
            step = ", ".join(filter(None, of))
            self._progress(step, done, len(samples))
            for batch in missing:
                texts = answer([samples[index] for index in batch], pictures)
                for index, text in zip(batch, texts, strict=True):
                    self._keep(keys[index], text)
                done += len(batch)
                self._progress(step, done, len(samples))
            return [self._answers[key] for key in keys]

        return respond

    def _keep(self, key: tuple[Round, int, str], text: str) -> None:
        if key in self._answers:  # of a batch that was asked again
            return
        (benchmark, split, condition), index, name = key
        self._answers[key] = text
        if self._run:
            place = {"benchmark": benchmark, "split": split, "condition": condition, "index": index}
            self._run.log(**place, id=name, answer=text)


def _length_in(samples: Sequence[Sample]) -> Callable[[int], int]:
    """The order in which samples are asked: what takes too much memory, or is too long, fails at once."""
    return lambda index: -len(samples[index].turns[0].text)
