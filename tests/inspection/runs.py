"""Traced runs of tiny models, and the oracle of every knock-out: the whole model once more, from the pixels."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from tests.parts import joined, part, picture
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from lapilli.data.sample import Sample, Turn
from lapilli.inference.answer import answer
from lapilli.inspection.intervention import replay as replaying
from lapilli.inspection.recording import recording
from lapilli.model.llava import join, load, save
from lapilli.model.upstream import cache_argument, new_cache

MODELS = ("deep", "llama", "mistral", "qwen2")
"""deep has as many heads of keys as of queries and five layers; the others share theirs among two heads, in two."""

_HOLD = TemporaryDirectory(prefix="lapilli-runs-")


@dataclass(frozen=True)
class Run:
    """A trace, and what it takes to run its sequence again."""

    trace: object
    pixels: object


def path_of(name):
    return _deep() if name == "deep" else joined("siglip" if name == "qwen2" else "clip", name)


@cache
def llava_of(name, attention="sdpa", dtype=torch.float32):
    llava = load(path_of(name))
    llava.model.set_attn_implementation(attention)
    llava.model.to(dtype)
    return llava


@cache
def _deep():
    folder = Path(_HOLD.name)
    tokenizer = AutoTokenizer.from_pretrained(part("llama"))
    sizes = {"hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 5, "num_attention_heads": 4}
    torch.manual_seed(9)
    config = LlamaConfig(**sizes, vocab_size=len(tokenizer), max_position_embeddings=256, initializer_range=0.15)
    LlamaForCausalLM(config).save_pretrained(folder / "language")
    tokenizer.save_pretrained(folder / "language")
    save(join(part("clip"), folder / "language"), folder / "joined")
    return folder / "joined"


def sample(images=1, turns=1, words=1):
    """`images` in the first question and one in every later one but the last; earlier turns are answered."""
    spoken, names = [], []
    for turn in range(turns):
        shown = images if turn == 0 else int(0 < turn < turns - 1)
        names += [str(len(names) + number) for number in range(shown)]
        spoken.append(Turn("user", "<image>\n" * shown + "Is the " + "red " * words + "circle left of it?"))
        spoken += [Turn("assistant", "yes, a blue square")] * (turn < turns - 1)
    return Sample("s", tuple(names), tuple(spoken))


def generated(llava, asked, tokens=6):
    """The trace that answering leaves behind; its queries predict the answer."""
    with recording(llava, whole=True) as record:
        (given,) = answer(llava, [asked], lambda name: picture(int(name)), max_new_tokens=tokens)
    return Run(record.trace(given.ids, given.layout), _pixels(llava, asked))


def read(llava, asked, tokens=6, queries=None):
    """The trace of one pass over the answered sequence, with a cache that keeps all; `queries` or its last ten."""
    (given,) = answer(llava, [asked], lambda name: picture(int(name)), max_new_tokens=tokens)
    queries = np.arange(len(given.ids) - 10, len(given.ids) - 1) if queries is None else queries
    pixels = _pixels(llava, asked)
    inputs = {"input_ids": torch.from_numpy(given.ids)[None], "pixel_values": pixels}
    with recording(llava, queries=queries, whole=True) as record, torch.inference_mode():
        llava.model(**inputs, **cache_argument(llava.model, new_cache()))
    return Run(record.trace(given.ids, given.layout), pixels)


def _pixels(llava, asked):
    return llava.pixels([picture(int(name)) for name in asked.images]).to(llava.model.dtype) if asked.images else None


def full_logits(llava, run, cuts):
    """The logits of every position, (token, vocab), of the whole model under causal masks with these cuts."""
    model, length = llava.model, len(run.trace.ids)
    read = torch.from_numpy(run.trace.ids)[None]
    with ExitStack() as hooks, torch.inference_mode():
        for layer, block in enumerate(model.model.language_model.layers):
            hook = _masking(_mask(model, length, [cut for cut in cuts if layer in cut.layers]))
            hooks.callback(block.self_attn.register_forward_pre_hook(hook, with_kwargs=True).remove)
        return model(input_ids=read, pixel_values=run.pixels, use_cache=False).logits[0].float()


def _masking(mask):
    return lambda module, arguments, given: (arguments, {**given, "attention_mask": mask})


def _mask(model, length, cuts):
    """(1, 1, token, token): a loop over everything that looks and is looked at."""
    window = getattr(model.config.text_config, "sliding_window", None) or length
    mask = torch.full((length, length), -torch.inf)
    for query in range(length):
        hidden = {key for cut in cuts if query in cut.queries for key in cut.keys.tolist()}
        for key in set(range(max(0, query - window + 1), query + 1)) - hidden:
            mask[query, key] = 0.0
    return mask[None, None].to(model.dtype)


@torch.inference_mode()
def replay_logits(trace, variants, at_once=None):
    """The logits of which `replay` returns some figures, float32, (variant, query, vocab)."""
    logits = trace.logits.repeat(len(variants), 1, 1)
    for chosen, first, streams in replaying._ends(trace, variants, at_once):
        logits[torch.from_numpy(chosen), first:] = replaying._logits(trace, streams)
    return logits
