"""`lapilli model`: models made and described."""

from pathlib import Path
from typing import Annotated

import typer

from lapilli.cli.console import messages

_Part = Annotated[str, typer.Option(help="Folder, or name of a part that comes with lapilli.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add `lapilli model` to the command line."""
    noun = typer.Typer(help="Join models.", no_args_is_help=True)
    noun.command("build")(_build)
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


def _millions(model: object) -> str:
    count = sum(parameter.numel() for parameter in model.parameters())  # type: ignore[attr-defined]
    return f"{count / 1e6:.2f}"
