"""`lapilli explain`: why a model said what it said about a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lapilli.cli.console import print_json, say, steps
from lapilli.cli.options import MOST, MOST_SEED, Device, Dtype, Model, decoded
from lapilli.cli.questions import asked, hidden_share, opened
from lapilli.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from lapilli.data.sample import Sample
    from lapilli.inspection.target import Kind, Target
    from lapilli.inspection.trace import Trace
    from lapilli.model.llava import Llava

_MAX_NEW_TOKENS = 64
_KINDS: dict[str, "Kind"] = {"centred": "centred", "token": "token"}


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
    from lapilli.model.hub import hub_name, model_folder, require_named

    sample, placement = asked(image, question), Placement(device, dtype)
    answer, contrast = (
        None if text is None else decoded(name, text) for name, text in (("--answer", answer), ("--contrast", contrast))
    )
    _require_kind(target, contrast)
    spans = None if remove is None else _spans(remove)
    if out is not None:
        context.with_resource(reserved(out))
    require_named(model)
    picture = opened(image)
    others = None if swap is None else _others(swap, picture)
    from lapilli.inspection.answer_words import answer_text  # last: what was refused should not wait for torch
    from lapilli.model.llava import load
    from lapilli.model.parts import name_of
    from lapilli.model.placement import settings
    from lapilli.studies.explain.explanation import explanation
    from lapilli.studies.explain.findings import explain

    settings(placement)  # a device that is not there is said before anything is fetched
    folder = model_folder(model)
    llava = load(folder, placement)
    hidden = hidden_share(llava, image.name, picture)
    trace = _answered(llava, sample, picture, answer)
    chosen, at = _target(trace, sample, target, contrast)
    patches = None if spans is None else _patches(spans, trace.layout.patches(0).size)
    with steps() as progress:
        swapped = None if others is None else [llava.pixels.view(other) for other in others]
        findings = explain(trace, picture, chosen, at, controls, patches, seed, progress, swapped)
    given = answer_text(trace)
    options: dict[str, Any] = {"answer": given, "contrast": contrast, "controls": controls, "dtype": dtype}
    options |= {"target": target, "swap": swap}
    command = _command(hub_name(folder) or str(model), image, question, options)
    made = explanation(findings, picture, name_of(folder), command)
    if out is not None:
        made.save(out)
    if as_json:
        print_json({"folder": out, "hidden": hidden, **made.description})
    else:
        say(str(made))
        if out is not None:
            say(f"{out / 'explanation.html'}")


def _others(folder: Path, picture: "Image") -> "Iterator[Image]":
    """The pictures of a folder, all looked at and each opened again when it is asked for. Raises LapilliError."""
    from lapilli.data.pictures import open_picture
    from lapilli.inspection.intervention.replacement_pictures import own

    names = own(folder, picture)
    return (open_picture(folder, name) for name in names)


def _answered(llava: "Llava", sample: "Sample", picture: "Image", given: str | None) -> "Trace":
    """The trace of the answer that is given, or of the one that the model makes."""
    from lapilli.inference.answer import answer
    from lapilli.inspection.attribution.contrast import answered
    from lapilli.inspection.recording import recording, traced

    if given is not None:
        return traced(llava, answered(llava, sample, given), llava.pixels([picture]), whole=True)
    with recording(llava, whole=True) as record:
        (made,) = answer(llava, [sample], lambda name: picture, _MAX_NEW_TOKENS)
    return record.trace(made.ids, made.layout)


def _require_kind(kind: str | None, contrast: str | None) -> None:
    """Raise UsageError for a target that is none, and for one beside a contrast, which is a target itself."""
    if kind not in (None, *_KINDS):
        raise UsageError(f"--target {kind}: unknown; choose {' or '.join(_KINDS)}")
    if kind is not None and contrast is not None:
        raise UsageError(f"--target {kind}: the target of --contrast is the difference; leave one of them out")


def _target(
    trace: "Trace", sample: "Sample", kind: str | None, contrast: str | None
) -> "tuple[Target | None, int | None]":
    """What is to be taken apart, None for what is usual, and the row that it is about, if it is about one."""
    from lapilli.inspection.attribution.contrast import contrasted
    from lapilli.inspection.target import Target

    if contrast is not None:
        return contrasted(trace, sample, contrast)
    return (None if kind is None else Target(_KINDS[kind])), None


def _spans(text: str) -> list[tuple[int, int]]:
    """The first and last patches that --remove names, such as 3-5,9. Raises UsageError for what names none."""
    found = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        numbers = (first, last) if dash else (first, first)
        are_numbers = all(number.strip().isdecimal() and len(number) < 100 for number in numbers)
        if not are_numbers or int(numbers[0]) > int(numbers[1]):
            raise UsageError(f"--remove {text}: {part!r} is no patch; write numbers and ranges, such as 3-5,9")
        found.append((int(numbers[0]), int(numbers[1])))
    return found


def _patches(spans: list[tuple[int, int]], count: int) -> "NDArray[np.intp]":
    """The patches of these spans. Raises UsageError for what is none of `count`, and for all of them."""
    import numpy as np

    found = {patch for first, last in spans for patch in range(first, min(last, count) + 1)}
    if max(last for _, last in spans) >= count or len(found) == count:
        raise UsageError(f"--remove: there are {count} patches, numbered from 0; name some of them, not all")
    return np.array(sorted(found), np.intp)


def _command(model: str, image: Path, question: str, options: "dict[str, Any]") -> list[str]:
    """What explains the same answer again."""
    said = [f for name, value in options.items() if value is not None for f in (f"--{name}", str(value))]
    return ["lapilli", "explain", model, str(image), question, *said]
