"""A language model's opinion of samples: a rubric, asked in both orders of its criteria, and how well the two agree.

What a judge says first colors what it says next. Each sample is therefore judged twice, with the criteria forwards and
backwards; where the two disagree, neither says much.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lapilli.core.llm.asking import Asker, RefusedError, UnansweredError
from lapilli.core.llm.budget import Budget
from lapilli.core.llm.call import Call, Message, Reply, Sampling
from lapilli.core.llm.endpoint import Endpoint
from lapilli.core.llm.journal import Journal
from lapilli.core.llm.many import JOURNAL, do_all, wait_for
from lapilli.core.llm.pace import Pace
from lapilli.core.run import RunDir
from lapilli.data.contexts import Context
from lapilli.data.generation.prompts import described
from lapilli.data.generation.rating import pairs_of
from lapilli.data.generation.settings import Settings
from lapilli.data.sample import Sample

VERSION = "rate/v1"
CRITERIA = {
    "correct": "the answers are true of the picture, as far as is known of it",
    "grounded": "the questions need the picture, and the answers use what is in it",
    "clear": "the questions can be understood in one way, and are answered",
    "useful": "somebody who learns to see and to think would learn from it",
    "fluent": "it is good English, without repetitions and without talk about the task",
}
_HIGHEST = 5

_SYSTEM = """You judge training data for a program that talks about pictures. You get what is known of a picture, which
may be little, and questions about it with their answers. Judge the answers strictly by what is known.

Give each criterion a whole number from 1 (bad) to 5 (good). Write one line for each, in this order and in this form,
and nothing else:

{lines}
"""


@dataclass(frozen=True)
class Opinion:
    """What a judge says of a sample: points from 1 to 5 by criterion, forwards and backwards; `failure` is why not."""

    id: str
    forwards: Mapping[str, int] = field(default_factory=dict)
    backwards: Mapping[str, int] = field(default_factory=dict)
    failure: str = ""

    @property
    def score(self) -> float | None:
        """The mean of all points of both orders; None without them."""
        points = [*self.forwards.values(), *self.backwards.values()]
        return None if self.failure or not points else sum(points) / len(points)


@dataclass(frozen=True)
class Agreement:
    """How often the two orders give a criterion the same points, or points one apart at most; n counts the pairs."""

    n: int
    same: float
    within_one: float


@dataclass(frozen=True)
class Judged:
    """The opinions in the order of the samples, their agreement, and why the judging stopped, if it did."""

    opinions: list[Opinion]
    agreement: Agreement
    stopped: str
    cost: float | None


def judge_call(sample: Sample, context: Context | None, model: str, sampling: Sampling, backwards: bool) -> Call:
    """The call that asks for one opinion."""
    names = list(CRITERIA)[::-1] if backwards else list(CRITERIA)
    lines = "\n".join(f"{name}: {CRITERIA[name]}" for name in names)
    known = described(context, boxes=True) if context else "nothing"
    pairs = "\n\n".join(f"Question: {pair.question}\nAnswer: {pair.answer}" for pair in pairs_of(sample))
    text = f"Known of the picture:\n{known}\n\nTo be judged:\n{pairs}"
    messages = (Message("system", _SYSTEM.format(lines=lines)), Message("user", text))
    return Call(messages, model, sampling, VERSION, about={"id": sample.id})


def read_opinion(reply: Reply) -> dict[str, int]:
    """The points in a reply. Raises ValueError for one that has not all criteria once, from 1 to 5."""
    lines = re.findall(r"^\W*(\w+)\W*:\W*(\d+)\b", reply.text, re.M)
    points = {name.lower(): int(number) for name, number in lines if name.lower() in CRITERIA}
    if len(lines) != len(CRITERIA) or points.keys() != CRITERIA.keys():
        raise ValueError(f"{len(points)} of {len(CRITERIA)} criteria, {len(lines)} lines")
    if not all(1 <= number <= _HIGHEST for number in points.values()):
        raise ValueError(f"points outside 1 to {_HIGHEST}")
    return points


@dataclass(frozen=True)
class Judge:
    """A model at an endpoint, what is known of the pictures by their names, and how it is asked."""

    url: str
    model: str
    contexts: Mapping[str, Context]
    settings: Settings

    def calls(self, sample: Sample) -> list[Call]:
        """The two calls about a sample."""
        context = self.contexts.get(sample.images[0]) if sample.images else None
        return [
            judge_call(sample, context, self.model, self.settings.sampling, backwards) for backwards in (False, True)
        ]


def judge_samples(
    samples: Sequence[Sample], judge: Judge, folder: Path, on_progress: Callable[[int], None] = lambda done: None
) -> Judged:
    """Two opinions of each sample; `folder` has the journal, and what was answered is not asked again.

    Raises LapilliError for a folder of something else.
    """
    settings = judge.settings
    recipe = {"judge": judge.model, "version": VERSION, **asdict(settings.sampling)}
    budget = Budget(settings.price_list, None, settings.max_total_tokens)
    with RunDir.alone(folder):
        RunDir.begin(folder, recipe, settings.seed or 0)
        journal = Journal(folder / JOURNAL)
        try:
            endpoint = Endpoint(judge.url, settings.deadline)
            asker = Asker(endpoint, journal, budget, Pace(settings.concurrency), settings.patience)
            opinions = wait_for(_judged(samples, judge, asker, on_progress))
        finally:
            journal.close()
    stopped = asker.stopped if len(opinions) < len(samples) else ""
    return Judged(opinions, agreement(opinions), stopped, budget.cost)


async def _judged(
    samples: Sequence[Sample], judge: Judge, asker: Asker, on_progress: Callable[[int], None]
) -> list[Opinion]:
    opinions = await do_all(
        samples, lambda sample: _opinion(sample, judge.calls(sample), asker), asker, asker.pace.limit, on_progress
    )
    if asker.endpoint:
        await asker.endpoint.close()
    return opinions


async def _opinion(sample: Sample, calls: Sequence[Call], asker: Asker) -> Opinion:
    try:
        forwards, backwards = [read_opinion(await asker.ask(call)) for call in calls]
    except (RefusedError, UnansweredError, ValueError) as error:
        return Opinion(sample.id, failure=str(error))
    return Opinion(sample.id, forwards, backwards)


def agreement(opinions: Sequence[Opinion]) -> Agreement:
    """How well the two orders agree, over all criteria of all samples that have both."""
    apart = [abs(one.forwards[name] - one.backwards[name]) for one in opinions if not one.failure for name in CRITERIA]
    n = len(apart)
    return Agreement(n, sum(d == 0 for d in apart) / n, sum(d <= 1 for d in apart) / n) if n else Agreement(0, 0.0, 0.0)
