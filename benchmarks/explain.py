"""What it costs to take an answer apart, against what it costs to give it; prints ratios of things measured in one run.

    python benchmarks/explain.py [--repetitions 5] [--device cpu] [--json FILE]

The model is a random CLIP + LLaMA of 120 million parameters, 24 layers, a vocabulary of 32,000 and 576 tokens a
picture, as LLaVA-1.5's. The answer has 20 tokens. What is compared runs in alternation; ratios are of medians, but
for loops and occlusion, which run once.

generation   generating 20 tokens, recorded and every token's logit taken apart, over generating them
one_token    all arrays of one token, with the increases in log-probability of all layers, heads and, of the strongest
             head, positions, and the forward pass that they are of; over that forward pass
routes       96 variants, 24 windows of 4 routes, over one forward pass
loops        the direct arrays of one token by Python loops over layers, heads and positions, over the direct arrays
occlusion    577 forward passes (16 are measured), over the direct arrays of one token; the one pass that left the trace
             is not counted
memory       the peak of a process that generates and takes apart, over that of one that generates
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from random_llava import random_llava

from lapilli.core.files import write_atomically
from lapilli.core.layout import Role
from lapilli.data.encode import Encoded
from lapilli.data.sample import Sample, Turn
from lapilli.inference.answer import answer
from lapilli.inspection.attribution.direct import decompose, readouts
from lapilli.inspection.attribution.increase import head_increases, layer_increases, position_increases
from lapilli.inspection.intervention.image_routes import routes
from lapilli.inspection.recording import recording, traced
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace, attention
from lapilli.model.llava import Llava
from lapilli.model.placement import placed

TOKENS, OCCLUDED = 20, 16
_NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8))
_QUESTION = "<image>\nWhat color is the largest thing in the picture, and where is it?"


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--peak", choices=["generate", "explain"], help=argparse.SUPPRESS)  # in a process of its own
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        llava = large(Path(folder), options.device)
    if options.peak:
        print(peak(llava, options.peak == "explain"))
        return
    found = measure(llava, options.repetitions) | {"memory": memory(options.device)}
    print(json.dumps(found, indent=1))
    if options.json:
        write_atomically(options.json, json.dumps(found, indent=1) + "\n")


def large(folder: Path, device: str) -> Llava:
    """A random LLaVA of 120 million parameters, with weights so wide that it does not repeat one token."""
    vision = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536, "num_hidden_layers": 6}
    language = {
        "hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 1376, "num_hidden_layers": 24,
        "vocab_size": 32_000, "max_position_embeddings": 2048, "initializer_range": 0.06,
    }  # fmt: skip
    llava = random_llava(folder, vision, language)
    llava.model.to(device)
    return llava


def measure(llava: Llava, repetitions: int) -> dict[str, Any]:
    """The ratios, and the medians they are of, in seconds."""
    sample = Sample("question", ("noise",), (Turn("user", _QUESTION),))
    trace = apart(llava, sample)
    one = trace.at(len(trace.queries) - 1)
    pixels = llava.pixels([_NOISE])
    whole = Encoded("question", ("noise",), trace.ids, trace.ids, trace.layout)
    kept = traced(llava, whole, pixels, whole=True)
    ways: dict[str, Callable[[], object]] = {
        "generate": lambda: answer(llava, [sample], lambda name: _NOISE, TOKENS),
        "generate and take apart": lambda: decompose(apart(llava, sample)),
        "forward": lambda: forward(llava, trace, pixels),
        "all arrays of one token": lambda: every_array(one),
        "direct arrays of one token": lambda: decompose(one),
        "96 route variants": lambda: routes(kept),
        "loops": lambda: looped(one),
        f"{OCCLUDED} forward passes": lambda: [forward(llava, trace, pixels) for _ in range(OCCLUDED)],
    }
    seconds = timed(ways, repetitions)
    ratios = {
        "generation": seconds["generate and take apart"] / seconds["generate"],
        "one_token": 1 + seconds["all arrays of one token"] / seconds["forward"],
        "routes": seconds["96 route variants"] / seconds["forward"],
        "loops": seconds["loops"] / seconds["direct arrays of one token"],
        "occlusion": seconds[f"{OCCLUDED} forward passes"] * 577 / OCCLUDED / seconds["direct arrays of one token"],
    }
    error = float(decompose(trace).error.max())
    return {
        "parameters": sum(weight.numel() for weight in llava.model.parameters()),
        "tokens": {
            "image": int((trace.layout.role == Role.IMAGE).sum()),
            "all": len(trace.ids),
            "answer": len(trace.queries),
        },
        "device": str(trace.resid.device),
        "threads": torch.get_num_threads(),
        "ratios": ratios,
        "relative_error": error,
        "seconds": seconds,
    }


def apart(llava: Llava, sample: Sample) -> Trace:
    """The trace of an answer that is generated for it."""
    with recording(llava) as record:
        (given,) = answer(llava, [sample], lambda name: _NOISE, TOKENS)
    return record.trace(given.ids, given.layout)


@torch.inference_mode()
def forward(llava: Llava, trace: Trace, pixels: torch.Tensor) -> object:
    """One pass over prompt and answer, with the logits of the last position."""
    batch = placed({"input_ids": torch.from_numpy(trace.ids)[None], "pixel_values": pixels}, llava.model)
    return llava.model(**batch, use_cache=True, logits_to_keep=1).logits.cpu()


def every_array(one: Trace) -> object:
    """All arrays of the one token of a trace."""
    direct, layers, heads = decompose(one), layer_increases(one), head_increases(one)
    layer, head = np.unravel_index(heads[0].argmax(), heads[0].shape)
    return direct, layers, heads, position_increases(one, 0, int(layer), int(head))


@torch.inference_mode()
def looped(one: Trace) -> float:
    """The direct contributions of one token, each of them a vector, as one would write it down first."""
    model, total = one.decoder, 0.0
    ids = torch.from_numpy(one.next_ids).to(one.resid.device)
    readout = readouts(one, Target(), ids)[0]
    for layer in range(model.depth):
        weights, matrix = attention(one, layer)[0], model.output_matrix(layer).unflatten(1, (model.heads, -1))
        for head in range(model.heads):
            values = one.values[layer][head * model.kv_heads // model.heads]
            for position in range(values.shape[0]):
                total += float(weights[head, position] * (matrix[:, head] @ values[position]) @ readout)
    return total


def timed(ways: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """The median seconds of each way; they take turns, and the first turn is to warm up. Loops run once."""
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(repetitions + 1):
        for way, run in ways.items():
            if way in ("loops", f"{OCCLUDED} forward passes") and turn != 1:
                continue
            begun = time.perf_counter()
            run()
            if turn:
                taken[way].append(time.perf_counter() - begun)
    return {way: median(times) for way, times in taken.items()}


def memory(device: str) -> dict[str, float]:
    """Peaks of two processes in MB, and their ratio."""
    found = {}
    for kind in ("generate", "explain"):
        command = [sys.executable, __file__, "--device", device, "--peak", kind]
        found[kind] = float(subprocess.check_output(command, text=True)) / 1e6
    return {**found, "ratio": found["explain"] / found["generate"]}


def peak(llava: Llava, apart_too: bool) -> int:
    """The most that this process, or its GPU, holds at any time while it generates, in bytes."""
    sample = Sample("question", ("noise",), (Turn("user", _QUESTION),))
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    if apart_too:
        trace = apart(llava, sample)
        every_array(trace.at(0))
        decompose(trace)
    else:
        answer(llava, [sample], lambda name: _NOISE, TOKENS)
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


if __name__ == "__main__":
    main()
