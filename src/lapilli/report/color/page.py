"""The page of the study of color questions: verdicts first, then every figure beside its chance level."""

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
    key,
    layers_chart,
    mark,
    rows_chart,
)
from lapilli.report.color.numbers import select
from lapilli.report.kit import figures
from lapilli.report.kit.environment import environment, style
from lapilli.report.kit.heat_map import Labels, heat_map

Result: TypeAlias = Mapping[str, Any]
"""The content of results/color.json."""

Figure: TypeAlias = Mapping[str, Any]

INFORMED = ("VQA", "TQA-tuned", "TQA-base")
"""The conditions whose prompt holds the facts."""

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
    "direct": "Direct contribution to the right color's logit",
    "contrast": "The same, less that to a random other color's logit",
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
    """Write color.html into the folder `out` and return its path. Raises LapilliError when it cannot be written."""
    path = out / "color.html"
    write_atomically(path, render(result))
    return path


def render(result: Result) -> str:
    """Return the page as text: one file that loads nothing else. All text of the result is escaped."""
    templates = environment("color", _FILTERS)
    sheet = style(templates, "page.css", "heat_map.css", "color.css")
    page = templates.get_template("color.html.jinja")
    return page.render(style=sheet, result=result, key=key, **_names(result), **_charts(result))


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
        "verdicts": [verdict_table(verdict, tuned(result)) for verdict in result["verdicts"]],
    }


def _charts(result: Result) -> dict[str, Any]:
    return {
        "accuracy": accuracy_chart(result),
        "maps": [{"title": title, "lines": maps(result, measure)} for measure, title in _MEASURES.items()],
        "overlaps": [overlap_chart(result, measure, k) for k in _sizes(result) for measure in _CHOSEN],
        "differences": [difference_chart(result, against) for against in ("random", "best")],
        "keys": [keys_chart(result), target_chart(result)],
        "decoding": [decoding_chart(result, condition, of) for condition in ("VQA", "TQA-tuned") for of in _CHOSEN],
        "ablations": [ablation_chart(result, condition) for condition in INFORMED],
        "growth": growth_chart(result),
        "layers": [ways_chart(result, condition) for condition in INFORMED],
    }


def tuned(result: Result) -> list[str]:
    """The labels of the tuned models."""
    return [row["model"] for row in result["accuracy"] if row["condition"] == "VQA"]


def _sizes(result: Result) -> list[int]:
    """The numbers of top heads to chart: that of the verdicts, and the paper's where it differs."""
    settings = result["settings"]
    return list(dict.fromkeys((settings["verdict_size"], min(settings["paper"], heads(result)))))


def heads(result: Result) -> int:
    """The number of heads of a model."""
    return int(result["settings"]["layers"] * result["settings"]["heads"])


def finding(verdicts: Sequence[Figure]) -> str:
    """The finding of the study in a sentence: "Of 3 statements 1 holds (c), 1 is mixed (b) and 1 is not shown (a)."."""
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
    """A verdict with a line for every part and condition, and in it the tests of every model."""
    lines = list(dict.fromkeys((part["says"], part["condition"]) for part in verdict["parts"]))
    cells = {(part["says"], part["condition"], part["model"]): part for part in verdict["parts"]}
    return dict(verdict) | {
        "lines": [
            {"says": says, "condition": condition, "cells": [cells[says, condition, model] for model in models]}
            for says, condition in lines
        ]
    }


def accuracy_chart(result: Result) -> Markup:
    """The share of right answers under every condition."""
    rows = []
    for condition in _CONDITIONS:
        rates = select(result["accuracy"], condition=condition)
        rows.append(Row(condition, tuple((_share(rate),) for rate in rates)))
    return rows_chart(rows, "Answered rightly", "A lane for each model.", ends=(0.0, 1.0))


def _share(row: Figure) -> Mark:
    words = f"{row['model']}: {row['correct']} of {row['n']}, {figures.interval(row['low'], row['high'])}"
    return Mark("dot", words, row["estimate"], row["low"], row["high"])


def maps(result: Result, measure: str) -> list[dict[str, Any]]:
    """A line of heat maps for each tuned model: all conditions on one scale, the top heads of each in frames."""
    tables = select(result["tables"], measure=measure)
    largest = max(abs(value) for table in tables for row in table["value"] for value in row)
    count, (base,) = result["settings"]["verdict_size"], select(tables, condition="TQA-base")
    lines = []
    for model in tuned(result):
        own = {table["condition"]: table for table in select(tables, model=model)}
        by_condition = {"TQA-base": base, **{name: own[name] for name in ("TQA-tuned", "VQA", "prior")}}
        heat_maps = [
            {"condition": name, "map": _heat_map(table, largest, count, f"{measure} of heads, {name}")}
            for name, table in by_condition.items()
        ]
        lines.append({"model": model, "maps": heat_maps, "largest": largest})
    return lines


def _heat_map(table: Figure, largest: float, count: int, title: str) -> Markup:
    labels = Labels(title, "Layers from the bottom, heads from the left.", "layer", "head")
    return heat_map(table, labels, largest, framed=_tops(table, count))


def _tops(table: Figure, count: int) -> list[tuple[int, int]]:
    values = {(at, head): value for at, row in enumerate(table["value"]) for head, value in enumerate(row)}
    return sorted(values, key=lambda head: -values[head])[:count]


def overlap_chart(result: Result, measure: str, k: int) -> dict[str, Any]:
    """The number of top `k` heads that two conditions share, as measured and of the true means, beside chance."""
    rows, level = [], result["settings"]["level"]
    for kind, label in _KINDS.items():
        overlaps = select(result["overlaps"], kind=kind, measure=measure, k=k)
        rows += [Row(label, tuple(_overlap_lane(overlap, level) for overlap in overlaps))] * bool(overlaps)
    title = f"Shared of the top {k} of {heads(result)} heads {_CHOSEN[measure]}"
    chart = rows_chart(rows, title, "A lane for each pair; the sticks are what chance gives.", 152.0, (0.0, float(k)))
    return {"title": title, "chart": chart}


def _overlap_lane(overlap: Figure, level: float) -> tuple[Mark, ...]:
    pair = " / ".join(f"{side['model']} {side['condition']}" for side in (overlap["one"], overlap["other"]))
    any_heads = numbers.possible(overlap["p"], overlap["least_p"], level)
    same_layers = numbers.possible(overlap["within_p"], overlap["within_least_p"], level)
    return (
        Mark("stick", f"any heads, by chance: {overlap['chance']:.2f}, {any_heads}", overlap["chance"]),
        Mark("stick", f"by chance, in the same layers: {overlap['within']:.2f}, {same_layers}", overlap["within"]),
        Mark("ring", f"{pair}, as measured: {overlap['observed']}", overlap["observed"]),
        mark("dot", f"{pair}, of the true means", overlap),
    )


def difference_chart(result: Result, against: str) -> dict[str, Any]:
    """The right color's logit less another's, in the model and in its top heads alone."""
    k = result["settings"]["verdict_size"]
    rows = []
    for condition in _CONDITIONS:
        differences = select(result["differences"], condition=condition, against=against)
        lanes = []
        for model in dict.fromkeys(difference["model"] for difference in differences):
            whole = select(differences, model=model, readout="model")[0]
            tops = {of: select(differences, model=model, readout=f"top {k}", of=of)[0] for of in _CHOSEN}
            lanes.append(
                (
                    mark("wedge", f"{model}, top {k} by contrast", tops["contrast"]),
                    mark("ring", f"{model}, top {k} by increase", tops["increase"]),
                    mark("dot", f"{model}, model", whole),
                )
            )
        rows.append(Row(condition, tuple(lanes)))
    title = {"random": "Right color less a random other one", "best": "Right color less the best other one"}[against]
    return {"title": title, "chart": rows_chart(rows, title, "In logits; a lane for each model.")}


def _lanes(result: Result, name: str, condition: str, **wanted: Any) -> Iterator[tuple[str, Figure]]:
    for figure in select(result[name], condition=condition, **wanted):
        yield figure["model"], figure


def keys_chart(result: Result) -> dict[str, Any]:
    """Attention at the key positions for the same question, a paraphrase and another thing; and at any position."""
    k = result["settings"]["verdict_size"]
    kinds = {"anywhere": "stick", "different": "ring", "paraphrase": "wedge", "same": "dot"}
    rows = []
    for condition, (of, label) in product(INFORMED, _CHOSEN.items()):
        lanes = [
            tuple(mark(kind, f"{model}, {name}", figure[name], 3) for name, kind in kinds.items())
            for model, figure in _lanes(result, "keys", condition, k=k, of=of)
        ]
        rows.append(Row(f"{condition}, {label}", tuple(lanes)))
    title = "Attention of the top heads at their key positions"
    return {"title": title, "chart": rows_chart(rows, title, "A lane for each model.", 152.0)}


def target_chart(result: Result) -> dict[str, Any]:
    """The share of key positions on the thing that is asked about."""
    k = result["settings"]["verdict_size"]
    rows = []
    for condition, (of, label) in product(INFORMED, _CHOSEN.items()):
        lanes = [
            (mark("stick", f"{model}, any position", figure["asked_chance"]), mark("dot", model, figure["asked"]))
            for model, figure in _lanes(result, "keys", condition, k=k, of=of)
        ]
        rows.append(Row(f"{condition}, {label}", tuple(lanes)))
    title = "Key positions on the thing that is asked about, share"
    return {"title": title, "chart": rows_chart(rows, title, "A lane for each model.", 152.0, (0.0, 1.0))}


def decoding_chart(result: Result, condition: str, of: str) -> dict[str, Any]:
    """Mean reciprocal ranks at key positions, beside both nulls."""
    k = result["settings"]["verdict_size"]
    rows = []
    for readout, label in _READOUTS.items():
        for word in ("color", "object"):
            lanes = [
                (
                    mark("wedge", f"{model}, average position", figure["random"], 3),
                    mark("ring", f"{model}, other questions' words", figure["label"], 3),
                    mark("dot", f"{model}, key position", figure["key"], 3),
                )
                for model, figure in _lanes(result, "decoding", condition, k=k, of=of, readout=readout, word=word)
            ]
            rows.append(Row(f"{label}, {word}", tuple(lanes)))
    title = f"Mean reciprocal rank, {condition}, heads {_CHOSEN[of]}"
    return {"title": title, "chart": rows_chart(rows, title, "A lane for each model.", 158.0)}


def ablation_chart(result: Result, condition: str) -> dict[str, Any]:
    """The effect of knocking out top heads, beside every random set."""
    rows, level = [], result["settings"]["level"]
    for k in result["settings"]["sizes"]:
        for of, label in (("increase", f"top {k}"), ("base", f"base's top {k}"), ("contrast", f"contrast, top {k}")):
            effects = select(result["knocked"], condition=condition, of=of, k=k, how="mean", null="any")
            rows += [Row(label, tuple(_ablation_lane(effect, level) for effect in effects))] * bool(effects)
    title = f"Of {heads(result)} heads knocked out, {condition}"
    return {
        "title": title,
        "chart": rows_chart(rows, title, "Change of the log-probability; specks are random sets.", 104.0),
    }


def _ablation_lane(effect: Figure, level: float) -> tuple[Mark, ...]:
    specks = tuple(Mark("speck", f"a random set: {figures.number(value)}", value) for value in effect["log_prob_sets"])
    words = f"{effect['model']}, {numbers.possible(effect['log_prob_p'], effect['least_p'], level)} by rank"
    return *specks, mark("dot", words, effect["log_prob"])


def growth_chart(result: Result) -> dict[str, Any]:
    """The growth of the increases by tuning, of the base's top heads and of all others, by sharpness."""
    k = result["settings"]["verdict_size"]
    rows = []
    for condition, (prefix, says) in product(("TQA-tuned", "VQA"), _GROWN.items()):
        lanes = [
            (
                mark("wedge", f"{model}, all other heads", figure[f"{prefix}others"], 3),
                mark("dot", f"{model}, top {k}", figure[f"{prefix}top"], 3),
            )
            for model, figure in _lanes(result, "growth", condition, k=k)
        ]
        rows.append(Row(f"{condition}, {says}", tuple(lanes)))
    title = f"Increase of the base's top {k} of {heads(result)} heads, after tuning less before"
    return {"title": title, "chart": rows_chart(rows, title, "In nats a head; a lane for each model.", 158.0)}


def ways_chart(result: Result, condition: str) -> dict[str, Any]:
    """The cost of cutting each route, by layers."""
    cuts = select(result["ways"], condition=condition)
    spans = list(dict.fromkeys((cut["span"], tuple(cut["layers"])) for cut in cuts))
    names = [_span_name(kind, layers, len(spans)) for kind, layers in spans]
    panels = []
    for way, label in _WAYS.items():
        columns = [
            tuple(_way_lane(cut) for cut in select(cuts, way=way, span=kind, layers=list(layers)))
            for kind, layers in spans
        ]
        panels.append(Panel(label, tuple(columns)))
    title = f"Looks cut, {condition}"
    return {"title": title, "chart": layers_chart(panels, names, title, "Change of the log-probability, by layers.")}


def _way_lane(cut: Figure) -> tuple[Mark, ...]:
    null = (mark("stick", f"{cut['model']}, random looks", cut["random"]),) if "random" in cut else ()
    return *null, mark("dot", cut["model"], cut["change"])


def _span_name(kind: str, layers: tuple[int, int], count: int) -> str:
    """The name of a span of layers: the middle layer of a window, where there is room, or first, last, all."""
    if kind != "window":
        return {"shallow": "first", "deep": "last", "whole": "all"}[kind]
    first, stop = layers
    return str(first) if stop - first == 1 else "" if count > 20 and first % 4 else str((first + stop - 1) // 2)
