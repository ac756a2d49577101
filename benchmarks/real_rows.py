"""Stage 1 on real rows of web pictures: do its losses fall, and does it run with an encoder of the size of LLaVA's?

    python benchmarks/real_rows.py ROWS IMAGES [--epochs 3] [--json FILE]

ROWS are LLaVA's JSON, such as a part of LCS-558K, and IMAGES the folder of their pictures. Trains the connector twice,
by the recipe align in processes of their own: between the parts that come with lapilli, with a fifth of the pictures
set aside and the best weights kept; and 3 steps between an encoder of the shape of CLIP-L/14-336 and a language model
of that of SmolLM2, both of random weights. Prints JSON:

small.training    the loss of the first step and the mean of the last epoch
small.validation  the loss after each epoch; the weights of the lowest, at validation_step, are kept
large             the loss of each step, seconds a step, tokens of a row, and the most memory
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from random_llava import random_llava

from lapilli.core.files import write_atomically
from lapilli.core.plain import json_text
from lapilli.core.run import RunDir
from lapilli.model.llava import join, save

CLIP_L = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
SMOLLM2 = {
    "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3,
}  # fmt: skip


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        result = {"small": small(Path(folder), options), "large": large(Path(folder), options)}
    print(json_text(result, indent=1))
    if options.json:
        write_atomically(options.json, json_text(result, indent=1) + "\n")


def small(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Losses of the parts that come with lapilli."""
    save(join("pebble-vision", "pebble-lm"), folder / "small")
    fields = {"epochs": options.epochs, "data.validation_share": 0.2, "validation.keep": "best", "log_every": 1}
    run = train(folder, "small", options, fields)
    lines = list(run.metrics())
    losses = [line["loss"] for line in lines if "loss" in line]
    epoch = len(losses) // options.epochs
    return {
        "training": [losses[0], sum(losses[-epoch:]) / epoch],
        "validation": [line["validation_loss"] for line in lines if "validation_loss" in line],
        **{name: value for name, value in run.load("training").items() if name.startswith("validation_")},
    }


def large(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Three steps at LLaVA's number of patches."""
    save(random_llava(folder, CLIP_L, SMOLLM2), folder / "large")
    run = train(folder, "large", options, {"max_steps": 3, "epochs": None, "batch_size": 2, "log_every": 1})
    lines = [line for line in run.metrics() if "loss" in line]
    figures = run.load("training")
    return {
        "losses": [line["loss"] for line in lines],
        "seconds": figures["seconds"] / len(lines),
        "tokens": figures["tokens"] / figures["samples"],
        "peak_gb": max(line["peak_memory_gb"] for line in lines),
    }


def train(folder: Path, name: str, options: argparse.Namespace, more: dict[str, Any]) -> RunDir:
    """The run of a training of the connector."""
    places = {"model": folder / name, "out": folder / f"{name}-run"}
    fields = {"data.file": options.rows, "data.images": options.images, **places, **more}
    sets = [word for key, value in fields.items() for word in ("--set", f"{key}={json.dumps(value, default=str)}")]
    command = [sys.executable, "-c", "from lapilli.cli import main; main()", "train", "recipes/align.yaml", *sets]
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(f"the training of {name} ends with {done.returncode}")
    return RunDir.open(folder / f"{name}-run")


if __name__ == "__main__":
    main()
