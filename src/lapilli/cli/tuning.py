"""What the commands about a tuning do alike: refuse what starts nothing, finish their runs, draw the pages, print."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import typer

from lapilli.cli.console import go_on, print_json, say
from lapilli.cli.options import require_tuning
from lapilli.core.progress import Progress

if TYPE_CHECKING:
    from lapilli.core.placement import Placement
    from lapilli.core.run import RunDir
    from lapilli.studies.tuning import Tuning


def run_folder(page: str) -> Any:
    """The option of a run's folder, in which this page is drawn."""
    return typer.Option(help=f"A run folder, with the page {page}; an interrupted one continues.")


Result: TypeAlias = Mapping[str, Any]

Study: TypeAlias = "Callable[[Path, Tuning, Placement], Result]"
"""Goes on with the run of a study in a folder until it is finished, and draws its page; returns its result."""


@dataclass(frozen=True)
class TuningOptions:
    """The options that these commands share, by their names."""

    base: Path
    tuned: Path
    data: Path
    out: Path
    samples: int
    floor: Path | None
    format_control: Path | None
    seed: int
    device: str
    as_json: bool


def carry_out(
    context: typer.Context, options: TuningOptions, study: Study, name: str, lines: Callable[[Result], Iterable[str]]
) -> None:
    """Run the study `name` of a tuning, and print what `lines` says of its result.

    Raises UsageError and LapilliError before torch is imported where nothing can be started.
    """
    from lapilli.core.placement import Placement
    from lapilli.core.run import RunDir
    from lapilli.studies.tuning import tuning

    out = options.out
    context.with_resource(RunDir.alone(out))
    placement = Placement(options.device)
    models = require_tuning(options.base, options.tuned, options.floor, options.format_control)
    made = study(out, tuning(models, options.data, options.samples, options.seed), placement)
    if options.as_json:
        print_json({"folder": out, **made})
        return
    for line in lines(made):
        say(line)
    say(f"{page_of(out, name)}")


def finished(
    run: "RunDir", name: str, measure: Callable[[Progress], object], write_page: Callable[[Result, Path], None]
) -> "RunDir":
    """Measure what the run of the study `name` lacks, finish it, and draw its page: that can be drawn again later."""
    go_on(run, measure)
    write_page(run.load(name), page_of(run.path, name))
    return run


def page_of(out: Path, name: str) -> Path:
    """The page of a study's run."""
    return out / f"{name}.html"
