"""The page of the study of colour questions: verdicts first, then every figure beside its chance level."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

from markupsafe import Markup

from lapilli.core.files import write_atomically
from lapilli.report.color import numbers
from lapilli.report.color.charts import (
    Mark,
    Panel,
    Row,
    heat_map,
    key,
    layers_chart,
    mark,
    rows_chart,
)
from lapilli.report.kit import figures
from lapilli.report.kit.environment import environment, style

Result: TypeAlias = Mapping[str, Any]
"""What results/colour.json holds."""

Figure: TypeAlias = Mapping[str, Any]

INFORMED = ("VQA", "TQA-tuned", "TQA-base")
"""The conditions that are told the facts."""

_CONDITIONS = (*INFORMED, "prior")
_KINDS = {
    "tuning": "TQA-base / TQA-tuned",
    "modality": "TQA-tuned / VQA",
    "both": "TQA-base / VQA",
    "prior": "prior / VQA",
    "seeds": "between seeds",
}
_WAYS = {
    "facts->facts": "facts to facts",
    "facts->question": "facts to question",
    "facts->last": "facts to last",
    "facts->text": "facts to all text",
    "question->last": "question to last",
    "both->last": "facts and question to last",
}
_CHOSEN = {"increase": "by increase", "contrast": "by contrast"}
_MEASURES = {
    "increase": "Increase of the log-probability, nats",
    "direct": "Direct contribution to the right colour's logit",
    "contrast": "The same, less that to a random other colour's logit",
}
_GROWN = {"": "as it is", "certain_": "equally certain", "wide_": "equally wide"}
_READOUTS = {"embedding": "input embeddings", "stream": "logit lens", "wrote": "attention wrote"}
_FILTERS: tuple[Callable[..., Any], ...] = (
    numbers.chance,
    numbers.possible,
    numbers.digits,
    figures.number,
    numbers.spread,
    figures.duration,
    figures.percent,
)


def write_page(result: Result, out: Path) -> Path:
    """Write colour.html into the folder `out`, and return its path. Raises LapilliError when it cannot be written."""
    path = out / "colour.html"
    write_atomically(path, render(result))
    return path


def render(result: Result) -> str:
    """The page as text: one file that asks for nothing. All text of the result stays text."""
    made = environment("color", _FILTERS)
    sheet = style(made, "page.css", "color.css")
    page = made.get_template("color.html.jinja")
    return page.render(style=sheet, result=result, key=key, **_names(result), **_drawn(result))


def _names(result: Result) -> dict[str, Any]:
    return {
        "tested": result["settings"]["verdict_size"],
        "heads": heads(result),
        "level": result["settings"]["level"],
        "models": tuned(result),
        "ways": _WAYS,
        "readouts": _READOUTS,
        "chosen": _CHOSEN,
        "finding": finding(result["verdicts"]),
        "verdicts": [verdict_table(one, tuned(result)) for one in result["verdicts"]],
    }


def _drawn(result: Result) -> dict[str, Any]:
    return {
        "accuracy": accuracy_chart(result),
        "maps": [{"title": title, "lines": maps(result, measure)} for measure, title in _MEASURES.items()],
        "overlaps": [overlap_chart(result, measure, k) for k in _drawn_sizes(result) for measure in _CHOSEN],
        "differences": [difference_chart(result, against) for against in ("random", "best")],
        "keys": [keys_chart(result), asked_chart(result)],
        "decoding": [decoding_chart(result, condition, of) for condition in ("VQA", "TQA-tuned") for of in _CHOSEN],
        "knocked": [knocked_chart(result, condition) for condition in INFORMED],
        "growth": growth_chart(result),
        "layers": [ways_chart(result, condition) for condition in INFORMED],
    }


def tuned(result: Result) -> list[str]:
    """The labels of the tuned models."""
    return [row["model"] for row in result["accuracy"] if row["condition"] == "VQA"]


def _drawn_sizes(result: Result) -> list[int]:
    """The number of top heads that verdicts speak of, and the paper's where that is another."""
    settings = result["settings"]
    return list(dict.fromkeys((settings["verdict_size"], min(settings["paper"], heads(result)))))


def heads(result: Result) -> int:
    """How many heads a model has."""
    return int(result["settings"]["layers"] * result["settings"]["heads"])


def select(rows: Sequence[Figure], **wanted: Any) -> list[Figure]:
    """The figures that are of this."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def finding(verdicts: Sequence[Figure]) -> str:
    """What the study found, in a sentence: "Of 3 statements 1 holds (c), 1 is mixed (b) and 1 is not shown (a)."."""
    words = {"holds": ("holds", "hold"), "mixed": ("is mixed", "are mixed"), "fails": ("fails", "fail"),
             "not shown": ("is not shown", "are not shown"), "cannot be tested": ("cannot be tested",) * 2}  # fmt: skip
    parts = []
    for kind, (singular, plural) in words.items():
        letters = [str(verdict["statement"]) for verdict in verdicts if verdict["verdict"] == kind]
        if letters:
            parts.append(f"{len(letters)} {singular if len(letters) == 1 else plural} ({', '.join(letters)})")
    *first, last = parts or ["none was tested"]
    return f"Of {len(verdicts)} statements {', '.join(first)}{' and ' if first else ''}{last}."


def verdict_table(verdict: Figure, models: Sequence[str]) -> dict[str, Any]:
    """A verdict with a line for every part and condition, and of every model its tests there."""
    lines = list(dict.fromkeys((part["says"], part["condition"]) for part in verdict["parts"]))
    cells = {(part["says"], part["condition"], part["model"]): part for part in verdict["parts"]}
    return dict(verdict) | {
        "lines": [
            {"says": says, "condition": condition, "cells": [cells[says, condition, model] for model in models]}
            for says, condition in lines
        ]
    }


def accuracy_chart(result: Result) -> Markup:
    """The share answered rightly under every condition."""
    rows = []
    for condition in _CONDITIONS:
        found = select(result["accuracy"], condition=condition)
        rows.append(Row(condition, tuple((_share(one),) for one in found)))
    return rows_chart(rows, "Answered rightly", "A lane for each model.", ends=(0.0, 1.0))


def _share(row: Figure) -> Mark:
    words = f"{row['model']}: {row['correct']} of {row['n']}, {figures.interval(row['low'], row['high'])}"
    return Mark("dot", words, row["estimate"], row["low"], row["high"])


def maps(result: Result, measure: str) -> list[dict[str, Any]]:
    """A line of heat maps for each tuned model: of all conditions, on one scale, the top heads of each framed."""
    tables = select(result["tables"], measure=measure)
    largest = max(abs(value) for table in tables for row in table["value"] for value in row)
    count, (base,) = result["settings"]["verdict_size"], select(tables, condition="TQA-base")
    lines = []
    for model in tuned(result):
        own = {table["condition"]: table for table in select(tables, model=model)}
        shown = {"TQA-base": base, **{name: own[name] for name in ("TQA-tuned", "VQA", "prior")}}
        drawn = [
            {"condition": name, "map": heat_map(table, largest, _tops(table, count), f"{measure} of heads, {name}")}
            for name, table in shown.items()
        ]
        lines.append({"model": model, "maps": drawn, "largest": largest})
    return lines


def _tops(table: Figure, count: int) -> list[tuple[int, int]]:
    values = {(at, head): value for at, row in enumerate(table["value"]) for head, value in enumerate(row)}
    return sorted(values, key=lambda head: -values[head])[:count]


def overlap_chart(result: Result, measure: str, k: int) -> dict[str, Any]:
    """How many of the top `k` heads two conditions share, as measured and of the true means, with what chance gives."""
    rows = []
    for kind, label in _KINDS.items():
        found = select(result["overlaps"], kind=kind, measure=measure, k=k)
        rows += [Row(label, tuple(_overlap_lane(one, result["settings"]["level"]) for one in found))] * bool(found)
    title = f"Shared of the top {k} of {heads(result)} heads {_CHOSEN[measure]}"
    drawn = rows_chart(rows, title, "A lane for each pair; the sticks are what chance gives.", 152.0, (0.0, float(k)))
    return {"title": title, "chart": drawn}


def _overlap_lane(one: Figure, level: float) -> tuple[Mark, ...]:
    pair = " / ".join(f"{side['model']} {side['condition']}" for side in (one["one"], one["other"]))
    said = numbers.possible(one["p"], one["least_p"], level)
    within = numbers.possible(one["within_p"], one["within_least_p"], level)
    return (
        Mark("stick", f"any heads, by chance: {one['chance']:.2f}, {said}", one["chance"]),
        Mark("stick", f"by chance, in the same layers: {one['within']:.2f}, {within}", one["within"]),
        Mark("ring", f"{pair}, as measured: {one['observed']}", one["observed"]),
        mark("dot", f"{pair}, of the true means", one),
    )


def difference_chart(result: Result, against: str) -> dict[str, Any]:
    """The right colour's logit less another's, in the model and in its top heads alone."""
    k = result["settings"]["verdict_size"]
    rows = []
    for condition in _CONDITIONS:
        found = select(result["differences"], condition=condition, against=against)
        lanes = []
        for model in dict.fromkeys(one["model"] for one in found):
            whole = select(found, model=model, readout="model")[0]
            tops = {of: select(found, model=model, readout=f"top {k}", of=of)[0] for of in _CHOSEN}
            lanes.append(
                (
                    mark("wedge", f"{model}, top {k} by contrast", tops["contrast"]),
                    mark("ring", f"{model}, top {k} by increase", tops["increase"]),
                    mark("dot", f"{model}, model", whole),
                )
            )
        rows.append(Row(condition, tuple(lanes)))
    title = {"random": "Right colour less a random other one", "best": "Right colour less the best other one"}[against]
    return {"title": title, "chart": rows_chart(rows, title, "In logits; a lane for each model.")}


def _lanes(result: Result, name: str, condition: str, **wanted: Any) -> Iterator[tuple[str, Figure]]:
    for one in select(result[name], condition=condition, **wanted):
        yield one["model"], one


def keys_chart(result: Result) -> dict[str, Any]:
    """Attention at the key positions: asked the same, in other words, about another thing; and anywhere."""
    k = result["settings"]["verdict_size"]
    kinds = {"anywhere": "stick", "different": "ring", "paraphrase": "wedge", "same": "dot"}
    rows = []
    for condition, (of, label) in product(INFORMED, _CHOSEN.items()):
        lanes = [
            tuple(mark(kind, f"{model}, {name}", one[name], 3) for name, kind in kinds.items())
            for model, one in _lanes(result, "keys", condition, k=k, of=of)
        ]
        rows.append(Row(f"{condition}, {label}", tuple(lanes)))
    title = "Attention of the top heads at their key positions"
    return {"title": title, "chart": rows_chart(rows, title, "A lane for each model.", 152.0)}


def asked_chart(result: Result) -> dict[str, Any]:
    """How many key positions are on the thing that is asked about."""
    k = result["settings"]["verdict_size"]
    rows = []
    for condition, (of, label) in product(INFORMED, _CHOSEN.items()):
        lanes = [
            (mark("stick", f"{model}, any position", one["asked_chance"]), mark("dot", model, one["asked"]))
            for model, one in _lanes(result, "keys", condition, k=k, of=of)
        ]
        rows.append(Row(f"{condition}, {label}", tuple(lanes)))
    title = "Key positions on the thing that is asked about, share"
    return {"title": title, "chart": rows_chart(rows, title, "A lane for each model.", 152.0, (0.0, 1.0))}


def decoding_chart(result: Result, condition: str, of: str) -> dict[str, Any]:
    """Mean reciprocal ranks at key positions, with both nulls."""
    k = result["settings"]["verdict_size"]
    rows = []
    for readout, label in _READOUTS.items():
        for word in ("colour", "object"):
            lanes = [
                (
                    mark("wedge", f"{model}, average position", one["random"], 3),
                    mark("ring", f"{model}, other questions' words", one["label"], 3),
                    mark("dot", f"{model}, key position", one["key"], 3),
                )
                for model, one in _lanes(result, "decoding", condition, k=k, of=of, readout=readout, word=word)
            ]
            rows.append(Row(f"{label}, {word}", tuple(lanes)))
    title = f"Mean reciprocal rank, {condition}, heads {_CHOSEN[of]}"
    return {"title": title, "chart": rows_chart(rows, title, "A lane for each model.", 158.0)}


def knocked_chart(result: Result, condition: str) -> dict[str, Any]:
    """What knocking out top heads changes, beside every random set."""
    rows = []
    for k in result["settings"]["sizes"]:
        for of, label in (("increase", f"top {k}"), ("base", f"base's top {k}"), ("contrast", f"contrast, top {k}")):
            found = select(result["knocked"], condition=condition, of=of, k=k, how="mean", null="any")
            rows += [Row(label, tuple(_knocked_lane(one, result["settings"]["level"]) for one in found))] * bool(found)
    title = f"Of {heads(result)} heads knocked out, {condition}"
    return {
        "title": title,
        "chart": rows_chart(rows, title, "Change of the log-probability; specks are random sets.", 104.0),
    }


def _knocked_lane(one: Figure, level: float) -> tuple[Mark, ...]:
    specks = tuple(Mark("speck", f"a random set: {figures.number(value)}", value) for value in one["log_prob_sets"])
    words = f"{one['model']}, {numbers.possible(one['log_prob_p'], one['least_p'], level)} by rank"
    return *specks, mark("dot", words, one["log_prob"])


def growth_chart(result: Result) -> dict[str, Any]:
    """By how much tuning raised the increases of the base's top heads, and of all others; by sharpness."""
    k = result["settings"]["verdict_size"]
    rows = []
    for condition, (prefix, says) in product(("TQA-tuned", "VQA"), _GROWN.items()):
        lanes = [
            (
                mark("wedge", f"{model}, all other heads", one[f"{prefix}others"], 3),
                mark("dot", f"{model}, top {k}", one[f"{prefix}top"], 3),
            )
            for model, one in _lanes(result, "growth", condition, k=k)
        ]
        rows.append(Row(f"{condition}, {says}", tuple(lanes)))
    title = f"Increase of the base's top {k} of {heads(result)} heads, after tuning less before"
    return {"title": title, "chart": rows_chart(rows, title, "In nats a head; a lane for each model.", 158.0)}


def ways_chart(result: Result, condition: str) -> dict[str, Any]:
    """What cutting each way costs, by layers."""
    found = select(result["ways"], condition=condition)
    spans = list(dict.fromkeys((one["span"], tuple(one["layers"])) for one in found))
    names = [_span_name(kind, layers, len(spans)) for kind, layers in spans]
    panels = []
    for way, label in _WAYS.items():
        columns = [
            tuple(_way_lane(one) for one in select(found, way=way, span=kind, layers=list(layers)))
            for kind, layers in spans
        ]
        panels.append(Panel(label, tuple(columns)))
    title = f"Looks cut, {condition}"
    return {"title": title, "chart": layers_chart(panels, names, title, "Change of the log-probability, by layers.")}


def _way_lane(one: Figure) -> tuple[Mark, ...]:
    null = (mark("stick", f"{one['model']}, random looks", one["random"]),) if "random" in one else ()
    return *null, mark("dot", one["model"], one["change"])


def _span_name(kind: str, layers: tuple[int, int], count: int) -> str:
    """The layer in the middle of a window, where there is room; the kind of others."""
    if kind != "window":
        return {"shallow": "first", "deep": "last", "whole": "all"}[kind]
    first, stop = layers
    return str(first) if stop - first == 1 else "" if count > 20 and first % 4 else str((first + stop - 1) // 2)
