"""Whether another transformers reads what lapilli writes, and computes the same with it.

    python benchmarks/older_transformers.py MODEL [MODEL ..] --python OTHER_ENVIRONMENT/bin/python [--json]

Each model is asked about a picture of noise, here and by the other environment's transformers, with AutoProcessor and
AutoModelForImageTextToText alone. Prints whether tokens, pixels and greedy answers are equal, and how far the logits
lie apart. The other environment needs torch, pillow and its transformers, and nothing of lapilli.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

QUESTION = "What color is the circle?"


def main() -> None:
    """Parse; in the other environment, answer; here, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--python", type=Path, help="of the other environment")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--answers", type=Path, help=argparse.SUPPRESS)  # one environment's part
    options = parser.parse_args()
    if options.answers:
        np.savez(options.answers, version=transformers.__version__, **answers(options.models[0]))
        return
    found = {model.name: compared(model, options.python) for model in options.models}
    print(json.dumps(found) if options.json else "\n".join(f"{name}: {row}" for name, row in found.items()))


def compared(model: Path, python: Path) -> dict[str, object]:
    """One model, by both environments."""
    with tempfile.TemporaryDirectory() as folder:
        both = []
        for index, program in enumerate((sys.executable, python)):
            out = Path(folder) / f"{index}.npz"
            subprocess.run([program, __file__, model, "--answers", out], check=True, stderr=subprocess.DEVNULL)
            both.append(np.load(out))
        here, there = both
        return {
            "versions": [str(one["version"]) for one in both],
            "same tokens": bool(np.array_equal(here["ids"], there["ids"])),
            "same pixels": bool(np.array_equal(here["pixels"], there["pixels"])),
            "logits differ by": float(np.abs(here["logits"] - there["logits"]).max()),
            "same answer": bool(np.array_equal(here["answer"], there["answer"])),
        }


def answers(path: Path) -> dict[str, np.ndarray]:
    """Tokens, pixels, logits and the greedy answer of a model, by this environment's transformers."""
    model, report = AutoModelForImageTextToText.from_pretrained(path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"], report
    processor = AutoProcessor.from_pretrained(path)
    levels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(images=Image.fromarray(levels), text=text, return_tensors="pt")
    with torch.no_grad():
        logits = model.eval()(**inputs).logits
    answer = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    return {
        "ids": inputs["input_ids"].numpy(), "pixels": inputs["pixel_values"].numpy(), "logits": logits.numpy(),
        "answer": answer.numpy(),
    }  # fmt: skip


if __name__ == "__main__":
    main()
