"""Options and arguments that several commands have in common."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lapilli.core.errors import UsageError

MOST_SEED = 2**32 - 1
"""The largest seed: numpy's generators take no larger one."""

MOST = 1_000_000
"""The largest number of anything to be drawn, asked or measured."""

Model = Annotated[
    Path,
    typer.Argument(help="A model's folder, or its hub id: org/name, org/name@revision.", show_default=False),
]

Base = Annotated[Path, typer.Argument(help="The model before the tuning.", show_default=False)]
Tuned = Annotated[Path, typer.Argument(help="The model after it.", show_default=False)]
PictureQuestions = Annotated[Path, typer.Argument(help="A folder of questions about pictures.", show_default=False)]
SecondTuning = Annotated[
    Path | None, typer.Option(help="The base tuned with another seed: what a seed changes.", show_default=False)
]
FormatControl = Annotated[
    Path | None,
    typer.Option(help="The base tuned on the same data with its pictures shuffled.", show_default=False),
]

QuestionCount = Annotated[
    int,
    typer.Option(min=1, max=MOST, help="Questions, of one picture and wording each; fewer where there are no more."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

Device = Annotated[
    str, typer.Option(help="cpu, cuda, cuda:N; auto: the first accelerator, else the CPU; balanced: all GPUs together.")
]
Dtype = Annotated[
    str | None, typer.Option(help="fp32, bf16 or fp16; that of the folder, if not given.", show_default=False)
]
Bits = Annotated[
    int | None,
    typer.Option(help="8 or 4: the language model quantised by bitsandbytes, on a CUDA GPU.", show_default=False),
]

Shard = Annotated[str, typer.Option(help="I/N: the I-th of N parts of the work, from 1.")]


def part_of(shard: str) -> tuple[int, int]:
    """The part from 0 and the number of parts that I/N says. Raises UsageError."""
    part, slash, parts = shard.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts) <= 10_000):
        raise UsageError(f"--shard {shard}: write I/N, such as 2/4 for the second of four parts")
    return int(part) - 1, int(parts)


def require_usable(arguments: Sequence[str]) -> None:
    """Raise UsageError for an argument that no shell can hand over, and that no file can be called."""
    for argument in arguments:
        try:
            usable = b"\0" not in os.fsencode(argument)
        except UnicodeEncodeError:
            usable = False
        if not usable:
            raise UsageError(f"{argument!r}: holds a zero byte, or half a character; leave it out")


def decoded(name: str, argument: str) -> str:
    """An argument as the text that its bytes are in UTF-8, also where the locale knows ASCII alone.

    Raises UsageError where they are no text.
    """
    try:
        return argument.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError as error:
        raise UsageError(f"{name}: {argument!r} is not UTF-8; write it as text") from error


def require_models(models: Sequence[Path]) -> list[Path]:
    """The models' folders, fetched if they are on the hub; each name is looked up before anything is fetched.

    Raises as `model_folder` does: long work with several should not end at the last.
    """
    from lapilli.model.hub import model_folder, pinned

    pins = [pinned(model) for model in models]
    return [model_folder(model) for model in pins]


def require_tuning(base: Path, tuned: Path, floor: Path | None, control: Path | None) -> dict[str, Path]:
    """The folders of the models of a study of a tuning, by role, as `require_models` has them."""
    roles = {"base": base, "tuned": tuned, "floor": floor, "control": control}
    named = {role: path for role, path in roles.items() if path is not None}
    return dict(zip(named, require_models(list(named.values())), strict=True))
