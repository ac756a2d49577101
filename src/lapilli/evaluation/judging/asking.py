"""The folder of a judging: begun, gone on with, made again from its journal, and estimated before it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lapilli.core.files import write_atomically
from lapilli.core.llm.asking import Asker, Counts, RefusedError, UnansweredError
from lapilli.core.llm.budget import Budget
from lapilli.core.llm.call import Usage
from lapilli.core.llm.endpoint import Endpoint
from lapilli.core.llm.journal import Journal
from lapilli.core.llm.many import JOURNAL, Estimate, Progress, do_all, estimated, progress_of, wait_for
from lapilli.core.llm.pace import Pace
from lapilli.core.plain import json_text
from lapilli.core.run import RunDir
from lapilli.evaluation.judging.plan import Trial, Work
from lapilli.evaluation.judging.results import (
    Judgement,
    balanced_figures,
    pair_rows,
    published_figures,
    write_reviews,
)

REVIEWS = "reviews.jsonl"
PAIRS = "pairs.jsonl"

_LENGTH = 200  # tokens of a judgement, for estimates


@dataclass(frozen=True)
class Report:
    """What a judging came to. `stopped` says why it is not whole; "" where it is."""

    trials: int
    done: int
    figures: dict[str, Any]
    stopped: str
    calls: Counts
    spent: Usage
    cost: float | None
    spoilt_lines: int


def estimate(work: Work, folder: Path) -> Estimate:
    """What the calls would use and cost that the folder's journal does not answer, without any being made."""
    calls = [work.call(trial) for trial in work.trials]
    return estimated(calls, folder, work.settings.price_list, lambda call: _LENGTH)


def judge(
    work: Work,
    folder: Path,
    base_url: str | None,
    *,
    most_cost: float | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Report:
    """Judge all pairs in a new folder, or go on in an existing one of the same plan.

    Whatever was answered is in the folder's journal and is not asked again; without `base_url` nothing is asked at all.
    Raises LapilliError for a folder of something else, and where another process writes there.
    """
    settings = work.settings
    budget = Budget(settings.price_list, most_cost, settings.max_total_tokens)
    endpoint = Endpoint(base_url, settings.deadline) if base_url else None  # first: what is refused leaves no folder
    with RunDir.alone(folder):
        run = RunDir.begin(folder, work.plan, settings.seed or 0)
        run.reopen()  # what follows from the judgements may change with the version
        journal = Journal(folder / JOURNAL)
        try:
            budget.spend(journal.used)
            asker = Asker(endpoint, journal, budget, Pace(settings.concurrency), settings.patience)
            judgements = wait_for(_judged(work, asker, on_progress))
            nothing = journal.is_empty
        finally:
            journal.close()
        report = _conclude(work, folder, judgements, asker)
        if report.stopped and nothing:  # nothing was answered: as if it had not been begun
            run.remove()
            return report
        run.save("judging", report)
        if not report.stopped:
            run.finish()
    return report


async def _judged(work: Work, asker: Asker, on_progress: Callable[[Progress], None]) -> list[Judgement]:
    total = len(work.trials)

    def tell(done: int) -> None:
        on_progress(progress_of(asker, done, total))

    try:
        return await do_all(work.trials, lambda trial: _judgement(work, trial, asker), asker, asker.pace.limit, tell)
    finally:
        if asker.endpoint:
            await asker.endpoint.close()


async def _judgement(work: Work, trial: Trial, asker: Asker) -> Judgement:
    """Ask for a judgement, and read it. Raises StoppedError where no more calls are made."""
    try:
        reply = await asker.ask(work.call(trial))
    except (RefusedError, UnansweredError) as error:
        return Judgement(trial, None, failure=str(error), asked_again_helps=isinstance(error, UnansweredError))
    return Judgement(trial, work.scores(trial, reply.text), reply.text)


def _conclude(work: Work, folder: Path, judgements: Sequence[Judgement], asker: Asker) -> Report:
    """Write what the judgements say: a row for each pair, the review file; and return the figures."""
    published = work.plan.procedure == "published"
    reviews = folder / REVIEWS
    write_reviews(judgements, published, reviews)
    write_atomically(folder / PAIRS, "".join(json_text(row) + "\n" for row in pair_rows(judgements)))
    open_ones = [one.failure for one in judgements if one.asked_again_helps]
    stopped = asker.stopped if len(judgements) < len(work.trials) else ""
    if open_ones and not stopped:
        stopped = f"{len(open_ones)} calls have no answer, the last: {open_ones[-1]}"
    return Report(
        trials=len(work.trials),
        done=len(judgements) - len(open_ones),
        figures=published_figures(judgements, reviews) if published else balanced_figures(judgements),
        stopped=stopped,
        calls=asker.counts,
        spent=asker.budget.spent,
        cost=asker.budget.cost,
        spoilt_lines=asker.journal.spoilt,
    )
