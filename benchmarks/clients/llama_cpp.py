"""llama.cpp on `model convert --to split`: its answers against those of `lapilli ask`, and against its known fault.

    python benchmarks/clients/llama_cpp.py MODEL DATA --llama-cpp FOLDER --pre-tokenizer gpt-2 \\
        --python LLAMA_CPP_ENVIRONMENT/bin/python

FOLDER has llama.cpp's converters: a checkout, or vendor/llama.cpp of llama-cpp-python's source archive. The environment
is requirements/llama-cpp.txt, in which a packaged build of llama.cpp runs what was converted, in float32.
`--pre-tokenizer` names the tokenizer's rule of splitting where the converter does not know it.

llama.cpp puts CLIP's class token behind the patches, but numbers positions and takes patches as if it were the first
(ggml-org/llama.cpp#25814), and its server drops the line break behind the picture's mark. transformers with these two
faults emulated answers the same questions: where llama.cpp differs from lapilli and agrees with that, the export is
right. The exit code is 0 where every answer is one of the two.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from compare import TOKENS, Question, arguments, client_answers, compared, lapilli_answers, read_questions, run_lapilli
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor


def main() -> None:
    """Parse, convert, ask all three, compare."""
    parser = arguments(__doc__)
    parser.add_argument("--llama-cpp", type=Path, required=True, help="a folder with llama.cpp's converters")
    parser.add_argument("--pre-tokenizer", help="what the converter is to take the tokenizer's rule of splitting for")
    options = parser.parse_args()
    questions = read_questions(options.data, options.questions)
    with tempfile.TemporaryDirectory() as folder:
        parts, more = Path(folder) / "parts", {"pre_tokenizer": options.pre_tokenizer}
        run_lapilli("model", "convert", options.model, parts, "--to", "split")
        more["converters"] = str(options.llama_cpp.resolve())
        given = client_answers("llama_cpp", options.python, parts, questions, **more)
    right, faulty = lapilli_answers(options.model, questions), faulty_answers(options.model, questions)
    row = compared("llama.cpp", given, questions, right)
    emulated = compared("llama.cpp against its fault emulated", given, questions, faulty)
    print(json.dumps({**row, "emulated": emulated}, indent=1))
    sys.exit(any(text.strip() not in pair for text, *pair in zip(given.answers, right, faulty, strict=True)))


@torch.inference_mode()
def faulty_answers(path: Path, questions: Sequence[Question]) -> list[str]:
    """What transformers answers with llama.cpp's two faults."""
    model, processor = AutoModelForImageTextToText.from_pretrained(path).eval(), AutoProcessor.from_pretrained(path)
    tower = model.model.vision_tower
    embeddings = getattr(tower, "vision_model", tower).embeddings
    embeddings.forward = lambda pixels, **_: misplaced(embeddings, pixels)
    return [faulty_answer(model, processor, question) for question in questions]


def misplaced(embeddings: Any, pixels: Tensor) -> Tensor:
    """CLIP's embeddings (batch token d_vision), the class token last, the positions in their order."""
    patches = embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
    tokens = torch.cat([patches, embeddings.class_embedding.expand(len(patches), 1, -1)], dim=1)
    positions: Tensor = embeddings.position_embedding(embeddings.position_ids)
    return tokens + positions


def faulty_answer(model: Any, processor: Any, question: Question) -> str:
    """The greedy answer to a question whose picture has no line break behind it."""
    content = [{"type": "image"}, {"type": "text", "text": question.question}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    image = Image.open(question.image)
    inputs = processor(images=image, text=text.replace("<image>\n", "<image>"), return_tensors="pt")
    given = model.generate(**inputs, do_sample=False, max_new_tokens=TOKENS)
    return str(processor.decode(given[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)).strip()


if __name__ == "__main__":
    main()
