"""A conversation with a model, whose KV cache spares reading the earlier turns again."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import final

import torch
from transformers.generation.streamers import BaseStreamer

from lapilli.core.errors import LapilliError
from lapilli.core.layout import OFF
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.data.encode import Encoded, encode
from lapilli.data.sample import Sample, Turn
from lapilli.inference.greedy import Pictures, answer_length, generate, open_named, require_room, text_of
from lapilli.inference.kv_cache import CachedSequence, content_ids
from lapilli.model.llava import Llava

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what decoders print for the first bytes of a character
_WHERE = "the conversation"


@final
class Chat:
    """A conversation with a model, and its KV cache.

    The prompt of every turn is encoded whole, as `answer` would encode it, and compared with the contents of the cache.
    The beginning that they share is not read again. So every answer is the one that reading the whole conversation
    gives, whatever tokens the earlier answers consisted of, and a picture goes through the vision encoder once. Sums
    are rounded differently, though: where two tokens are equally likely to the last digits, the answers may differ.
    """

    def __init__(
        self,
        llava: Llava,
        pictures: Pictures | None = None,
        max_new_tokens: int = 256,
        template: str | None = None,
    ) -> None:
        self._llava = llava
        self._pictures = pictures
        self._max_new_tokens = max_new_tokens
        self._codec = replace(llava.codec, template=template or llava.template)
        self._stops = (self._codec.stop_id, llava.stop_id)
        self._numbers = count()
        self.reset()

    def reset(self) -> None:
        """Begin a new conversation, with an empty cache."""
        self._conversation: tuple[Sample, tuple[int, ...]] = (Sample("chat", (), ()), ())
        self._cached = CachedSequence()

    @property
    def sample(self) -> Sample:
        """The conversation so far, for `write_samples`; an answer ends it, unless there are no turns at all."""
        return self._conversation[0]

    @property
    def prompt(self) -> str:
        """The prompt of the conversation so far, which a further question continues.

        It is text: special tokens are spelled out, also the one that the tokenizer begins with, and `<image>` stands
        for all the patches of a picture.
        """
        template, tokenizer, turns = self._codec.chat, self._codec.tokenizer, self.sample.turns
        if not turns:
            segments = template.segments([Turn("user", "?")], for_generation=True)
            text = "".join(segment.text for segment in segments if segment.turn == OFF)
        elif template.ends_answers:
            text = "".join(segment.text for segment in template.segments(turns))
        else:
            segments = template.segments(turns, for_generation=True)
            text = "".join(segment.text for segment in segments) + f" {turns[-1].text}"
        begin = "".join(tokenizer.convert_ids_to_tokens(tokenizer("")["input_ids"]))
        return text if text.startswith(begin) else begin + text

    def say(self, text: str, images: Sequence[str] = (), on_text: Callable[[str], None] | None = None) -> str:
        """Return the greedy answer to a question about these images and the turns before, without spaces around it.

        `on_text` gets the pieces of the answer as they come, in whole characters; together they are the answer. The
        images stand before the question, each on a line, unless the text has an `<image>` for every one.

        After an interruption, by KeyboardInterrupt or any other error (which is raised again), the text so far stays as
        the answer. Where that is empty, and where a model answers nothing, the question is removed: the conversation is
        as it was. So it is after LapilliError: for a picture that cannot be opened, a conversation that may outgrow the
        language model, and a text, also of the answer, that the template cannot hold.
        """
        question, numbers = self._with_question(text, images)
        encoded = encode(question, self._codec, for_generation=True)
        remedy = "begin anew (/reset in `lapilli chat`) or ask for fewer"
        require_room(self._llava, len(encoded.ids), self._max_new_tokens, _WHERE, remedy)
        batch, pending = self._uncached(encoded, numbers)
        streamer = _AnswerStreamer(self._llava, self._stops, self._cached.extend, pending, on_text)
        try:
            generate(self._llava, batch, self._max_new_tokens, self._stops, cache=self._cached.cache, streamer=streamer)
        finally:
            self._append(question, numbers, streamer.text)
        return streamer.text

    def _with_question(self, text: str, images: Sequence[str]) -> tuple[Sample, tuple[int, ...]]:
        """Return the conversation with one more question, and the numbers of its pictures; every one is new."""
        sample, numbers = self._conversation
        marks = "" if IMAGE_MARK in text else f"{IMAGE_MARK}\n" * len(images)
        turns = (*sample.turns, Turn("user", marks + text))
        question = replace(sample, images=(*sample.images, *images), turns=turns)
        return question, (*numbers, *(next(self._numbers) for _ in images))

    def _uncached(self, encoded: Encoded, numbers: Sequence[int]) -> tuple[dict[str, torch.Tensor], list[int]]:
        """Return the batch for `generate`, with the pixels that are not in the cache, and the content ids not in it."""
        sequence = content_ids(encoded.ids, encoded.layout, numbers)
        cached = self._cached.shared_length(sequence, encoded.layout)
        cached_images = int(encoded.layout.image[:cached].max(initial=OFF)) + 1
        pictures = [open_named(self._pictures, name, _WHERE) for name in encoded.images[cached_images:]]
        ids = torch.tensor(encoded.ids)[None]
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if pictures:
            batch["pixel_values"] = self._llava.pixels(pictures)
        self._cached.truncate(cached)
        return batch, sequence[cached:].tolist()

    def _append(self, question: Sample, numbers: tuple[int, ...], answer: str) -> None:
        """Add the question and its answer to the conversation, unless the answer is empty."""
        if not answer:
            return
        answered = replace(question, turns=(*question.turns, Turn("assistant", answer)))
        try:
            # With a question after it: not every template can end with an answer.
            encode(replace(answered, turns=(*answered.turns, Turn("user", "?"))), self._codec, for_generation=True)
        except LapilliError as error:
            raise LapilliError(f"the answer cannot be kept, the question is taken back: {error}") from error
        self._conversation = (answered, numbers)


class _AnswerStreamer(BaseStreamer):
    """Passes an answer on in pieces; before each token, `on_read` gets the content ids that the model has read."""

    def __init__(
        self,
        llava: Llava,
        stops: Sequence[int],
        on_read: Callable[[list[int]], None],
        pending: list[int],
        on_text: Callable[[str], None] | None,
    ) -> None:
        self._llava, self._stops, self._on_read, self._on_text = llava, stops, on_read, on_text
        self._pending, self._new = pending, list[int]()
        self._is_prompt = True  # what comes first
        self.text = ""

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt, and then one token after the other."""
        if self._is_prompt:
            self._is_prompt = False
            return
        self._on_read(self._pending)
        self._pending = [int(value)]
        self._new += self._pending
        self._emit(self._decoded().rstrip(_UNFINISHED).strip())

    def end(self) -> None:
        """Pass on the rest, even half a character."""
        self._emit(self._decoded())

    def _decoded(self) -> str:
        # The whole answer: what a token adds to the text depends on those before.
        return text_of(self._new[: answer_length(self._new, self._stops)], self._llava)

    def _emit(self, text: str) -> None:
        piece, self.text = text[len(self.text) :], text
        if piece and self._on_text is not None:
            self._on_text(piece)
