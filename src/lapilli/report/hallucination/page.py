"""The page `hallucination.html`: one study as one file that needs nothing else."""

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
    """The page as text. All text of the result is escaped; only what this package draws is markup."""
    result = plain(result)
    baseline = result["settings"]["baseline"]
    made = environment(
        "hallucination", (figures.percent, figures.points, figures.counted, story.within, story.share, figures.number)
    )
    return made.get_template("hallucination.html.jinja").render(
        style=style(made, "page.css", "hallucination.css"),
        headline=story.headline(result),
        opening=story.opening(result),
        result=result,
        tasks=[_task(result, task) for task in result["tasks"] if story.found(result, task["name"], baseline)],
        kinds=list(dict.fromkeys(kind for model in result["models"] for kind in model["kinds"])),
        parts=drawing.parts(result) if any(result["taken"].values()) else None,
        groups=drawing.GROUPS,
        few=story.FEW,
        absent=sum(kind["n"] for kind in result["models"][0]["kinds"].values()),
        part_names=drawing.PARTS,
        examples=[_example(one) for one in result["examples"]],
    )


def _task(result: Result, task: Mapping[str, Any]) -> dict[str, Any]:
    """A task's chart, and its table: a row a score with its areas by kind and its test."""
    tests = {one["score"]: one for one in result["tests"] if one["task"] == task["name"]}
    there = {one["kind"] for one in result["areas"]}
    kinds = [kind for kind in result["models"][0]["kinds"] if kind in there]
    rows = [
        {
            **score,
            "all": story.found(result, task["name"], score["name"]),
            "kinds": [story.found(result, task["name"], score["name"], kind=kind) for kind in kinds],
            "test": tests.get(score["name"]),
        }
        for score in result["scores"]
    ]
    regressions = [one for one in result["regressions"] if one["task"] == task["name"]]
    sentences = story.of_task(result, task["name"]) if task["name"] != story.FIRST else []
    chart = drawing.areas(result, task["name"])
    return {**task, "chart": chart, "sentences": sentences, "kinds": kinds, "rows": rows, "regressions": regressions}


def _example(one: Mapping[str, Any]) -> dict[str, Any]:
    words = f"Which patches spoke for yes and which against it: {one['question']}"
    uri = data_uri(one["picture"], Path())
    return {**one, "picture": uri, "overlay": drawing.overlay(one["map"], one["grid"], words)}
