"""`lapilli model`: models made and described."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from lapilli.cli.console import messages, print_json, results

if TYPE_CHECKING:
    from lapilli.model.bridges import Bridge, Published
    from lapilli.model.info import Info

_VISION = "Folder of a CLIP or SigLIP encoder, or pebble-vision, which comes with lapilli."
_LANGUAGE = "Folder of a causal language model, or pebble-lm, which comes with lapilli."


def register(app: typer.Typer) -> None:
    """Add `lapilli model` to the command line."""
    noun = typer.Typer(help="Join models, describe them, and count what joins them.", no_args_is_help=True)
    noun.command("build")(_build)
    noun.command("info")(_info)
    noun.command("bridges")(_bridges)
    app.add_typer(noun, name="model")


def _build(
    out: Annotated[Path, typer.Argument(help="Folder to write; new or empty.", show_default=False)],
    vision: Annotated[str, typer.Option(help=_VISION, show_default=False)],
    language: Annotated[str, typer.Option(help=_LANGUAGE, show_default=False)],
    connector: Annotated[
        str, typer.Option(help="linear, mlp2x_gelu, or mlpNx_gelu (N > 2: for lapilli alone).")
    ] = "mlp2x_gelu",
    template: Annotated[
        str, typer.Option(help="The chat template: vicuna_v1, llava_v1, llama_2, mistral, chatml, or own.")
    ] = "vicuna_v1",
    feature_layer: Annotated[int, typer.Option(help="The vision encoder's hidden state that is read.")] = -2,
    seed: Annotated[int, typer.Option(help="Of the connector's first weights.")] = 0,
) -> None:
    """Join a vision encoder and a language model into a LLaVA that transformers loads."""
    from lapilli.core.files import refuse_occupied
    from lapilli.model.connector import learning
    from lapilli.model.llava import join, save

    refuse_occupied(out)
    llava = join(vision, language, connector, template, feature_layer, seed)
    save(llava, out)
    for note in llava.card.notes:
        messages.print(note, markup=False, highlight=False, soft_wrap=True)
    bridge = sum(p.numel() for p in learning(llava.model.model.multi_modal_projector, connector))
    total = f"{_millions(llava.model)} million parameters, {bridge:,} of them in the connector"
    messages.print(f"{out}: a LLaVA with {total}", markup=False, highlight=False, soft_wrap=True)


def _info(
    model: Annotated[Path, typer.Argument(help="Folder of a LLaVA.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what a model's folder holds, without reading its weights: parts, sizes, formats, template, pictures."""
    from lapilli.model.info import describe

    info = describe(model)
    if as_json:
        print_json(asdict(info))
        return
    results.print(_table_of_parts(info))
    for name, value in _facts(info).items():
        results.print(f"{name:>10}  {value}", markup=False, highlight=False, soft_wrap=True)
    for note in info.notes:
        results.print(f"{'':>10}  {note}", markup=False, highlight=False, soft_wrap=True)


def _table_of_parts(info: "Info") -> Table:
    table = Table("part", "kind", Column("parameters", justify="right"), title=Text(info.path), show_footer=True)
    table.columns[2].footer = f"{sum(part.parameters for part in info.parts):,}"
    for part in info.parts:
        table.add_row(part.role, part.kind, f"{part.parameters:,}")
    return table


def _facts(info: "Info") -> dict[str, str]:
    stored = ", ".join(f"{count:,} in {dtype}" for dtype, count in info.dtypes.items())
    memory = ", ".join(f"{size / 1e6:,.1f} MB in {dtype}" for dtype, size in info.memory.items())
    return {
        "template": info.template or "not said; the folder has none",
        "picture": f"{_side(info)}; {info.picture}",
        "layer": f"{info.feature_layer} of the vision encoder's hidden states is read",
        "weights": f"{stored}; named as in layout {info.layout}",
        "memory": memory,
    }


def _side(info: "Info") -> str:
    if info.patches is None:
        return "as large as the vision encoder wants it, which is not in the folder"
    return f"{info.image_size} x {info.image_size}, {info.patches} patches"


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
