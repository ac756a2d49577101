"""Full-grid occlusion as the scorecard does it, against one `generate` call for every patch; prints JSON.

    python benchmarks/occlusion.py [MODEL DATA] [--passes 40] [--repetitions 3] [--device cpu] [--json FILE]

Without a MODEL, a random LLaVA of 24 x 24 patches is made, about as small as a quickstart's, and shown noise. With one,
the first question of DATA is asked, a folder such as runs/quickstart/data/held_out. What is read is the first token of
the model's answer, and then every token of a sentence in its place. Of a first word in pieces the scorecard's function
reads all, though only the first counts here. The pass that it starts from, about as long as one call, is not timed.

Three ways of taking a patch away: its pixels are blurred (blur), its token is dropped before the language model
(drop), no text looks at it (knockout). A separate pass is what a reader would write first: paint the picture or put the
mask in, let the processor prepare it, and have `generate` make the answer with its logits, held to its words. Of many
patches, `--passes` are run so, spread over the grid, and the time of all is theirs times patches + 1 over their number.

ratio       seconds of separate passes for all patches and the whole picture, over those of the scorecard's function
difference  the largest between the two in the log-probability of what is read, in nats; `range` is how far that goes
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from random_llava import SIDE, random_llava
from torch import Tensor
from transformers import LogitsProcessorList

from lapilli.core.files import write_atomically
from lapilli.core.layout import Positions
from lapilli.data.encode import encode
from lapilli.data.pictures import open_picture
from lapilli.data.questions import PictureQuestion, read_picture_questions
from lapilli.data.sample import Sample
from lapilli.inference.answer import answer
from lapilli.inspection.answer_words import answer_words
from lapilli.inspection.intervention.removal import blurred
from lapilli.inspection.recording import answered
from lapilli.model.llava import Llava, load
from lapilli.model.placement import placed
from lapilli.model.upstream import cache_in
from lapilli.studies.scorecard.case import Case, case_of
from lapilli.studies.scorecard.operators import OPERATORS

SENTENCE = (
    "The picture shows a large red circle on the left, a small blue square above it, and two green triangles at the "
    "bottom, with nothing else around them."
)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--passes", type=int, default=40)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        llava = load(options.model) if options.model else small(Path(folder))
    llava.model.to(options.device)
    found: dict[str, Any] = {"device": options.device, "threads": torch.get_num_threads()}
    for read, case in cases(llava, options.data).items():
        found[read] = {"patches": len(case.patches), "read": len(case.ids)} | {
            name: measured(case, name, options.passes, options.repetitions) for name in ("blur", "drop", "knockout")
        }
    print(json.dumps(found, indent=1))
    if options.json:
        write_atomically(options.json, json.dumps(found, indent=1) + "\n")


def small(folder: Path) -> Llava:
    """A random LLaVA of the width and depth of a quickstart's."""
    vision = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 512, "num_hidden_layers": 6}
    language = vision | {"intermediate_size": 256, "num_hidden_layers": 5}
    return random_llava(folder, vision, language | {"max_position_embeddings": 1024, "initializer_range": 0.1})


def cases(llava: Llava, data: Path | None) -> dict[str, Case]:
    """A question about a picture, with the first token of the model's answer to be read, and with a whole sentence."""

    def answered_by(text: str) -> Case:
        encoded = answered(llava, question.sample, text)
        return case_of(llava, question.sample, encoded, picture=picture, other=picture, seed=0)

    if data is None:
        noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        picture, question = Image.fromarray(noise), PictureQuestion("noise", "noise", "What color is the circle?", "-")
    else:
        question = read_picture_questions(data)[0]
        picture = open_picture(data / "images", question.image)
    word, sentence = answered_by(first_word(llava, question.sample, picture)), answered_by(SENTENCE)
    _, (*_, (_, end)) = answer_words(sentence.trace)
    return {"token": replace(word, word=slice(0, 1)), "sentence": replace(sentence, word=slice(0, end))}


def first_word(llava: Llava, sample: Sample, picture: Image.Image) -> str:
    """Of the model's answer; one of ours, where a random one says nothing."""
    (given,) = answer(llava, [sample], lambda name: picture, 4)
    return (given.text.split() or ["red"])[0]


def measured(case: Case, name: str, passes: int, repetitions: int) -> dict[str, Any]:
    """One way of taking patches away, both ways of doing it."""
    patches = len(case.patches)
    some = np.unique(np.linspace(0, patches - 1, min(passes, patches)).astype(int))
    alone = [np.array([patch]) for patch in range(patches)]
    separate = separate_passes(case, name)
    ours, theirs = [], []
    for turn in range(repetitions + 1):  # they take turns; the first is to warm up
        seconds, found = timed(lambda: OPERATORS[name](case, alone).log_prob)
        ours += [seconds] if turn else []
        if turn < 2:
            seconds, expected = timed(lambda: np.array([separate(alone[patch]) for patch in some]))
            theirs += [seconds * (patches + 1) / len(some)] if turn else []
    return {
        "ratio": median(theirs) / median(ours),
        "seconds": {"scorecard": median(ours), "separate": median(theirs), "separate_passes_run": len(some)},
        "difference": float(np.abs(found[some] - expected).max()),
        "range": float(np.ptp(found)),
    }


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """The seconds it takes, and what it gives."""
    begun = time.perf_counter()
    found = run()
    return time.perf_counter() - begun, found


def separate_passes(case: Case, name: str) -> Callable[[Positions], float]:
    """What the log-probability of what is read is without some patches, by a `generate` call of its own."""
    model: Any = case.llava.model
    prompt = encode(case.sample, case.llava.codec, for_generation=True)
    ids, read = torch.tensor(prompt.ids)[None], torch.from_numpy(case.ids).to(model.device)
    soft = blurred(case.view)

    def generated(picture: Image.Image) -> float:
        pixels = case.llava.processor.image_processor(picture, return_tensors="pt")["pixel_values"]
        batch = placed({"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}, model)
        made = model.generate(
            **batch,
            max_new_tokens=len(read),
            do_sample=False,
            logits_processor=LogitsProcessorList([held]),
            return_dict_in_generate=True,
            output_logits=True,
        )
        said = torch.cat(made.logits).float().log_softmax(-1)
        return float(said[torch.arange(len(read)), read].sum())

    def held(made: Tensor, scores: Tensor) -> Tensor:
        return torch.full_like(scores, -torch.inf).index_fill_(1, read[made.shape[1] - ids.shape[1]], 0)

    def without(patches: Positions) -> float:
        if name == "blur":
            return generated(painted(case, soft, patches))
        with masked(case, case.patches[patches], name == "knockout"):
            return generated(case.view)

    return without


def painted(case: Case, soft: Image.Image, patches: Positions) -> Image.Image:
    """The picture with these cells blurred."""
    config: Any = case.llava.model.config.vision_config
    size, (_, columns) = config.patch_size, case.grid
    picture = case.view.copy()
    for patch in patches:
        y, x = (size * number for number in divmod(int(patch), columns))
        picture.paste(soft.crop((x, y, x + size, y + size)), (x, y))
    return picture


@contextmanager
def masked(case: Case, hidden: Positions, by_text: bool) -> Iterator[None]:
    """Within it nobody behind these positions looks at them; or, `by_text`, no text does."""
    model: Any = case.llava.model
    image = torch.zeros(4 * len(case.trace.ids), dtype=torch.bool)
    image[torch.from_numpy(case.patches)] = True

    def hide(module: Any, arguments: Any, given: dict[str, Any]) -> Any:
        new = given["hidden_states"].shape[1]
        rotary = given["position_embeddings"][0]
        start = 0 if new > 1 else cache_in(given.values()).get_seq_length(module.layer_idx)
        readers = torch.arange(start, start + new)
        seen = readers[:, None] >= torch.arange(start + new)
        for position in hidden.tolist():
            blind = (readers > position) & ~(image[start : start + new] & by_text)
            seen[blind, position] = False
        mask = torch.zeros(seen.shape, dtype=rotary.dtype).masked_fill_(~seen, -torch.inf)[None, None]
        return arguments, {**given, "attention_mask": mask.to(rotary.device)}

    with ExitStack() as hooks:
        for block in model.model.language_model.layers:
            hooks.callback(block.self_attn.register_forward_pre_hook(hide, with_kwargs=True).remove)
        yield


if __name__ == "__main__":
    main()
