"""The engine: every context and kind is asked for, read, checked, asked for once more if need be, or set aside.

The answers are in the journal, and all else follows from them: with a full journal the same results are made again
without a call, also by a later version with other gates.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lapilli.core.llm.asking import Asker, RefusedError, UnansweredError
from lapilli.core.llm.call import Call, Reply
from lapilli.core.llm.many import do_all
from lapilli.data.contexts import Context
from lapilli.data.generation.gates import Checked, Verdict, check, same_question
from lapilli.data.generation.kinds import Kind, Pair
from lapilli.data.generation.objects import mentions
from lapilli.data.generation.prompts import Prompts
from lapilli.data.generation.reply import MalformedError, read_pairs
from lapilli.data.generation.settings import Plan

UNANSWERED = "unanswered"
"""The gate of what may be answered when it is asked for again."""

_SHOWN_AGAIN = 2_000  # characters of a reply that the model is shown with a complaint


@dataclass(frozen=True)
class Job:
    """A sample to be made: of a context and a kind, and the `number` of it, where there are to be several."""

    context: Context
    kind: Kind
    number: int = 0

    @property
    def id(self) -> str:
        """The id of the sample."""
        return f"{self.context.id}-{self.kind}" + (f"-{self.number}" if self.number else "")


@dataclass(frozen=True)
class Dropped:
    """A pair that a gate dropped, or (without one) a reply that could not be used."""

    gate: str
    evidence: str
    pair: Pair | None = None


@dataclass
class Product:
    """What came of a job: pairs that passed, what was dropped, what is to be looked at, and the calls behind it."""

    job: Job
    pairs: list[Pair] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    flags: list[Verdict] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    """The keys of the calls whose answers were read."""

    @property
    def accepted(self) -> bool:
        """Whether there is a sample."""
        return bool(self.pairs)


@dataclass(frozen=True)
class Engine:
    """The calls that a plan's jobs make."""

    plan: Plan
    prompts: Prompts

    def jobs(self, contexts: Iterable[Context]) -> Iterator[Job]:
        """Every job of this shard, in the order of the contexts; which shard has one, its first call's key says."""
        part, parts = self.plan.shard
        for context in contexts:
            for kind in self.plan.kinds:
                for number in range(self.plan.samples):
                    job = Job(context, kind, number)
                    if parts == 1 or int(self.call(job).key, 16) % parts == part:
                        yield job

    def call(self, job: Job, only: Sequence[str] = ()) -> Call:
        """The call that a job begins with; with `only`, that of a later round, about these facts."""
        messages = self.prompts.messages(job.kind, job.context, job.kind in self.plan.boxes, only)
        purpose = f"data/{job.kind}/{self.prompts.version}"
        about = {"context": job.context.id, "kind": job.kind}
        return Call(messages, self.plan.model, self.plan.sampling, purpose, sample=job.number, about=about)

    async def produce(self, job: Job, asker: Asker) -> Product:
        """Make a sample. Raises StoppedError where no more calls are made."""
        product = Product(job)
        call = self.call(job)
        for _ in range(self.plan.rounds if job.kind == "conversation" else 1):
            try:
                await self._ask(call, product, asker)
            except (RefusedError, UnansweredError) as error:
                gate = UNANSWERED if isinstance(error, UnansweredError) else "refused"
                product.dropped.append(Dropped(gate, str(error)))
            left = unused(product)
            if not product.pairs or not left:
                break
            call = self.call(job, left)
        return product

    async def _ask(self, call: Call, product: Product, asker: Asker) -> None:
        """Ask, and ask once more where nothing of the reply can be used."""
        request = self.prompts.request(product.job.context.id, product.job.number)
        for is_last in (False, True):
            reply = await asker.ask(call)
            product.calls.append(call.key)
            dropped = _take(product, reply, request)
            if not dropped:
                return
            if is_last:
                product.dropped += dropped
                return
            fault = "; ".join(dict.fromkeys(one.evidence if one.pair is None else one.gate for one in dropped))
            early = reply.finish_reason == "length"
            call = call.longer() if early else call.again(reply.text[:_SHOWN_AGAIN], self.prompts.complaint(fault))


def _take(product: Product, reply: Reply, request: str) -> list[Dropped]:
    """Take the pairs of a reply that pass. Return why there is none, or nothing."""
    job = product.job
    try:
        pairs = read_pairs(job.kind, reply, request)
    except MalformedError as error:
        return [Dropped("malformed", str(error))]
    dropped: list[Dropped] = []
    taken = 0
    for pair in pairs:
        verdicts = check(Checked(pair, job.kind, job.context))
        fatal = next((verdict for verdict in verdicts if verdict.drops), None)
        if fatal:
            dropped.append(Dropped(fatal.gate, fatal.evidence, pair))
        elif same_question(pair) in map(same_question, product.pairs):
            dropped.append(Dropped("duplicate", pair.question, pair))
        else:
            taken += 1
            product.pairs.append(pair)
            product.flags += verdicts
    product.dropped += dropped if taken else []
    return [] if taken else dropped


def unused(product: Product) -> list[str]:
    """The facts that no question or answer of a product has used: categories of boxes, or else captions."""
    text = "\n".join(f"{pair.question} {pair.answer}" for pair in product.pairs)
    context = product.job.context
    if context.categories:
        return [name for name in context.categories if not mentions(text, name)]
    words = set(text.lower().split())
    return [
        caption for caption in context.captions if len(words & set(caption.lower().split())) < len(caption.split()) / 2
    ]


async def run_jobs(
    engine: Engine, jobs: Sequence[Job], asker: Asker, workers: int, on_done: Callable[[int], None]
) -> list[Product]:
    """Do all jobs, several at once; return what came of them in their order, without those that a stop cut off.

    `on_done` gets the number of jobs that are done.
    """
    return await do_all(jobs, lambda job: engine.produce(job, asker), asker, workers, on_done)


def first_calls(engine: Engine, jobs: Iterable[Job]) -> Iterator[Call]:
    """The calls that the jobs begin with, as for a batch."""
    return (engine.call(job) for job in jobs)


def counts_of(products: Iterable[Product]) -> dict[str, Any]:
    """How many samples, pairs and drops there are of each kind and gate."""
    made: dict[str, dict[str, int]] = {}
    for product in products:
        row = made.setdefault(product.job.kind, {"jobs": 0, "samples": 0, "set aside": 0, "pairs": 0})
        row["jobs"] += 1
        row["samples" if product.accepted else "set aside"] += 1
        row["pairs"] += len(product.pairs)
        for name in (
            *(f"dropped: {one.gate}" for one in product.dropped),
            *(f"flag: {one.gate}" for one in product.flags),
        ):
            row[name] = row.get(name, 0) + 1
    return made
