"""What the shipped parts can do, one without the other; prints JSON, every share with its n and 95 % interval.

    python benchmarks/parts.py [--language FOLDER] [--vision FOLDER] [--questions 200]

language   questions about a described scene of up to six things: the share answered right, by type; every token of the
           answer and the stop token must be the most likely one
vision     linear probes on the patch that holds a thing's centre, at the layer that a LLaVA reads: the share of
           attributes told right on new scenes, and on scenes of withheld combinations
"""

import argparse
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, CLIPVisionModel

from lapilli.core.prompt.codec import Codec
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.core.statistics.proportion import wilson
from lapilli.data.encode import IGNORED, encode
from lapilli.data.sample import Sample
from lapilli.data.scenes.describe import describe
from lapilli.data.scenes.draw import draw_scene
from lapilli.data.scenes.phrases import patch_of
from lapilli.data.scenes.questions import TYPES, ask
from lapilli.data.scenes.scene import Thing, sample_scene
from lapilli.data.scenes.textual import conversation, textual_scene
from lapilli.model.parts import part_path
from lapilli.training.pebble.vision import normalised

ATTRIBUTES: tuple[str, ...] = ("color", "shape", "size", "texture", "place", "character")
Things = list[tuple[Thing, Tensor]]
"""Things, each with the state of the patch that holds its centre, (d_vision,)."""


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--language", type=Path, default=part_path("pebble-lm"))
    parser.add_argument("--vision", type=Path, default=part_path("pebble-vision"))
    parser.add_argument("--questions", type=int, default=200, help="of each type")
    options = parser.parse_args()
    found = {"language": language(options.language, options.questions), "vision": vision(options.vision)}
    print(json.dumps(found, indent=1))


def language(folder: Path, count: int) -> dict[str, Any]:
    """The share of right answers by type, and of all types together."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    codec = Codec(tokenizer, "vicuna_v1", IMAGE_MARK, image_token_id=-1, patch_grid=(0, 0), image_processor=None)
    right = {kind: [_is_answered(model, codec, sample) for sample in _samples(kind, count)] for kind in TYPES}
    return {kind: share(hits) for kind, hits in {**right, "all": [*chain(*right.values())]}.items()}


def _samples(kind: str, count: int) -> list[Sample]:
    """The first `count` scenes in words that allow a question of this type, each with one."""
    found: list[Sample] = []
    index, seed = 0, "colour" if kind == "color" else kind  # as the type was spelled when the figures were published
    while len(found) < count:
        scene, rng = textual_scene(f"benchmark-{seed}-{index}", most=6), random.Random(index)
        index += 1
        if question := ask(scene, kind, rng):
            turns = conversation([question], describe(scene, rng, shuffled=True) + "\n")
            found.append(Sample(scene.seed, (), turns))
    return found


@torch.no_grad()
def _is_answered(model: Any, codec: Codec, sample: Sample) -> bool:
    encoded = encode(sample, codec)
    said = model(torch.tensor(encoded.ids)[None]).logits[0].argmax(-1).numpy()
    learned = np.flatnonzero(encoded.labels != IGNORED)
    return bool((said[learned - 1] == encoded.labels[learned]).all())


def vision(folder: Path, train: int = 6_000, test: int = 1_000) -> dict[str, Any]:
    """For every attribute, a linear probe learned from `train` scenes, on `test` others of either split."""
    model = CLIPVisionModel.from_pretrained(folder).eval()
    seen = _things(model, "benchmark-probe", train, compositional=False)
    splits = {
        "new_pictures": _things(model, "benchmark-test", test, compositional=False),
        "withheld_combinations": _things(model, "benchmark-test", test, compositional=True),
    }
    found: dict[str, Any] = {split: {} for split in splits}
    for attribute in ATTRIBUTES:
        tell = _probe(seen, attribute)
        for split, things in splits.items():
            named = [(thing, state) for thing, state in things if getattr(thing, attribute)]
            given = tell(torch.stack([state for _, state in named]))
            right = [str(getattr(thing, attribute)) == word for (thing, _), word in zip(named, given, strict=True)]
            found[split][attribute] = share(right)
    return found


@torch.no_grad()
def _things(model: CLIPVisionModel, seed: str, count: int, compositional: bool) -> Things:
    found: Things = []
    patch = model.config.patch_size
    for start in range(0, count, 100):
        scenes = [sample_scene(f"{seed}-{start + k}", compositional) for k in range(min(100, count - start))]
        pixels = normalised(np.stack([np.asarray(draw_scene(scene)[0]) for scene in scenes]))
        states = model(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        for scene, state in zip(scenes, states, strict=True):
            found += [(thing, state[patch_of(thing, patch)]) for thing in scene.things]
    return found


def _probe(things: Things, attribute: str) -> Callable[[Tensor], list[str]]:
    """Multinomial logistic regression with a little weight decay, on states of mean 0 and variance 1."""
    named = [(str(getattr(thing, attribute)), state) for thing, state in things if getattr(thing, attribute)]
    words = sorted({word for word, _ in named})
    states = torch.stack([state for _, state in named])
    mean, std = states.mean(0), states.std(0) + 1e-5
    inputs, targets = (states - mean) / std, torch.tensor([words.index(word) for word, _ in named])
    torch.manual_seed(0)
    linear = nn.Linear(inputs.shape[1], len(words))
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(linear(inputs), targets) + 1e-4 * linear.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return lambda states: [words[index] for index in linear((states - mean) / std).argmax(-1).tolist()]


def share(right: Sequence[bool]) -> dict[str, Any]:
    """How many of these are true, as results hold it."""
    return asdict(wilson(sum(right), len(right)))


if __name__ == "__main__":
    main()
