"""Many pieces of work, each of some calls: done several at once, estimated before they cost, and watched."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lapilli.core.llm.asking import Asker, StoppedError
from lapilli.core.llm.budget import Prices
from lapilli.core.llm.call import Call, Usage
from lapilli.core.llm.journal import Journal
from lapilli.core.run import RunDir

JOURNAL = "journal.jsonl"
"""The name of the journal in a folder."""

J = TypeVar("J")
R = TypeVar("R")

_APART = 0.005  # seconds between the first calls: together they would end together, and each wait for all others' turns


def wait_for(work: Coroutine[Any, Any, R]) -> R:
    """What a coroutine returns or raises. Where a loop runs already, as in a notebook, it has a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@dataclass(frozen=True)
class Estimate:
    """What calls would take: those that are still to be made, those in the journal, tokens, and their cost."""

    calls: int
    reusable: int
    usage: Usage
    cost: float | None


@dataclass(frozen=True)
class Progress:
    """How far the work is: pieces that are done, of how many; what was spent; and the calls under way."""

    done: int
    total: int
    cost: float | None
    tokens: int
    under_way: int


def progress_of(asker: Asker, done: int, total: int) -> Progress:
    """How far an asker's work is."""
    budget = asker.budget
    return Progress(done, total, budget.cost, budget.spent.tokens, asker.pace.under_way)


async def do_all(
    jobs: Sequence[J], do: Callable[[J], Awaitable[R]], asker: Asker, workers: int, on_done: Callable[[int], None]
) -> list[R]:
    """Do all jobs, several at once; return what came of them in their order, without those that a stop cut off.

    `on_done` gets the number of jobs that are done.
    """
    results: dict[int, R] = {}
    waiting = iter(enumerate(jobs))

    async def work(number: int) -> None:
        await asyncio.sleep(number * _APART)
        for at, job in waiting:
            try:
                results[at] = await do(job)
            except StoppedError:
                continue  # what the journal has is made all the same
            on_done(len(results))

    async with asker.interruptible():
        await asyncio.gather(*map(work, range(min(workers, len(jobs)))))
    return [results[at] for at in sorted(results)]


@contextmanager
def unanswered(calls: Iterable[Call], folder: Path) -> Iterator[Iterator[Call]]:
    """The calls that the folder's journal does not answer, while nobody else writes there."""
    if not (folder / JOURNAL).is_file():
        yield iter(calls)
        return
    with RunDir.alone(folder):
        journal = Journal(folder / JOURNAL)
        try:
            yield (call for call in calls if call.key not in journal)
        finally:
            journal.close()


def estimated(calls: Sequence[Call], folder: Path, prices: Prices | None, length: Callable[[Call], int]) -> Estimate:
    """What those calls would use and cost that the folder's journal does not answer, without any being made.

    `length` says how many tokens the answer to a call will have.
    """
    usage, count = Usage(), 0
    with unanswered(calls, folder) as left:
        for call in left:
            output = min(call.sampling.max_tokens, length(call))
            usage, count = usage + Usage(input=call.input_estimate, output=output), count + 1
    return Estimate(count, len(calls) - count, usage, prices.cost(usage) if prices else None)
