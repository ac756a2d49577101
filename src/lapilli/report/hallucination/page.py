"""The page `hallucination.html`: one study in one self-contained file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lapilli.core.files import write_atomically
from lapilli.core.plain import plain
from lapilli.report.hallucination import drawing, story
from lapilli.report.hallucination.story import Result
from lapilli.report.kit import figures
from lapilli.report.kit.environment import environment, style
from lapilli.report.kit.pictures import data_uri


def write_page(result: Result, out: Path) -> None:
    """Write the page of results/hallucination.json to `out`. Raises LapilliError when it cannot be written."""
    write_atomically(out, render(result))


def render(result: Result) -> str:
    """Return the page as text. All text of the result is escaped; only this package's drawings are markup."""
    result = plain(result)
    baseline = result["settings"]["baseline"]
    templates = environment(
        "hallucination", (figures.percent, figures.points, figures.counted, story.within, story.share, figures.number)
    )
    return templates.get_template("hallucination.html.jinja").render(
        style=style(templates, "page.css", "hallucination.css"),
        headline=story.headline(result),
        opening=story.opening(result),
        result=result,
        tasks=[_task(result, task) for task in result["tasks"] if story.area_of(result, task["name"], baseline)],
        kinds=list(dict.fromkeys(kind for model in result["models"] for kind in model["kinds"])),
        parts=drawing.parts(result) if any(result["taken"].values()) else None,
        groups=drawing.GROUPS,
        few=story.FEW,
        absent=sum(kind["n"] for kind in result["models"][0]["kinds"].values()),
        part_names=drawing.PARTS,
        examples=[_example(example) for example in result["examples"]],
    )


def _task(result: Result, task: Mapping[str, Any]) -> dict[str, Any]:
    """A task's chart, and its table: one row for each score, with its areas by kind and its test."""
    tests = {test["score"]: test for test in result["tests"] if test["task"] == task["name"]}
    scored = {area["kind"] for area in result["areas"]}
    kinds = [kind for kind in result["models"][0]["kinds"] if kind in scored]
    rows = [
        {
            **score,
            "all": story.area_of(result, task["name"], score["name"]),
            "kinds": [story.area_of(result, task["name"], score["name"], kind=kind) for kind in kinds],
            "test": tests.get(score["name"]),
        }
        for score in result["scores"]
    ]
    regressions = [regression for regression in result["regressions"] if regression["task"] == task["name"]]
    sentences = story.of_task(result, task["name"]) if task["name"] != story.FIRST else []
    chart = drawing.areas(result, task["name"])
    return {**task, "chart": chart, "sentences": sentences, "kinds": kinds, "rows": rows, "regressions": regressions}


def _example(example: Mapping[str, Any]) -> dict[str, Any]:
    words = f"Which patches spoke for yes and which against it: {example['question']}"
    uri = data_uri(example["picture"], Path())
    return {**example, "picture": uri, "overlay": drawing.overlay(example["map"], example["grid"], words)}
