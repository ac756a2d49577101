"""How much faster is training in bf16 than in fp32 here, and does its loss stay near? In turns, in one run.

    python benchmarks/precision.py MODEL DATA [--steps 8] [--batch 8] [--turns 2] [--json FILE]

MODEL is a LLaVA, DATA a folder of scenes with instruct.json and images/. Each turn trains `steps` steps by the recipe
instruct, in processes of their own: all of connector and language model, at a constant low rate. The first step of each
is left out of the speed. Prints JSON:

ratio       tokens a second in bf16 over those in fp32: the median over turns, and each
apart       the largest difference of the two's losses, as a share of the fp32 loss, over all steps
peak_gb     the most memory of either
"""

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from lapilli.core.files import write_atomically
from lapilli.core.plain import json_text

PRECISIONS = ("fp32", "bf16")


def main() -> None:
    """Parse, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    turns = [{precision: run(precision, options) for precision in PRECISIONS} for _ in range(options.turns)]
    ratios = [speed(turn["bf16"]) / speed(turn["fp32"]) for turn in turns]
    pairs = [pair for turn in turns for pair in zip(turn["fp32"], turn["bf16"], strict=True)]
    peaks = {name: max(line["peak_memory_gb"] for turn in turns for line in turn[name]) for name in PRECISIONS}
    result = {
        "ratio": median(ratios),
        "ratios": ratios,
        "tokens_per_second": {name: [speed(turn[name]) for turn in turns] for name in PRECISIONS},
        "apart": max(abs(one["loss"] - other["loss"]) / one["loss"] for one, other in pairs),
        "peak_gb": peaks,
    }
    print(json_text(result, indent=1))
    if options.json:
        write_atomically(options.json, json_text(result, indent=1) + "\n")


def run(precision: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The lines of the log of a training."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        fields = {
            "model": options.model, "data.file": options.data / "instruct.json", "data.images": options.data / "images",
            "out": out, "precision": precision, "max_steps": options.steps, "epochs": "null",
            "batch_size": options.batch, "learning_rate": 1e-5, "projector.learning_rate": "null",
            "llm.muon_learning_rate": "null", "schedule": "constant", "log_every": 1, "save_every": "null",
        }  # fmt: skip
        sets = [word for name, value in fields.items() for word in ("--set", f"{name}={value}")]
        command = [
            sys.executable,
            "-c",
            "from lapilli.cli import main; main()",
            "train",
            "recipes/instruct.yaml",
            *sets,
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{shlex.join(command)}: {done.stderr.strip()[-500:]}")
        lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if "learning_rate" in line]


def speed(lines: list[dict[str, Any]]) -> float:
    """Tokens a second of all steps but the first: the median."""
    return median(line["tokens_per_second"] for line in lines[1:])


if __name__ == "__main__":
    main()
