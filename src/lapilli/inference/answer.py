"""Greedy answers to many samples at once, each the one that the sample alone would get."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import GenerationConfig, LogitsProcessorList

from lapilli.core.errors import LapilliError
from lapilli.core.layout import OFF, Role, TokenLayout
from lapilli.core.template import template_named
from lapilli.data.collate import collate
from lapilli.data.encode import Encoded, encode
from lapilli.data.pictures import open_picture
from lapilli.data.sample import Sample
from lapilli.model.llava import Llava, load
from lapilli.model.parts import quiet

Pictures: TypeAlias = Path | Callable[[str], Image.Image]
"""Where pictures come from: a folder, or whatever makes one of a name, such as a blank one."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model said.

    `ids` (token,) are those of the whole sequence, prompt and answer, and `layout` says what each is: the generated
    ones are ANSWER, and STOP where the model ended by itself. `text` is the answer without the spaces around it.
    """

    id: str
    text: str
    ids: NDArray[np.int64]
    layout: TokenLayout


def answer(
    llava: Llava,
    samples: Sequence[Sample],
    images: Pictures | None = None,
    max_new_tokens: int = 32,
    batch_size: int = 32,
    template: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Answer]:
    """The greedy answer to the last question of every sample, in their order; an answer that a sample has is left out.

    `images` opens the pictures, `template` replaces the model's own, and `progress` is told how many are done. Samples
    with and without pictures may be mixed. Raises LapilliError for a sample that cannot be encoded or seen.
    """
    codec = replace(llava.codec, template=template or llava.template)
    prompts = [encode(sample, codec, for_generation=True) for sample in samples]
    # By length, so that little is padding; the longest first, so that too large a batch fails at once.
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index].ids))
    found: dict[int, Answer] = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        rows = [prompts[index] for index in chosen]
        found.update(zip(chosen, _answer_batch(llava, rows, images, max_new_tokens, codec.template), strict=True))
        if progress is not None:
            progress(len(found))
    return [found[index] for index in range(len(prompts))]


def answerer(
    model: Path, max_new_tokens: int = 32, template: str | None = None
) -> Callable[[Sequence[Sample], Pictures], list[str]]:
    """A function that answers samples with the model in a folder, for evaluations that never see a model."""
    llava = load(model)

    def respond(samples: Sequence[Sample], images: Pictures) -> list[str]:
        return [one.text for one in answer(llava, samples, images, max_new_tokens, template=template)]

    return respond


def _answer_batch(
    llava: Llava, rows: Sequence[Encoded], images: Pictures | None, max_new_tokens: int, template: str
) -> Iterator[Answer]:
    tokenizer: Any = llava.processor.tokenizer
    _require_room(llava, rows[0], max_new_tokens)
    pictures = [_open(images, name, row) for row in rows for name in row.images]
    pixels = llava.pixels(pictures) if pictures else None
    batch = collate(rows, tokenizer.pad_token_id, "left", pixels)
    del batch["labels"]
    stops = (tokenizer.encode(template_named(template).stop, add_special_tokens=False)[-1], llava.stop_id)
    generated = _generate(llava, batch, max_new_tokens, stops).numpy()
    for row, new in zip(rows, generated, strict=True):
        yield _answer(row, new, stops, tokenizer)


def _generate(llava: Llava, batch: dict[str, torch.Tensor], max_new_tokens: int, stops: Sequence[int]) -> torch.Tensor:
    """The new tokens of every row, (batch, token), padded after their stop; on the CPU."""
    model: Any = llava.model.eval()
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,  # whatever the model's own generation_config.json says
        num_return_sequences=1,
        eos_token_id=list(stops),
        pad_token_id=llava.processor.tokenizer.pad_token_id,
    )
    with torch.inference_mode(), quiet():
        inputs = {name: value.to(model.device) for name, value in batch.items()}
        checked = LogitsProcessorList([require_numbers])
        sequences: torch.Tensor = model.generate(**inputs, generation_config=config, logits_processor=checked)
    return sequences[:, batch["input_ids"].shape[1] :].cpu()


def require_numbers(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """The logits of the next token, (batch, vocab), as they are. Raises LapilliError where they are no numbers."""
    if not logits.amax(dim=-1).isfinite().all():
        raise LapilliError(
            "the model computes no numbers (NaN or infinity): its weights are damaged, or too large for its format; "
            "fetch them again, or run it in float32"
        )
    return logits


def _answer(row: Encoded, new: NDArray[np.int64], stops: Sequence[int], tokenizer: Any) -> Answer:
    (ends,) = np.isin(new, stops).nonzero()
    words = int(ends[0]) if ends.size else len(new)
    kept = new[: words + 1]  # with the stop, if there is one
    text = tokenizer.decode(new[:words].tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return Answer(row.id, text.strip(), np.concatenate([row.ids, kept]), _continued(row.layout, words, len(kept)))


def _continued(prompt: TokenLayout, words: int, tokens: int) -> TokenLayout:
    """The layout of a prompt and its answer: `words` tokens of text, and a stop if there are more than those."""
    role = [Role.ANSWER] * words + [Role.STOP] * (tokens - words)
    off, turn = np.full(tokens, OFF), np.full(tokens, prompt.turn.max())
    return TokenLayout(
        role=np.concatenate([prompt.role, np.array(role, np.int8)]),
        turn=np.concatenate([prompt.turn, turn]),
        image=np.concatenate([prompt.image, off]),
        row=np.concatenate([prompt.row, off]),
        column=np.concatenate([prompt.column, off]),
    )


def _open(images: Pictures | None, name: str, row: Encoded) -> Image.Image:
    if images is None:
        raise LapilliError(f"sample {row.id!r}: shows {name}, but there is no folder of pictures; name one")
    return images(name) if callable(images) else open_picture(images, name)


def _require_room(llava: Llava, longest: Encoded, max_new_tokens: int) -> None:
    language: Any = llava.model.config.text_config
    needed, room = len(longest.ids) + max_new_tokens, language.max_position_embeddings
    if needed > room:
        raise LapilliError(
            f"sample {longest.id!r}: {len(longest.ids)} tokens and an answer of up to {max_new_tokens}, but the "
            f"language model reads {room}; shorten the sample or ask for fewer"
        )
