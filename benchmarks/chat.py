"""Time to the first token of a chat's second turn: with what was read kept, and reading all of it anew; prints medians.

    python benchmarks/chat.py [--repetitions 20] [--answer 16] [--threads 1] [--json FILE]

The model is a tiny random CLIP + LLaMA, of the shipped parts' widths and depths, whose pictures are 576 tokens, as
LLaVA-1.5's: 336 pixels in patches of 14. Both ways are asked the same second question after the same first exchange
about one picture, in alternation, and take it from words and picture on: encoding the text and, where it is not known,
preparing and encoding the picture. One thread is the default: with more, tiny layers wait for each other, and for
whatever else the machine does.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from lapilli.core.files import write_atomically
from lapilli.data.sample import Turn
from lapilli.inference.answer import answer
from lapilli.inference.chat import Chat
from lapilli.model.llava import Llava, join
from lapilli.model.parts import part_path, quiet, read_language

SIDE, PATCH = 336, 14
_NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8))
QUESTIONS = ("What is in the picture?", "What color is the largest thing?")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--answer", type=int, default=16, help="tokens of an answer")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with TemporaryDirectory() as folder:
        llava = tiny(Path(folder))
    found = measure(llava, options.repetitions, options.answer)
    print(json.dumps({name: value for name, value in found.items() if name not in ("ids", "seconds")}, indent=1))
    if options.json:
        write_atomically(options.json, json.dumps(found, indent=1) + "\n")


def tiny(folder: Path) -> Llava:
    """A random LLaVA of 576 tokens a picture, with the tokenizer of the shipped language model."""
    tokenizer = read_language(part_path("pebble-lm")).tokenizer
    shape: dict[str, Any] = {"hidden_size": 128, "num_attention_heads": 4}
    torch.manual_seed(0)
    seeing = CLIPVisionConfig(**shape, intermediate_size=512, num_hidden_layers=6, image_size=SIDE, patch_size=PATCH)
    eye = CLIPVisionModel(seeing)
    # Wide initial weights: with the usual ones, a random model says one token again and again.
    words = LlamaConfig(
        **shape,
        intermediate_size=256,
        num_hidden_layers=5,
        vocab_size=len(tokenizer),
        max_position_embeddings=2048,
        initializer_range=0.15,
    )
    prepare = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    with quiet():
        for name, parts in {"eye": (eye, prepare), "voice": (LlamaForCausalLM(words), tokenizer)}.items():
            for part in parts:
                part.save_pretrained(folder / name)
    return join(folder / "eye", folder / "voice")


def measure(llava: Llava, repetitions: int, length: int) -> dict[str, Any]:
    """Seconds to the first token of the second turn both ways, and whether all tokens are the same."""
    seconds: dict[str, list[float]] = {"kept": [], "anew": []}
    said: set[tuple[int, ...]] = set()
    for repetition in range(repetitions + 1):
        chat = Chat(llava, _noise, length)
        chat.say(QUESTIONS[0], ["noise"])
        asked = replace(chat.sample, turns=(*chat.sample.turns, Turn("user", QUESTIONS[1])))
        ways = {"kept": partial(chat.say, QUESTIONS[1]), "anew": partial(answer, llava, [asked], _noise, length)}
        for way, ask in ways.items():
            taken, ids = _timed(llava, ask)
            said.add(ids)
            seconds[way] += [taken] if repetition else []  # the first is to warm up
    medians = {way: median(taken) for way, taken in seconds.items()}
    return {
        "image_tokens": (SIDE // PATCH) ** 2,
        "repetitions": repetitions,
        "threads": torch.get_num_threads(),
        "median_seconds": medians,
        "ratio": medians["anew"] / medians["kept"],
        "identical": len(said) == 1,
        "ids": sorted(said),
        "seconds": seconds,
    }


def _noise(name: str) -> Image.Image:
    return _NOISE


def _timed(llava: Llava, ask: Callable[[], object]) -> tuple[float, tuple[int, ...]]:
    """Seconds until the head gave its first logits, and the likeliest token each time it gave some."""
    moments: list[float] = []
    ids: list[int] = []

    def note(module: object, inputs: object, logits: torch.Tensor) -> None:
        ids.append(int(logits[0, -1].argmax()))
        moments.append(time.perf_counter())

    handle = llava.model.lm_head.register_forward_hook(note)
    start = time.perf_counter()
    ask()
    handle.remove()
    return moments[0] - start, tuple(ids)


if __name__ == "__main__":
    main()
