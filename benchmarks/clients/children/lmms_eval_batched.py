"""Answers by lapilli's batched model in lmms-eval's own POPE, whose data are local files in its own format."""

import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lmms_eval
from datasets import Dataset, Features, Value
from datasets import Image as Picture
from lmms_tasks import evaluated

TASK = """
include: {pope}
task: pope_of_scenes
dataset_path: parquet
dataset_kwargs: {{data_files: {{test: {rows}}}}}
generation_kwargs: {{max_new_tokens: {tokens}, temperature: 0, do_sample: false}}
lmms_eval_specific_kwargs: {{default: {{pre_prompt: "", post_prompt: ""}}}}
"""
COLUMNS = {name: Value("string") for name in ("id", "question_id", "question", "answer", "image_source", "category")}


def main(asked: Path, answered: Path) -> None:
    """Read the request, write the answers; the task's figures go to the error stream."""
    request = json.loads(asked.read_text())
    with tempfile.TemporaryDirectory() as folder:
        task, rows = Path(folder) / "task", Path(folder) / "rows.parquet"
        task.mkdir()
        dataset(request).to_parquet(rows)
        pope = Path(lmms_eval.__file__).parent / "tasks/pope/pope.yaml"
        (task / "pope_of_scenes.yaml").write_text(TASK.format(pope=pope, rows=rows, tokens=request["tokens"]))
        found = evaluated(Path(request["model"]), ["pope_of_scenes"], task)
    print(json.dumps(found["results"], indent=1, default=str), file=sys.stderr)
    samples = sorted(found["samples"]["pope_of_scenes"], key=lambda row: row["doc_id"])
    answers = [one["resps"][0][0] for one in samples]
    versions = {name: version(name) for name in ("lmms-eval", "transformers", "torch")}
    answered.write_text(json.dumps({"versions": versions, "answers": answers}))


def dataset(request: dict[str, Any]) -> Dataset:
    """The questions with the columns of lmms-eval's own POPE."""
    of_all = {"image_source": "scene", "category": "random"}
    rows = [
        of_all | {"id": str(at), "question_id": str(at), "answer": label} | one
        for at, (one, label) in enumerate(zip(request["questions"], request["expected"], strict=True))
    ]
    return Dataset.from_list(rows, features=Features(COLUMNS | {"image": Picture()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
