"""How much processor time a command takes before it does its work: until it refuses, or until weights are read.

    python benchmarks/startup.py [--rounds 5] [--json]

Every command runs once a round in a process of its own, the baselines among them, so that other work on the machine
meets all alike; the medians are compared. What needs no model may take 1.5 s; what needs one 1.2 times as long as
importing torch and transformers' Llava class alone. Those are measured with a model whose weights are refused just
before they would be read: when that is said, all has been imported and the configuration has been understood. The exit
code is 1 where a limit is exceeded.
"""

import argparse
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch
from PIL import Image
from random_llava import SIDE, random_llava
from safetensors.torch import save_file

from lapilli.data.scenes.dataset import write_scenes
from lapilli.evaluation.scenes import SPLITS
from lapilli.model.llava import save

SECONDS = 1.5
TIMES = 1.2
BASELINE = "torch and transformers' Llava"
IMPORTS = {
    "python": "pass",
    "torch": "import torch",
    "transformers": "import transformers",
    BASELINE: "import torch; from transformers import LlavaForConditionalGeneration",
}
PROGRAM = "from lapilli.cli import main; main()"
REFUSED = "but the weights are"
"""Of the message about a model whose configuration describes more than its file of weights holds."""

NO_MODEL = (
    "--help",
    "model bridges",
    "ask empty nowhere.png What?",
    "ask nowhere picture.png What?",
    "ask empty picture.png What? --dtype fp8",
    "chat empty --template nothing",
    "eval empty scenes --data nowhere",
    "explain empty picture.png What? --target nothing",
    "model convert empty out --to nothing",
    "quickstart --out out --set batchsize=3",
    "report nowhere",
    "scorecard empty scenes/held_out --method nothing",
    "study color nowhere empty --data scenes/held_out --out out",
    "train recipes/align.yaml --set batchsize=3",
    "train recipes/align.yaml --resume",
    "train recipes/pebble-lm.yaml --set width=30",
)
A_MODEL = (
    "ask empty picture.png What?",
    "chat empty",
    "eval empty scenes --data scenes --questions 1",
    "explain empty picture.png What?",
    "scorecard empty scenes/held_out --out card",
    "study color empty other --data scenes/held_out --out color",
    "study hallucination empty --data scenes/held_out --out hallucination --questions 20",
    "train recipes/instruct.yaml --set model=empty --set data.file=scenes/held_out/instruct.json "
    "--set data.images=scenes/held_out/images",
)
TOKENIZER = ("model info model", "data show scenes/held_out/instruct.json --row 0 --model model")
"""They read a model's folder but no weights, and end well."""


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        seconds = measured(Path(folder), options.rounds)
    rows = judged(seconds)
    print(json.dumps({"rounds": options.rounds, "rows": rows}) if options.json else table(rows))
    sys.exit(0 if all(row["holds"] for row in rows if row["limit"]) else 1)


def prepare(folder: Path) -> None:
    """A tiny model, two copies without their weights, a picture and scenes."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    save(random_llava(folder / "parts", sizes, sizes), folder / "model")
    for name in ("empty", "other"):
        shutil.copytree(folder / "model", folder / name)
        save_file({"language_model.lm_head.weight": torch.zeros(1)}, folder / name / "model.safetensors")
    for split in SPLITS:
        write_scenes(folder / "scenes" / split, 20, split, 0)
    Image.new("RGB", (SIDE, SIDE)).save(folder / "picture.png")


def measured(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of every command in every round, after one that fills the caches."""
    programs = {name: [code] for name, code in IMPORTS.items()}
    programs |= {line: [PROGRAM, *shlex.split(line)] for line in (*NO_MODEL, *A_MODEL, *TOKENIZER)}
    found: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(rounds + 1):
        for name, program in programs.items():
            seconds, said = cpu_seconds(program, folder)
            if name in A_MODEL and REFUSED not in said:
                raise SystemExit(f"lapilli {name}: did not come as far as the weights: {said}")
            if number:
                found[name].append(seconds)
    return found


def cpu_seconds(program: list[str], folder: Path) -> tuple[float, str]:
    """Processor time of one process, user and system, and what it said on stderr."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", *program]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stderr


def judged(seconds: dict[str, list[float]]) -> list[dict[str, Any]]:
    """A row of every command: its median, its ratio to the baseline, its limit in seconds, whether it holds."""
    medians = {name: median(some) for name, some in seconds.items()}
    limits = dict.fromkeys(NO_MODEL, SECONDS) | dict.fromkeys((*A_MODEL, *TOKENIZER), TIMES * medians[BASELINE])
    return [
        {
            "command": name, "seconds": value, "ratio": value / medians[BASELINE], "limit": limits.get(name),
            "holds": value <= limits.get(name, value),
        }
        for name, value in medians.items()
    ]  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in lines."""
    lines = [f"{'seconds':>7} {'ratio':>6} {'limit':>6}"]
    for row in rows:
        limit = f"{row['limit']:6.2f}" if row["limit"] else f"{'':6}"
        command = row["command"] if row["command"] in IMPORTS else f"lapilli {row['command']}"
        lines.append(f"{row['seconds']:7.2f} {row['ratio']:6.2f} {limit} {'' if row['holds'] else 'NO '}{command}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
