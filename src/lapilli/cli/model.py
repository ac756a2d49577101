"""`lapilli model`: models made and described."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from lapilli.cli.console import messages, print_json, results

if TYPE_CHECKING:
    from lapilli.model.bridges import Bridge, Published

_Part = Annotated[str, typer.Option(help="Folder, or name of a part that comes with lapilli.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add `lapilli model` to the command line."""
    noun = typer.Typer(help="Join models, and count what joins them.", no_args_is_help=True)
    noun.command("build")(_build)
    noun.command("bridges")(_bridges)
    app.add_typer(noun, name="model")


def _build(
    out: Annotated[Path, typer.Argument(help="Folder to write; new or empty.", show_default=False)],
    vision: _Part,
    language: _Part,
    connector: Annotated[str, typer.Option(help="linear, mlp2x_gelu, or mlpNx_gelu.")] = "mlp2x_gelu",
    template: Annotated[str, typer.Option(help="The chat template: vicuna_v1, llama_2, chatml.")] = "vicuna_v1",
    feature_layer: Annotated[int, typer.Option(help="The vision encoder's hidden state that is read.")] = -2,
    seed: Annotated[int, typer.Option(help="Of the connector's first weights.")] = 0,
) -> None:
    """Join a vision encoder and a language model into a LLaVA that transformers loads."""
    from lapilli.core.files import refuse_occupied
    from lapilli.model.llava import join, save

    refuse_occupied(out)
    llava = join(vision, language, connector, template, feature_layer, seed)
    save(llava, out)
    for note in llava.card.notes:
        messages.print(note, markup=False, highlight=False, soft_wrap=True)
    messages.print(f"{out}: a LLaVA with {_millions(llava.model)} million parameters", markup=False, highlight=False)


def _bridges(
    vision: Annotated[int, typer.Option(min=1, help="Hidden size of the vision encoder.")] = 1024,
    language: Annotated[int, typer.Option(min=1, help="Hidden size of the language model.")] = 4096,
    layers: Annotated[int, typer.Option(min=1, help="Layers of the language model.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count what LLaVA, BLIP-2 and Flamingo put between a vision encoder and a language model."""
    from lapilli.model.bridges import Widths, bridges, published

    found, known = bridges(Widths(vision, language, layers)), published()
    if as_json:
        print_json({"bridges": [asdict(one) for one in found], "published": [asdict(one) for one in known]})
        return
    results.print(_table_of_bridges(found))
    results.print(_table_of_published(known))


def _table_of_bridges(found: Sequence["Bridge"]) -> Table:
    widths = found[0].widths
    title = f"Trainable parameters for v = {widths.vision}, d = {widths.language}, L = {widths.layers}"
    table = Table("design", "paper", Column("parameters", justify="right"), "formula", title=title)
    for one in found:
        table.add_row(one.name, one.paper, f"{one.parameters:,}", one.formula)
    return table


def _table_of_published(known: Sequence["Published"]) -> Table:
    columns = (
        "design",
        "paper",
        Column("counted", justify="right"),
        Column("published", justify="right"),
        "difference",
    )
    table = Table(*columns, title="At the papers' own widths")
    for one in known:
        table.add_row(one.name, one.paper, f"{one.parameters:,}", one.published, one.difference)
    return table


def _millions(model: object) -> str:
    count = sum(parameter.numel() for parameter in model.parameters())  # type: ignore[attr-defined]
    return f"{count / 1e6:.2f}"
