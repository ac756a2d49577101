"""`lapilli quickstart`: the whole story on a laptop."""

from pathlib import Path
from typing import Annotated

import typer

from lapilli.cli.console import bars, note, print_json, say
from lapilli.cli.options import MOST, MOST_SEED, decoded
from lapilli.core.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add `quickstart` to the command line."""
    app.command()(quickstart)


def quickstart(
    out: Annotated[Path, typer.Option(help="The folder that gets everything.")] = Path("runs/quickstart"),
    language: Annotated[
        str,
        typer.Option(
            help="The language model: pebble-lm, which comes with lapilli, or smollm2, a real one of 135 million "
            "parameters, which is fetched; that takes far longer."
        ),
    ] = "pebble-lm",
    seed: Annotated[
        int,
        typer.Option(
            min=0, max=MOST_SEED, help="Of the scenes, the projector's first weights and the order of training."
        ),
    ] = 0,
    scenes: Annotated[int, typer.Option(min=8, max=MOST, help="How many training scenes to draw.")] = 7_000,
    tests: Annotated[int, typer.Option(min=8, max=MOST, help="How many test scenes to draw for each split.")] = 600,
    override: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change both stages' recipes.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json instead of where the page is.")] = False,
) -> None:
    """From nothing to a LLaVA that answers: data, two stages, scores, a page.

    It takes about ten minutes; interrupted, run it again.
    """
    from lapilli.core.read import read_json
    from lapilli.studies.quickstart import LANGUAGES, Journey, quickstart

    if language not in LANGUAGES:
        raise UsageError(f"--language {language}: choose {' or '.join(LANGUAGES)}")
    journey = Journey(
        out, language, seed, scenes, tests, overrides=tuple(decoded("--set", one) for one in override or ())
    )
    try:
        with bars() as progress:
            page = quickstart(journey, note, progress)
    except KeyboardInterrupt:
        note(f"stopped; go on with: {journey.command}")
        raise
    if as_json:
        print_json(read_json(out / "results.json", "choose another --out"))
    else:
        say(f"The page: {page}\nThe model: {out / 'model'}")
