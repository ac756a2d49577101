"""Options that several commands have in common."""

from typing import Annotated

import typer

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
