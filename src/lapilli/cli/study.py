"""`lapilli study`: published accounts of how a LLaVA works, measured again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import TaskID

from lapilli.cli.console import print_json, progress_bar, results
from lapilli.cli.options import Device

if TYPE_CHECKING:
    from lapilli.model.llava import Llava

_Data = Annotated[Path, typer.Option(help="A folder of held-out scenes.", show_default=False)]
_Out = Annotated[
    Path, typer.Option(help="Run folder; of a study that was interrupted, it goes on.", show_default=False)
]
_Questions = Annotated[int, typer.Option(min=1, help="How many questions; fewer where there are no more.")]
_Seed = Annotated[int, typer.Option(help="Draws questions, other words, random sets and intervals.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def register(app: typer.Typer) -> None:
    """Add `lapilli study` to the command line."""
    noun = typer.Typer(help="Measure again, over many questions, what was published.")
    noun.callback()(_noun)
    noun.command("colour")(_colour)
    app.add_typer(noun, name="study")


def _noun() -> None:
    """Measure again, over many questions and with controls, what was published about how a LLaVA works."""


def _colour(
    base: Annotated[
        Path, typer.Argument(help="A LLaVA whose language model is not tuned yet, as joined.", show_default=False)
    ],
    tuned: Annotated[list[Path], typer.Argument(help="Tuned models, of other training seeds.", show_default=False)],
    data: _Data,
    out: _Out,
    questions: _Questions = 200,
    seed: _Seed = 0,
    device: Device = "auto",
    as_json: _Json = False,
) -> None:
    """How a color is answered from a picture and from a text: heads, key positions, ways (arXiv 2411.10950).

    Writes colour.html into the run folder, and every number, with n, interval and chance, into results/colour.json.
    """
    from lapilli.inspection.study.colour import opened, settings
    from lapilli.inspection.study.result import colour_result
    from lapilli.report.study.colour import write_page

    of = settings(base, tuned, data, questions, seed)
    load = _loader(device)
    run = opened(out, of)
    with _steps() as note:
        result = colour_result(of, run, load, note)
    page = write_page(result, out)
    run.finish()
    if as_json:
        print_json({"folder": out, **result})
        return
    for one in result["verdicts"]:
        results.print(f"({one['statement']}) {one['says']}: {one['verdict']}", markup=False, soft_wrap=True)
    results.print(f"{page}", markup=False, highlight=False, soft_wrap=True)


def _loader(device: str) -> "Callable[[Path], Llava]":
    """Opens models, one at a time: the one that was opened last is at hand."""
    from lapilli.model.llava import load
    from lapilli.model.placement import Placement

    placement = Placement(device)
    placement.settings()  # a device that is not there is said before anything is written
    return lru_cache(maxsize=1)(lambda path: load(path, placement))


@contextmanager
def _steps() -> "Iterator[Callable[[str, int, int], None]]":
    """A display of the steps of a study, on a terminal, each with a bar of its own."""
    with progress_bar() as bar:
        tasks: dict[str, TaskID] = {}

        def note(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total)
            bar.update(tasks[step], completed=done, total=total)

        yield note
