"""Answers by LLaVA's own loader, templates and `generate`."""

import json
import sys
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from llava.constants import DEFAULT_IMAGE_TOKEN, IMAGE_TOKEN_INDEX
from llava.conversation import conv_templates
from llava.mm_utils import process_images, tokenizer_image_token
from llava.model.builder import load_pretrained_model
from PIL import Image


def main(asked: Path, answered: Path) -> None:
    """Read the request, write the answers."""
    request = json.loads(asked.read_text())
    tokenizer, model, images, _ = load_pretrained_model(request["model"], None, "llava", device_map="cpu", device="cpu")
    model.float().eval()
    answers = [
        answer(tokenizer, model, images, one["image"], one["question"], request["tokens"])
        for one in request["questions"]
    ]
    versions = {one.__name__: one.__version__ for one in (transformers, tokenizers, torch)}
    answered.write_text(json.dumps({"versions": versions, "answers": answers}))


@torch.inference_mode()
def answer(tokenizer: Any, model: Any, images: Any, image: str, question: str, tokens: int) -> str:
    """The greedy answer to one question about one picture."""
    conversation = conv_templates["vicuna_v1"].copy()
    conversation.append_message(conversation.roles[0], f"{DEFAULT_IMAGE_TOKEN}\n{question}")
    conversation.append_message(conversation.roles[1], None)
    ids = tokenizer_image_token(conversation.get_prompt(), tokenizer, IMAGE_TOKEN_INDEX, return_tensors="pt")
    picture = Image.open(image).convert("RGB")
    pixels = process_images([picture], images, model.config)
    given = model.generate(
        ids[None], images=pixels, image_sizes=[picture.size], do_sample=False, max_new_tokens=tokens
    )  # fmt: skip
    return str(tokenizer.batch_decode(given, skip_special_tokens=True)[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
