"""Do hybrids that share states save the time that they should? Prints JSON.

    python benchmarks/patching.py BASE TUNED DATA [--samples 8] [--repeats 7]

BASE and TUNED are folders of a model before and after a tuning, DATA a folder with instruct.json and images/. Every
window of adjacent layers of TUNED is put into BASE: by `hybrids`, and by exchanging modules and running the language
model from the start, with the pictures' vectors kept in both. `equal` says whether all logits are the same to the bit,
`expected` is (L + 2) / (3 L).
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lapilli.data.collate import collate
from lapilli.data.encode import encode
from lapilli.data.pictures import open_picture
from lapilli.data.sample import read_samples
from lapilli.inspection.capture import capturing
from lapilli.inspection.intervention.patching import Patch, hybrids, patched, windows
from lapilli.model.llava import Llava, load
from lapilli.model.placement import placed


def batch_of(llava: Llava, data: Path, count: int) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
    """The first samples with their answers, and the positions that predict the answers' tokens."""
    encoded = [encode(sample, llava.codec) for sample in read_samples(data / "instruct.json")[:count]]
    pictures = [open_picture(data / "images", name) for prompt in encoded for name in prompt.images]
    batch = collate(encoded, llava.codec.tokenizer.pad_token_id, "right", llava.pixels(pictures) if pictures else None)
    sequence, token = (batch.pop("labels") != -100).nonzero(as_tuple=True)
    return placed(batch, llava.model), (sequence, token - 1)


@torch.inference_mode()
def encoded_once(llava: Llava, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch with the vectors of text and pictures in the place of tokens and pixels."""
    model: Any = llava.model
    with capturing(model, "llm.layers.0.resid_pre") as capture:
        model(**batch, use_cache=False, logits_to_keep=1)
    return {"inputs_embeds": capture["llm.layers.0.resid_pre"], "attention_mask": batch["attention_mask"]}


@torch.inference_mode()
def run_again(
    pair: tuple[Llava, Llava], batch: dict[str, Tensor], at: tuple[Tensor, Tensor], patches: list[Patch]
) -> list[Tensor]:
    """The logits of every hybrid, each run from the first layer on."""
    target: Any = pair[0].model
    logits = []
    for patch in patches:
        with patched(*pair, patch):
            states = target.model.language_model(**batch, use_cache=False).last_hidden_state
            logits.append(target.lm_head(states[at]).float())
    return logits


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("base", "tuned", "data"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=7)
    chosen = parser.parse_args()
    pair = load(chosen.base), load(chosen.tuned)
    batch, at = batch_of(pair[0], chosen.data, chosen.samples)
    batch = encoded_once(pair[0], batch)
    depth = len(pair[0].model.model.language_model.layers)
    patches, seconds = windows(depth), {"shared": math.inf, "again": math.inf}  # the least: others share the machine
    for _ in range(chosen.repeats):
        start = time.process_time()
        shared = hybrids(*pair, batch, at, patches, read=lambda logits: logits)
        seconds["shared"] = min(seconds["shared"], time.process_time() - start)
        start = time.process_time()
        again = run_again(pair, batch, at, patches)
        seconds["again"] = min(seconds["again"], time.process_time() - start)
    share, expected = seconds["shared"] / seconds["again"], (depth + 2) / (3 * depth)
    equal = all(torch.equal(*logits) for logits in zip(shared, again, strict=True))
    figures = {"layers": depth, "windows": len(patches), "equal": equal, "share": share, "expected": expected}
    print(json.dumps(figures | {f"{name}_seconds": least for name, least in seconds.items()}))


if __name__ == "__main__":
    main()
