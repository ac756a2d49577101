"""Answers by transformers' pipeline, as a folder is saved."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers


def main(asked: Path, answered: Path) -> None:
    """Read the request, write the answers."""
    request = json.loads(asked.read_text())
    pipe: Any = transformers.pipeline("image-text-to-text", request["model"], device="cpu")
    chats = [chat(one["image"], one["question"]) for one in request["questions"]]
    options = {"max_new_tokens": request["tokens"], "do_sample": False}
    rows = pipe(text=chats, batch_size=request["batch_size"], generate_kwargs=options, return_full_text=False)
    answers = [row[0]["generated_text"] for row in rows]
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    answered.write_text(json.dumps({"versions": versions, "answers": answers}))


def chat(image: str, question: str) -> list[dict[str, object]]:
    """A conversation as the pipeline takes it."""
    return [{"role": "user", "content": [{"type": "image", "path": image}, {"type": "text", "text": question}]}]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
