"""`lapilli ask`: one question about one picture."""

from pathlib import Path
from typing import Annotated

import typer

from lapilli.cli.console import print_json, say
from lapilli.cli.options import MOST, Bits, Device, Dtype, Model
from lapilli.cli.questions import hidden_share, opened, question_sample


def register(app: typer.Typer) -> None:
    """Add `lapilli ask` to the command line."""
    app.command("ask")(_ask)


def _ask(
    model: Model,
    image: Annotated[Path, typer.Argument(help="A picture.", show_default=False)],
    question: Annotated[str, typer.Argument(help="What to ask about it.", show_default=False)],
    max_new_tokens: Annotated[int, typer.Option(min=1, max=MOST, help="The answer ends after so many tokens.")] = 64,
    device: Device = "auto",
    dtype: Dtype = None,
    bits: Bits = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Ask a model about a picture."""
    from lapilli.core.placement import Placement
    from lapilli.model.hub import require_named

    sample, placement = question_sample(image, question), Placement(device, dtype, bits)
    require_named(model)
    picture = opened(image)
    from lapilli.inference.answer import answer  # last: what was refused should not have waited for torch
    from lapilli.model.llava import load

    llava = load(model, placement)
    hidden = hidden_share(llava, image.name, picture)
    (response,) = answer(llava, [sample], lambda name: picture, max_new_tokens)
    if as_json:
        print_json({"model": model, "image": image, "question": question, "answer": response.text, "hidden": hidden})
    else:
        say(response.text)
