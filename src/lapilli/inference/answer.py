"""Greedy answers to many samples at once, each the one that the sample alone would get."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lapilli.core.layout import OFF, Role, TokenLayout
from lapilli.core.placement import AS_STORED, Placement
from lapilli.data.collate import collate
from lapilli.data.encode import Encoded, encode
from lapilli.data.sample import Sample
from lapilli.inference.greedy import Pictures, generate, opened, require_room, text_of, words_of
from lapilli.model.llava import Llava, load
from lapilli.model.upstream import new_cache


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

    @property
    def generated(self) -> NDArray[np.int64]:
        """The generated ids alone, with the stop where there is one."""
        last = self.layout.turn == self.layout.turn.max()
        new: NDArray[np.int64] = self.ids[np.isin(self.layout.role, (Role.ANSWER, Role.STOP)) & last]
        return new


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
    stops = (codec.stop_id, llava.stop_id)
    prompts = [encode(sample, codec, for_generation=True) for sample in samples]
    # By length, so that little is padding; the longest first, so that too large a batch fails at once.
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index].ids))
    found: dict[int, Answer] = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        rows = [prompts[index] for index in chosen]
        found.update(zip(chosen, _answer_batch(llava, rows, images, max_new_tokens, stops), strict=True))
        if progress is not None:
            progress(len(found))
    return [found[index] for index in range(len(prompts))]


def answerer(
    model: Path, max_new_tokens: int = 32, template: str | None = None, placement: Placement = AS_STORED
) -> Callable[[Sequence[Sample], Pictures], list[str]]:
    """A function that answers samples with the model in a folder, for evaluations that never see a model."""
    llava = load(model, placement)

    def respond(samples: Sequence[Sample], images: Pictures) -> list[str]:
        return [one.text for one in answer(llava, samples, images, max_new_tokens, template=template)]

    return respond


def _answer_batch(
    llava: Llava, rows: Sequence[Encoded], images: Pictures | None, max_new_tokens: int, stops: Sequence[int]
) -> Iterator[Answer]:
    longest, tokenizer = rows[0], llava.processor.tokenizer
    remedy = "shorten the sample or ask for fewer"
    require_room(llava, len(longest.ids), max_new_tokens, f"sample {longest.id!r}", remedy)
    pictures = (opened(images, name, f"sample {row.id!r}") for row in rows for name in row.images)
    pixels = llava.pixels(pictures) if any(row.images for row in rows) else None
    batch = collate(rows, tokenizer.pad_token_id, "left", pixels)
    del batch["labels"]
    # Not the cache of the model's choice: one of a sliding window drops what inspection/ has to read.
    generated = generate(llava, batch, max_new_tokens, stops, new_cache()).numpy()
    for row, new in zip(rows, generated, strict=True):
        words = words_of(new, stops)
        kept = new[: words + 1]  # with the stop, if there is one
        layout = _continued(row.layout, words, len(kept))
        yield Answer(row.id, text_of(new[:words].tolist(), llava), np.concatenate([row.ids, kept]), layout)


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
