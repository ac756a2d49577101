"""Greedy answers to many samples at once, each the one that the sample alone would get."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lapilli.core.layout import OFF, Role, TokenLayout
from lapilli.core.placement import AS_STORED, Placement
from lapilli.data.collate import Example, collate
from lapilli.data.encode import Encoded, encode
from lapilli.data.order import longest_first
from lapilli.data.sample import Sample
from lapilli.inference.greedy import Pictures, answer_length, generate, open_named, require_room, text_of
from lapilli.inference.shared_prefix import prefixes, read_prefix, rests, shared_length
from lapilli.model.llava import Llava, load
from lapilli.model.upstream import new_cache


@dataclass(frozen=True, eq=False)
class Answer:
    """An answer of a model, with its tokens.

    `ids` (token,) are those of the whole sequence, prompt and answer, and `layout` says what each is: the generated
    ones are ANSWER, and STOP where the model ended by itself. `text` is the answer without the spaces around it.
    """

    id: str
    text: str
    ids: NDArray[np.int64]
    layout: TokenLayout

    @property
    def generated(self) -> NDArray[np.int64]:
        """The generated ids alone, with the stop where there is one."""
        new: NDArray[np.int64] = self.ids[self.layout.last_answer]
        return new


def answer(
    llava: Llava,
    samples: Sequence[Sample],
    images: Pictures | None = None,
    max_new_tokens: int = 32,
    batch_size: int = 32,
    template: str | None = None,
    progress: Callable[[int], None] | None = None,
    share_prefixes: bool = False,
) -> list[Answer]:
    """Return the greedy answer to the last question of every sample, in order; a sample's own answer to it is left out.

    `images` opens the pictures, `template` replaces the model's own, and `progress` gets the number that are answered.
    Samples with and without pictures may be mixed. With `share_prefixes` what the prompts of a batch begin with is read
    once for each picture, which is faster; logits may be rounded otherwise, and hooks do not see whole prompts. Raises
    LapilliError for a sample that cannot be encoded, or whose pictures cannot be opened.
    """
    codec = replace(llava.codec, template=template or llava.template)
    stops = (codec.stop_id, llava.stop_id)
    asking = _Asking(images, max_new_tokens, stops, share_prefixes)
    prompts = [encode(sample, codec, for_generation=True) for sample in samples]
    groups = [prompt.images if share_prefixes else prompt for prompt in prompts]
    order = longest_first([len(prompt.ids) for prompt in prompts], groups)
    answers: dict[int, Answer] = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = [prompts[index] for index in chosen]
        answers.update(zip(chosen, _answer_batch(llava, batch, asking), strict=True))
        if progress is not None:
            progress(len(answers))
    return [answers[index] for index in range(len(prompts))]


def answerer(
    model: Path, max_new_tokens: int = 32, template: str | None = None, placement: Placement = AS_STORED
) -> Callable[[Sequence[Sample], Pictures], list[str]]:
    """Return a function that answers samples with the model in a folder, for evaluations that never see a model."""
    return answerer_of(load(model, placement), max_new_tokens, template)


def answerer_of(
    llava: Llava, max_new_tokens: int = 32, template: str | None = None
) -> Callable[[Sequence[Sample], Pictures], list[str]]:
    """Return `answerer` of a model that is loaded."""

    def respond(samples: Sequence[Sample], images: Pictures) -> list[str]:
        replies = answer(llava, samples, images, max_new_tokens, template=template, share_prefixes=True)
        return [reply.text for reply in replies]

    return respond


@dataclass(frozen=True)
class _Asking:
    """How the prompts of a batch are answered."""

    images: Pictures | None
    max_new_tokens: int
    stops: tuple[int, ...]
    share_prefixes: bool


def _answer_batch(llava: Llava, prompts: Sequence[Encoded], asking: _Asking) -> Iterator[Answer]:
    longest, remedy = max(prompts, key=lambda one: len(one.ids)), "shorten the sample or ask for fewer"
    require_room(llava, len(longest.ids), asking.max_new_tokens, f"sample {longest.id!r}", remedy)
    batch, cache = _inputs(llava, prompts, asking)
    generated = generate(llava, batch, asking.max_new_tokens, asking.stops, cache).numpy()
    for prompt, new in zip(prompts, generated, strict=True):
        length = answer_length(new, asking.stops)
        tokens = new[: length + 1]  # with the stop, if there is one
        layout = _continued(prompt.layout, length, len(tokens))
        yield Answer(prompt.id, text_of(new[:length].tolist(), llava), np.concatenate([prompt.ids, tokens]), layout)


def _inputs(llava: Llava, prompts: Sequence[Encoded], asking: _Asking) -> tuple[dict[str, torch.Tensor], Any]:
    """The prompts as `generate` takes them, with the cache of what of them is read before."""
    length = shared_length(llava, prompts, asking.max_new_tokens) if asking.share_prefixes else 0
    # Not the model's own choice of cache: that of a sliding window drops positions that inspection/ reads.
    cache = new_cache()
    if length:
        cache = read_prefix(llava, prompts, length, _pixels(llava, prefixes(prompts, length), asking.images))
    parts = rests(prompts, length)
    batch = collate(parts, llava.processor.tokenizer.pad_token_id, "left", _pixels(llava, parts, asking.images))
    del batch["labels"]
    first = torch.tensor(prompts[0].ids[:length]).expand(len(prompts), -1)
    batch["input_ids"] = torch.cat([first, batch["input_ids"]], 1)
    batch["attention_mask"] = torch.cat([torch.ones_like(first), batch["attention_mask"]], 1)
    return batch, cache


def _pixels(llava: Llava, parts: Sequence[Example], images: Pictures | None) -> torch.Tensor | None:
    pictures = (open_named(images, name, f"sample {part.id!r}") for part in parts for name in part.images)
    return llava.pixels(pictures) if any(part.images for part in parts) else None


def _continued(prompt: TokenLayout, length: int, count: int) -> TokenLayout:
    """Return the layout of a prompt and `count` tokens of answer: `length` of text, and a stop if there is one more."""
    role = [Role.ANSWER] * length + [Role.STOP] * (count - length)
    off, turn = np.full(count, OFF), np.full(count, prompt.turn.max())
    return TokenLayout(
        role=np.concatenate([prompt.role, np.array(role, np.int8)]),
        turn=np.concatenate([prompt.turn, turn]),
        image=np.concatenate([prompt.image, off]),
        row=np.concatenate([prompt.row, off]),
        column=np.concatenate([prompt.column, off]),
    )
