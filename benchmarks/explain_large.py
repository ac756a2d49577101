"""What `lapilli explain` costs at LLaVA's shape, beside `lapilli ask`, as commands in processes of their own.

    python benchmarks/explain_large.py [--model DIR] [--dtype fp32] [--controls 20] [--threads N] [--json FILE]

The model is random, in bfloat16: CLIP-L/14-336 (24 layers, 1,024 wide) and a LLaMA of TinyLlama's shape (22 layers,
2,048 wide, 32 heads, 4 of them of keys and values, a vocabulary of 32,000). It is made in --model, 2.9 GB, if nothing
is there, and used if something is; without --model it is made anew and thrown away. The picture is of 4,000 x 3,000
pixels. A random model's words depend on the picture by chance, and no control need be left out.

seconds   of wall time, from the start of the process to its end; cpu_seconds is user and system time of all threads
peak_gb   the most that the process holds at any time (ru_maxrss, with the weights that are mapped from the file)
ratio     seconds of explain over those of ask; cpu_ratio is of cpu_seconds
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from random_llava import random_llava

from lapilli.core.files import write_atomically
from lapilli.model.llava import save

QUESTION = "What is unusual about this image?"
ANSWER = "A man irons clothes on a car."
PROGRAM = "from lapilli.cli import main; main()"
VISION = {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "num_hidden_layers": 24}
LANGUAGE = {
    "hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 4, "intermediate_size": 5632,
    "num_hidden_layers": 22, "vocab_size": 32_000, "max_position_embeddings": 2048,
}  # fmt: skip


def main() -> None:
    """Parse, make the model, measure both commands, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="where the model is, or is to be made")
    parser.add_argument("--dtype", help="as the commands' own; fp32 where the processor has no arithmetic of 16 bits")
    parser.add_argument("--controls", type=int, default=20, help="as explain's own")
    parser.add_argument("--threads", type=int, help="of each command; torch's default, if not given")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        model = options.model or Path(folder) / "model"
        if not model.exists():
            save(random_llava(Path(folder) / "parts", VISION, LANGUAGE, dtype=torch.bfloat16), model)
        photo = big_photo(Path(folder) / "photo.jpg")
        found = measure(model, photo, options.controls, options.threads, options.dtype)
    print(json.dumps(found, indent=1))
    if options.json:
        write_atomically(options.json, json.dumps(found, indent=1) + "\n")


def big_photo(file: Path) -> Path:
    """Smooth colors with a little noise, as large as a telephone's."""
    rng = np.random.default_rng(0)
    colors = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(
        (4000, 3000), Image.Resampling.BICUBIC
    )
    noise = rng.integers(-8, 9, (3000, 4000, 1))
    Image.fromarray((np.asarray(colors) + noise).clip(0, 255).astype(np.uint8)).save(file, quality=90)
    return file


def measure(model: Path, photo: Path, controls: int, threads: int | None, dtype: str | None) -> dict[str, Any]:
    """The figures of both commands, and their ratios."""
    asked = [str(model), str(photo), QUESTION, "--json", *(() if dtype is None else ("--dtype", dtype))]
    ask = run(["ask", *asked], threads)
    explain = run(["explain", *asked, "--answer", ANSWER, "--controls", str(controls)], threads)
    return {
        "controls": controls,
        "dtype": dtype or "bf16",
        "ask": ask,
        "explain": explain,
        "ratio": explain["seconds"] / ask["seconds"],
        "cpu_ratio": explain["cpu_seconds"] / ask["cpu_seconds"],
    }


def run(arguments: list[str], threads: int | None = None, source: Path | None = None) -> dict[str, float]:
    """What one command of lapilli takes, of the installed one or of that in `source`, a folder as src.

    Raises CalledProcessError where it fails.
    """
    command = [sys.executable, "-c", PROGRAM, *arguments]
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    environment |= {} if source is None else {"PYTHONPATH": str(source)}
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    if code := os.waitstatus_to_exitcode(status):
        raise subprocess.CalledProcessError(code, command)
    kilobytes = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": seconds,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_gb": used.ru_maxrss * kilobytes / 1e9,
    }


if __name__ == "__main__":
    main()
