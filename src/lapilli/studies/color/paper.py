"""The paper's own figures, of LLaVA-1.5-7B and Vicuna-7B over 1,000 questions for animals' colors, beside ours.

They are as readers of the paper report them, in public reviews and notes; they were not compared with its text, which
states neither how they vary nor, for most, chance. The figures here are near to each, not the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lapilli.report.color.numbers import select
from lapilli.studies.color.overlap import PAPER

Figure = dict[str, Any]

HEADS = 1024
"""The number of heads of the paper's language model."""


def beside_paper(result: Mapping[str, Any]) -> list[Figure]:
    """The figures of the paper that a study measures too: their labels, `paper`, its `chance`, and `measured`.

    `measured` are the figures of every tuned model, each with `model`, `value`, `n`, `chance` and, for a mean, `low`
    and `high`.
    """
    return [*_shared(result), *_read(result), *_attended(result)]


def _shared(result: Mapping[str, Any]) -> Iterator[Figure]:
    k = min(PAPER, result["settings"]["layers"] * result["settings"]["heads"])
    for kind, says in (("tuning", "before and after tuning, on text"), ("modality", "on text and on pictures")):
        rows = select(result["overlaps"], kind=kind, measure="increase", k=k)
        measured = [
            {"model": row["other"]["model"], "chance": row["chance"], "value": row["observed"], "n": row["n"]}
            for row in rows
        ]
        yield _row(f"top {k} heads shared {says}", 8, PAPER * PAPER / HEADS, measured)


def _read(result: Mapping[str, Any]) -> Iterator[Figure]:
    for word, thing, paper, chance in (("color", "color", 0.455, 0.013), ("object", "object", 0.076, 0.0003)):
        here = {"condition": "VQA", "readout": "embedding", "word": word, "of": "increase"}
        rows = select(result["decoding"], **here, k=result["settings"]["verdict_size"])
        measured = [{"model": row["model"], "chance": row["random"]["value"], **_number(row["key"])} for row in rows]
        yield _row(f"mean reciprocal rank of the {thing} by the input embeddings, key patches", paper, chance, measured)


def _attended(result: Mapping[str, Any]) -> Iterator[Figure]:
    for condition, same, different in (("TQA-tuned", 0.768, 0.268), ("VQA", 0.807, 0.564)):
        rows = select(result["keys"], condition=condition, of="increase", k=result["settings"]["verdict_size"])
        for name, says, paper in (("same", "", same), ("different", ", asked about another thing", different)):
            measured = [
                {"model": row["model"], "chance": row["anywhere"]["value"], **_number(row[name])} for row in rows
            ]
            yield _row(f"attention at key positions, {condition}{says}", paper, None, measured)


def _row(says: str, paper: float, chance: float | None, measured: Sequence[Figure]) -> Figure:
    return {"says": says, "paper": paper, "chance": chance, "measured": list(measured)}


def _number(figure: Mapping[str, Any]) -> Figure:
    return {name: figure[name] for name in ("value", "low", "high", "n")}
