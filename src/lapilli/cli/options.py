"""Options and arguments that several commands have in common."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lapilli.core.errors import UsageError

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


def require_models(models: Sequence[Path]) -> None:
    """Raises UsageError for a model that is no folder: long work with several should not end at the last."""
    for model in models:
        if not model.is_dir():
            raise UsageError(f"{model}: no such folder; give the folder of a model")
