"""`lapilli explain`: why a model said what it said about a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lapilli.cli.console import print_json, say, steps
from lapilli.cli.options import MOST, MOST_SEED, Device, Dtype, Model, decoded
from lapilli.cli.questions import hidden_share, opened
from lapilli.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image

    from lapilli.core.placement import Placement
    from lapilli.studies.explain.explanation import Explanation
    from lapilli.studies.explain.request import Request


def register(app: typer.Typer) -> None:
    """Add `lapilli explain` to the command line."""
    app.command("explain")(_explain)


def _explain(
    context: typer.Context,
    model: Model,
    image: Annotated[Path, typer.Argument(help="A picture.", show_default=False)],
    question: Annotated[str, typer.Argument(help="What to ask about it.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write, with the page explanation.html; new or empty.")
    ] = None,
    answer: Annotated[str | None, typer.Option(help="The answer to explain; the model's own, if not given.")] = None,
    contrast: Annotated[str | None, typer.Option(help="Explain why the answer was not this one.")] = None,
    target: Annotated[
        str | None,
        typer.Option(help="centred, the default: the logit less the mean over all words; token: the logit."),
    ] = None,
    remove: Annotated[str | None, typer.Option(help="Receipts for these patches, as 3-5,9, not the maps' own.")] = None,
    controls: Annotated[
        int, typer.Option(min=0, max=MOST, help="Random removals of either kind that a receipt has.")
    ] = 20,
    swap: Annotated[
        Path | None, typer.Option(help="A folder of other pictures that the answer is tested with; 5 or more.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Draws the random removals.")] = 0,
    device: Device = "auto",
    dtype: Dtype = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say which patches, words, heads and layers an answer came from, and what it does without them.

    The parts add up to the model's logit. A receipt says what removing the named patches did, beside random ones.
    """
    from lapilli.core.files import reserved
    from lapilli.core.placement import Placement
    from lapilli.model.hub import require_named
    from lapilli.studies.explain.request import Request

    placement = Placement(device, dtype)
    request = Request(
        str(image),
        decoded("question", question),
        answer=None if answer is None else decoded("--answer", answer),
        contrast=None if contrast is None else decoded("--contrast", contrast),
        target=target,
        remove=None if remove is None else _ranges(remove),
        controls=controls,
        swap=swap,
        seed=seed,
    )
    if out is not None:
        context.with_resource(reserved(out))
    require_named(model)
    picture = opened(image)
    explanation, hidden = _explained(model, image.name, picture, request, placement)
    if out is not None:
        explanation.save(out)
    _print(explanation, hidden, out, as_json)


def _explained(
    model: Path, name: str, picture: "Image", request: "Request", placement: "Placement"
) -> tuple["Explanation", float]:
    """The explanation, and the share of the picture called `name` that the model does not see. Raises LapilliError."""
    others = None if request.swap is None else _others(request.swap, picture)
    from lapilli.model.hub import model_folder
    from lapilli.model.llava import load  # last: what was refused should not wait for torch
    from lapilli.model.placement import settings
    from lapilli.studies.explain.run import explained

    settings(placement)  # a device that is not there is said before anything is fetched
    folder = model_folder(model)
    llava = load(folder, placement)
    hidden = hidden_share(llava, name, picture)
    with steps() as progress:
        made = explained(llava, folder, picture, request, dtype=placement.dtype, others=others, progress=progress)
    return made, hidden


def _print(explanation: "Explanation", hidden: float, out: Path | None, as_json: bool) -> None:
    if as_json:
        print_json({"folder": out, "hidden": hidden, **explanation.description})
        return
    say(str(explanation))
    if out is not None:
        say(f"{out / 'explanation.html'}")


def _others(folder: Path, picture: "Image") -> "Iterator[Image]":
    """The pictures of a folder, all looked at and each opened again when it is asked for. Raises LapilliError."""
    from lapilli.data.pictures import open_picture
    from lapilli.inspection.intervention.replacement_pictures import own

    names = own(folder, picture)
    return (open_picture(folder, name) for name in names)


def _ranges(text: str) -> list[range]:
    """The ranges of patches that --remove names, such as 3-5,9. Raises UsageError for what names none."""
    ranges = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        numbers = (first, last) if dash else (first, first)
        are_numbers = all(number.strip().isdecimal() and len(number) < 100 for number in numbers)
        if not are_numbers or int(numbers[0]) > int(numbers[1]):
            raise UsageError(f"--remove {text}: {part!r} is no patch; write numbers and ranges, such as 3-5,9")
        ranges.append(range(int(numbers[0]), int(numbers[1]) + 1))
    return ranges
