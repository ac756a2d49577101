"""Answers by lmms-eval's llava_hf: the questions become a task, the answers are read from its log of samples."""

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

TASK = """
task: lapilli
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function functions.visual
doc_to_text: !function functions.text
doc_to_target: ""
process_results: !function functions.results
generation_kwargs: {{max_new_tokens: {tokens}, temperature: 0, do_sample: false}}
metric_list: [{{metric: answered, aggregation: mean, higher_is_better: true}}]
"""
FUNCTIONS = """
from PIL import Image


def visual(row):
    return [Image.open(row["image"]).convert("RGB")]


def text(row):
    return row["question"]


def results(row, answers):
    return {"answered": 1.0}
"""


def main(asked: Path, answered: Path) -> None:
    """Read the request, write the answers."""
    request = json.loads(asked.read_text())
    with tempfile.TemporaryDirectory() as folder:
        answers = evaluated(Path(folder), request)
    versions = {name: version(name) for name in ("lmms-eval", "transformers", "torch")}
    answered.write_text(json.dumps({"versions": versions, "answers": answers}))


def evaluated(folder: Path, request: dict[str, object]) -> list[str]:
    """What lmms-eval's log has as the answers to this request's questions."""
    task, rows, out = folder / "task", folder / "rows.json", folder / "out"
    task.mkdir()
    rows.write_text(json.dumps(request["questions"]))
    (task / "lapilli.yaml").write_text(TASK.format(rows=json.dumps(str(rows)), tokens=request["tokens"]))
    (task / "functions.py").write_text(FUNCTIONS)
    command = [
        *(sys.executable, "-m", "lmms_eval", "--model", "llava_hf", "--device", "cpu", "--batch_size", "1"),
        *("--model_args", f"pretrained={request['model']},device_map=cpu", "--include_path", str(task)),
        *("--tasks", "lapilli", "--log_samples", "--output_path", str(out)),
    ]
    subprocess.run(command, check=True, env={**os.environ, "HF_DATASETS_CACHE": str(folder / "cache")})
    (log,) = out.rglob("*samples*.jsonl")
    samples = sorted((json.loads(line) for line in log.read_text().splitlines()), key=lambda row: row["doc_id"])
    return [row["filtered_resps"] for row in samples]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
