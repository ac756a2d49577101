"""The folder of a generation: begun, gone on with, made again from its journal, and estimated before it costs."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from lapilli.core.errors import LapilliError
from lapilli.core.files import write_atomically
from lapilli.core.llm.asking import Asker, Counts
from lapilli.core.llm.budget import Budget
from lapilli.core.llm.call import Call, Usage, request_line
from lapilli.core.llm.endpoint import Endpoint
from lapilli.core.llm.journal import Journal
from lapilli.core.llm.many import JOURNAL, Estimate, Progress, estimated, progress_of, unanswered, wait_for
from lapilli.core.llm.pace import Pace
from lapilli.core.manifest import MANIFEST
from lapilli.core.plain import json_text
from lapilli.core.run import RunDir
from lapilli.data.contexts import Context
from lapilli.data.generation.engine import UNANSWERED, Engine, Job, Product, counts_of, first_calls, run_jobs
from lapilli.data.generation.in_words import produce, scene_facts
from lapilli.data.generation.kinds import Kind
from lapilli.data.generation.output import without_repeats, write_output
from lapilli.data.generation.prompts import read_prompts
from lapilli.data.generation.settings import Plan, Settings

_BATCH_LINES, _BATCH_BYTES = 50_000, 200_000_000  # the most of a file for OpenAI's Batch API

_LENGTHS: dict[Kind, int] = {"conversation": 350, "detail": 130, "reasoning": 190}
"""Tokens of an answer, for estimates: those of GPT-4 to like prompts."""


@dataclass(frozen=True)
class Work:
    """What is to be made: the contexts and the engine with its plan, and the settings that may change."""

    contexts: Sequence[Context]
    engine: Engine
    settings: Settings

    @cached_property
    def jobs(self) -> list[Job]:
        """All jobs of this shard."""
        return list(self.engine.jobs(self.contexts))


@dataclass(frozen=True)
class Report:
    """What a generation came to: of all jobs those that are done, accepted or set aside for good.

    `stopped` says why it is not whole; "" where it is.
    """

    jobs: int
    done: int
    kinds: dict[str, dict[str, int]]
    stopped: str = ""
    calls: Counts = field(default_factory=Counts)
    spent: Usage = field(default_factory=Usage)
    cost: float | None = None
    spoilt_lines: int = 0


def plan_work(
    contexts: Sequence[Context],
    kinds: tuple[Kind, ...],
    model: str,
    settings: Settings,
    shard: tuple[int, int] = (0, 1),
) -> Work:
    """Say what is to be made. Raises UsageError for prompts that are none. With model "", scenes are put into words."""
    prompts = read_prompts(settings.prompts)
    content = "".join(json_text(context) + "\n" for context in contexts)
    plan = Plan(
        contexts=hashlib.sha256(content.encode()).hexdigest(),
        kinds=kinds,
        engine="llm" if model else "template",
        model=model,
        prompts=prompts.version,
        prompts_sha256=prompts.sha256,
        boxes=tuple(settings.boxes),
        sampling=settings.sampling,
        samples=settings.samples,
        rounds=settings.rounds,
        shard=shard,
    )
    return Work(contexts, Engine(plan, prompts), settings)


def estimate(work: Work, folder: Path) -> Estimate:
    """What the calls would use and cost that the folder's journal does not answer, without any being made."""
    calls = list(first_calls(work.engine, work.jobs))
    return estimated(calls, folder, work.settings.price_list, _length)


def generate(
    work: Work,
    folder: Path,
    base_url: str | None,
    *,
    most_cost: float | None = None,
    answers: Sequence[Path] = (),
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Report:
    """Make the samples in a new folder, or go on in an existing one of the same plan; `answers` are adopted first.

    Whatever was answered is in the folder's journal and is not asked again; without `base_url` nothing is asked at all.
    Raises LapilliError for a folder of something else, and where another process writes there.
    """
    budget = Budget(work.settings.price_list, most_cost, work.settings.max_total_tokens)
    with RunDir.alone(folder):
        run = _begun(folder, work)
        journal = Journal(folder / JOURNAL)
        try:
            _adopt_all(journal, answers, work, run)
            report, products = wait_for(_ask_all(work, journal, budget, base_url, on_progress))
            if report.stopped and journal.is_empty:  # nothing was answered: as if it had not been begun
                run.remove()
                return report
            write_output(folder, products, work.engine.plan, journal)
        finally:
            journal.close()
        _finish(run, report)
    return report


def put_in_words(work: Work, folder: Path, scenes: Path) -> Report:
    """Make the samples of scenes without a teacher, in a new folder. Raises LapilliError as `generate` does."""
    facts = scene_facts(scenes)
    with RunDir.alone(folder):
        run = _begun(folder, work)
        products = without_repeats(produce(job, facts, work.settings.seed or 0) for job in work.jobs)
        write_output(folder, products, work.engine.plan, None)
        report = _report(work, products)
        _finish(run, report)
    return report


def write_batch(work: Work, folder: Path, file: Path) -> list[tuple[Path, int]]:
    """Write the calls that the folder's journal does not answer as requests for batches of the sizes that OpenAI takes.

    Returns the files, each with its number of requests: `file`, or requests.2.jsonl and so on behind it.
    """
    written = []
    with unanswered(first_calls(work.engine, work.jobs), folder) as calls:
        for number, lines in enumerate(_batches(map(request_line, calls)), 1):
            name = file if number == 1 else file.with_suffix(f".{number}{file.suffix}")
            write_atomically(name, "".join(lines))
            written.append((name, len(lines)))
    return written


def _batches(lines: Iterator[str]) -> Iterator[list[str]]:
    """The lines in parts that are not too large."""
    part, size = list[str](), 0
    for line in lines:
        if part and (len(part) == _BATCH_LINES or size + len(line.encode()) > _BATCH_BYTES):
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line.encode())
    if part:
        yield part


def _adopt_all(journal: Journal, sources: Sequence[Path], work: Work, run: RunDir) -> None:
    """Take answers over; a run that had none before is removed where that cannot be done."""
    is_new = journal.is_empty
    try:
        for source in sources:
            _adopt(journal, source, work)
    except LapilliError:
        if is_new:
            run.remove()
        raise


def _adopt(journal: Journal, source: Path, work: Work) -> None:
    """Take answers over. Raises LapilliError where none is to a call of this work, all of which would be paid again."""
    before = len(journal)
    journal.adopt(source, lambda key: True)
    new = len(journal) - before
    if new and not any(call.key in journal for call in first_calls(work.engine, work.jobs)):
        remedy = "give the contexts, model, prompts and settings that it was made with, and a new --out"
        raise LapilliError(f"{source}: none of its {new} answers is to a call that is to be made; {remedy}")


async def _ask_all(
    work: Work, journal: Journal, budget: Budget, base_url: str | None, on_progress: Callable[[Progress], None]
) -> tuple[Report, list[Product]]:
    budget.spend(journal.used)
    settings, jobs = work.settings, work.jobs
    endpoint = Endpoint(base_url, settings.deadline) if base_url else None
    asker = Asker(endpoint, journal, budget, Pace(settings.concurrency), settings.patience)

    def tell(done: int) -> None:
        on_progress(progress_of(asker, done, len(jobs)))

    try:
        products = await run_jobs(work.engine, jobs, asker, settings.concurrency, tell)
    finally:
        if endpoint:
            await endpoint.close()
    products = without_repeats(products)
    stopped = asker.stopped if len(products) < len(jobs) else _unanswered_jobs(products)
    report = _report(work, products)
    report = replace(report, stopped=stopped, calls=asker.counts, spoilt_lines=journal.spoilt)
    return replace(report, spent=budget.spent, cost=budget.cost), products


def _unanswered_jobs(products: Sequence[Product]) -> str:
    """How many jobs the endpoint left without an answer, and why; "" where there is none."""
    reasons = [one.evidence for product in products for one in product.dropped if one.gate == UNANSWERED]
    return f"{len(reasons)} calls have no answer, the last: {reasons[-1]}" if reasons else ""


def _report(work: Work, products: Sequence[Product]) -> Report:
    done = sum(all(one.gate != UNANSWERED for one in product.dropped) for product in products)
    return Report(len(work.jobs), done, kinds=counts_of(products))


def _begun(folder: Path, work: Work) -> RunDir:
    """The run in the folder; a finished one of the same plan is opened again, as what follows from it may change."""
    run = RunDir.begin(folder, work.engine.plan, work.settings.seed or 0)
    if run.is_complete:
        (folder / MANIFEST).unlink()
    return run


def _finish(run: RunDir, report: Report) -> None:
    run.save("generation", report)
    if not report.stopped:
        run.finish()


def _length(call: Call) -> int:
    return _LENGTHS[call.about["kind"]]  # type: ignore[index]
