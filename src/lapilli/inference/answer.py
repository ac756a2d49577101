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
from lapilli.inference.greedy import Pictures, answer_length, generate, open_named, require_room, text_of
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
) -> list[Answer]:
    """Return the greedy answer to the last question of every sample, in order; a sample's own answer to it is left out.

    `images` opens the pictures, `template` replaces the model's own, and `progress` gets the number that are answered.
    Samples with and without pictures may be mixed. Raises LapilliError for a sample that cannot be encoded, or whose
    pictures cannot be opened.
    """
    codec = replace(llava.codec, template=template or llava.template)
    stops = (codec.stop_id, llava.stop_id)
    prompts = [encode(sample, codec, for_generation=True) for sample in samples]
    # By length, so that little is padding; the longest first, so that too large a batch fails at once.
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index].ids))
    answers: dict[int, Answer] = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = [prompts[index] for index in chosen]
        answers.update(zip(chosen, _answer_batch(llava, batch, images, max_new_tokens, stops), strict=True))
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
        return [reply.text for reply in answer(llava, samples, images, max_new_tokens, template=template)]

    return respond


def _answer_batch(
    llava: Llava, prompts: Sequence[Encoded], images: Pictures | None, max_new_tokens: int, stops: Sequence[int]
) -> Iterator[Answer]:
    longest, tokenizer = prompts[0], llava.processor.tokenizer
    remedy = "shorten the sample or ask for fewer"
    require_room(llava, len(longest.ids), max_new_tokens, f"sample {longest.id!r}", remedy)
    pictures = (open_named(images, name, f"sample {prompt.id!r}") for prompt in prompts for name in prompt.images)
    pixels = llava.pixels(pictures) if any(prompt.images for prompt in prompts) else None
    batch = collate(prompts, tokenizer.pad_token_id, "left", pixels)
    del batch["labels"]
    # Not the model's own choice of cache: that of a sliding window drops positions that inspection/ reads.
    generated = generate(llava, batch, max_new_tokens, stops, new_cache()).numpy()
    for prompt, new in zip(prompts, generated, strict=True):
        length = answer_length(new, stops)
        tokens = new[: length + 1]  # with the stop, if there is one
        layout = _continued(prompt.layout, length, len(tokens))
        yield Answer(prompt.id, text_of(new[:length].tolist(), llava), np.concatenate([prompt.ids, tokens]), layout)


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
