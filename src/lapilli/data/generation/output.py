"""What a generation leaves: samples to train on, where each came from, what was set aside and why, and a data card."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lapilli.core.files import write_atomically
from lapilli.core.llm.journal import Journal
from lapilli.core.plain import json_text
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.data.generation.engine import Dropped, Product, counts_of
from lapilli.data.generation.gates import same_question
from lapilli.data.generation.kinds import Pair
from lapilli.data.generation.settings import Plan
from lapilli.data.sample import Sample, Turn, write_samples

SAMPLES, PROVENANCE, REJECTED, CARD = "samples.json", "provenance.jsonl", "rejected.jsonl", "card.md"

_CARD = """# {samples} samples, made by {maker}

| kind | contexts asked about | samples | questions | set aside |
|---|---|---|---|---|
{rows}

* Made of {contexts} contexts (SHA-256 {contexts_sha256}) with the prompts {prompts} (SHA-256 {prompts_sha256}).
* Sampling: {sampling}.
* `samples.json` is LLaVA's format; the paths of pictures are those of the contexts. `provenance.jsonl` says of every
  sample which calls made it, what they used, and what is to be looked at; `rejected.jsonl` what was dropped, and why.
* What was dropped: {dropped}.
* What is to be looked at: {flags}.

The answers were written by a program that did not see the pictures: it was told of their captions and boxes. Whoever
passes the data on should name the licence of those, and the terms of the model that wrote the answers.
"""


def without_repeats(products: Iterable[Product]) -> list[Product]:
    """The products without the questions that an earlier sample of the same picture asks in the same words."""
    kept: set[tuple[str, str]] = set()
    products = list(products)
    for product in products:
        for pair in list(product.pairs):
            key = product.job.context.image, same_question(pair)
            if key in kept:
                product.pairs.remove(pair)
                product.dropped.append(Dropped("duplicate", pair.question, pair))
            kept.add(key)
    return products


def write_output(folder: Path, products: Sequence[Product], plan: Plan, journal: Journal | None) -> None:
    """Write all that follows from the products, each file whole or not at all; the same products give the same bytes.

    But for the provenance, which has the times of the calls.
    """
    write_samples(folder / SAMPLES, [_sample(product) for product in products if product.accepted])
    _write_lines(folder / PROVENANCE, (_provenance(product, plan, journal) for product in products if product.accepted))
    _write_lines(folder / REJECTED, (row for product in products for row in _rejections(product)))
    write_atomically(folder / CARD, _card(products, plan))


def _sample(product: Product) -> Sample:
    return as_sample(product.job.id, product.job.context.image, product.pairs)


def as_sample(name: str, image: str, pairs: Sequence[Pair]) -> Sample:
    """A sample with these questions and answers about a picture, which stands before the first question."""
    turns: list[Turn] = []
    for pair in pairs:
        mark = "" if turns else f"{IMAGE_MARK}\n"
        turns += [Turn("user", mark + pair.question), Turn("assistant", pair.answer)]
    return Sample(name, (image,), tuple(turns))


def _provenance(product: Product, plan: Plan, journal: Journal | None) -> dict[str, Any]:
    calls = [_call(journal, key) for key in product.calls] if journal else []
    return {
        "id": product.job.id,
        "context": product.job.context.id,
        "kind": product.job.kind,
        "prompts": plan.prompts,
        "prompts_sha256": plan.prompts_sha256,
        "model": plan.model,
        **asdict(plan.sampling),
        "calls": calls,
        "flags": [{"gate": flag.gate, "evidence": flag.evidence} for flag in product.flags],
    }


def _call(journal: Journal, key: str) -> dict[str, Any]:
    entry, reply = journal.entry(key), journal.reply(key)
    usage = asdict(reply.usage) if reply.usage else None
    return {"key": key, "at": entry.at, "seconds": entry.seconds, "model": reply.model, "usage": usage}


def _rejections(product: Product) -> Iterator[dict[str, Any]]:
    for one in product.dropped:
        row = {"id": product.job.id, "context": product.job.context.id, "kind": product.job.kind}
        pair = asdict(one.pair) if one.pair else {}
        yield {**row, "whole": not product.accepted, "gate": one.gate, "evidence": one.evidence, **pair}


def _card(products: Sequence[Product], plan: Plan) -> str:
    counts = counts_of(products)
    names = ("jobs", "samples", "pairs", "set aside")
    rows = [" | ".join([f"| {kind}", *(str(row[name]) for name in names)]) + " |" for kind, row in counts.items()]
    return _CARD.format(
        samples=sum(row["samples"] for row in counts.values()),
        maker=plan.model or "lapilli, from scenes",
        rows="\n".join(rows),
        contexts=len({product.job.context.id for product in products}),
        contexts_sha256=plan.contexts,
        prompts=plan.prompts,
        prompts_sha256=plan.prompts_sha256,
        sampling=json.dumps(asdict(plan.sampling)),
        dropped=_listed(counts.values(), "dropped: "),
        flags=_listed(counts.values(), "flag: "),
    )


def _listed(rows: Iterable[dict[str, int]], start: str) -> str:
    total: dict[str, int] = {}
    for row in rows:
        for name, count in row.items():
            if name.startswith(start):
                total[name.removeprefix(start)] = total.get(name.removeprefix(start), 0) + count
    return ", ".join(f"{name} {count}" for name, count in sorted(total.items())) or "nothing"


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_atomically(path, "".join(json_text(row) + "\n" for row in rows))
