"""How much memory conversion takes: the growth of the process while it writes, over its largest file of weights.

    python benchmarks/convert.py [--megabytes 2000] [--shard 500] [--json]

A LLaVA of that size is written first, of random weights in bfloat16 under the original's names and in files of that
size. Each way then runs in a process of its own: read, convert, write. The peak is the kernel's (VmHWM), which counts
the pages mapped from files too; what the process held when it had read all headers is taken off.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, LlamaConfig, LlavaConfig, PreTrainedTokenizerFast
from transformers import LlavaForConditionalGeneration as Model

from lapilli.model.checkpoints.checkpoint import Choices
from lapilli.model.checkpoints.layouts import layouts
from lapilli.model.checkpoints.read import read_checkpoint
from lapilli.model.checkpoints.shards import write_tensors
from lapilli.model.checkpoints.write import Writing, write_checkpoint
from lapilli.model.stored import Source

WIDTH, LAYER = 1024, 16.8e6  # a layer of the language model has so many parameters
WAYS = (("original", "hf"), ("hf", "original"), ("hf", "split"), ("split", "hf"), ("hf", "nested"))


def main() -> None:
    """Parse, measure every way, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=2000)
    parser.add_argument("--shard", type=int, default=500, help="megabytes")
    parser.add_argument("--ways", type=int, default=len(WAYS), help="the first so many of them")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--way", nargs=3, help=argparse.SUPPRESS)  # one way, in the process that is measured
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measured(Path(options.way[0]), Path(options.way[1]), options.way[2], options.shard)))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = every_way(Path(folder), options.megabytes, options.shard, WAYS[: options.ways])
    print(json.dumps(found) if options.json else table(found))


def every_way(folder: Path, megabytes: int, shard: int, chosen: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Each way's figures by its name, one after the other: every way reads what an earlier one wrote."""
    weights = make_original(folder / "original", megabytes, shard)
    ways = {}
    for source, target in chosen:
        out = folder / (target if not (folder / target).exists() else f"{target} of {source}")
        command = [sys.executable, __file__, "--shard", str(shard), "--way", str(folder / source), str(out), target]
        ways[f"{source} to {target}"] = json.loads(subprocess.check_output(command, text=True))
    return {"weights_mb": round(weights / 1e6), "shard_mb": shard, "ways": ways}


def measured(path: Path, out: Path, target: str, shard: int) -> dict[str, float]:
    """The growth of this process while it converts, in MB, and as a multiple of the largest file it wrote."""
    found = read_checkpoint(path, Choices("vicuna_v1"))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before, start = memory("VmRSS"), time.perf_counter()
    write_checkpoint(found, out, target, Writing(shard * 1_000_000))
    growth, seconds = memory("VmHWM") - before, time.perf_counter() - start
    largest = max(file.stat().st_size for file in out.rglob("*.safetensors"))
    return {"growth_mb": growth / 1e6, "largest_mb": largest / 1e6, "ratio": growth / largest, "seconds": seconds}


def memory(field: str) -> int:
    """One of the kernel's figures for this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(field)).split()[1])


def make_original(folder: Path, megabytes: int, shard: int) -> int:
    """Write a LLaVA in the layout of LLaVA's own code; its size in bytes."""
    folder.mkdir()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({f"w{at}": at for at in range(8_000)}, unk_token="w0")),
        unk_token="w0", bos_token="w1", eos_token="w2", pad_token="w0",
    )  # fmt: skip
    tokenizer.add_special_tokens({"additional_special_tokens": ["</s>"]})
    rows, layers = len(tokenizer), max(1, round(megabytes * 1e6 / 2 / LAYER))
    text = LlamaConfig(
        vocab_size=rows, hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=layers,
        num_attention_heads=8,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=256, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=4, image_size=336,
        patch_size=14,
    )  # fmt: skip
    vision.save_pretrained(folder / "vision_tower")
    CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}).save_pretrained(
        folder / "vision_tower"
    )
    tokenizer.save_pretrained(folder)
    joining = {"mm_vision_tower": "somebody/clip", "mm_projector_type": "mlp2x_gelu", "mm_vision_select_layer": -2}
    settings = {**text.to_dict(), **joining, "model_type": "llava_llama", "image_aspect_ratio": "pad"}
    (folder / "config.json").write_text(json.dumps(settings))
    tensors = random_tensors(LlavaConfig(vision_config=vision, text_config=text))
    write_tensors(tensors, folder, folder, shard * 1_000_000)
    return sum(source.bytes for source in tensors.values())


def random_tensors(config: Any) -> dict[str, Source]:
    """Random weights by their original names; each is made when it is read."""
    with torch.device("meta"):
        state = Model(config).state_dict()
    names = layouts("mlp2x_gelu")
    return {
        names["original"].from_hf(names["memory"].to_hf(name)): random_source(tuple(tensor.shape))
        for name, tensor in state.items()
    }


def random_source(shape: tuple[int, ...]) -> Source:
    """A tensor of random numbers in bfloat16."""
    return Source(shape, "bfloat16", lambda: torch.randn(math.prod(shape), dtype=torch.bfloat16).reshape(shape))


def table(found: dict[str, Any]) -> str:
    """The figures in lines."""
    lines = [f"weights {found['weights_mb']} MB, files of at most {found['shard_mb']} MB"]
    for way, row in found["ways"].items():
        lines.append(
            f"{way:>18}: grows by {row['growth_mb']:6.0f} MB, {row['ratio']:.2f} x the largest file "
            f"({row['largest_mb']:.0f} MB); {row['seconds']:.1f} s"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
