"""A conversation with a model that does not read again what it has read."""

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
from lapilli.inference.greedy import Pictures, generate, opened, require_room, text_of, words_of
from lapilli.inference.memory import Memory, reading
from lapilli.model.llava import Llava

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what decoders print for the first bytes of a character
_WHERE = "the conversation"


@final
class Chat:
    """A conversation with a model: what was said, and what the model keeps of it in its KV cache.

    The prompt of every turn is encoded whole, as `answer` would encode it, and compared with what the cache is of. The
    beginning that they share is kept, the rest is read. So every answer is the one that reading all of it anew gives,
    whatever tokens the earlier answers consisted of, and a picture goes through the vision encoder once. Sums are
    rounded otherwise, though: where two tokens are equally likely to the last digits, the answers may part.
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
        """Forget all that was said and read."""
        self._said: tuple[Sample, tuple[int, ...]] = (Sample("chat", (), ()), ())
        self._memory = Memory()

    @property
    def sample(self) -> Sample:
        """What was said, for `write_samples`; an answer ends it, unless there are no turns at all."""
        return self._said[0]

    @property
    def prompt(self) -> str:
        """What the model is given of the conversation so far, and what a further question continues.

        As text: special tokens are spelled out, also the one that the tokenizer begins with, and `<image>` stands for
        all the patches of a picture.
        """
        template, tokenizer, turns = self._codec.chat, self._codec.tokenizer, self.sample.turns
        if not turns:
            asked = template.segments([Turn("user", "?")], for_generation=True)
            text = "".join(segment.text for segment in asked if segment.turn == OFF)
        elif template.ends_answers:
            text = "".join(segment.text for segment in template.segments(turns))
        else:
            asked = template.segments(turns, for_generation=True)
            text = "".join(segment.text for segment in asked) + f" {turns[-1].text}"
        begin = "".join(tokenizer.convert_ids_to_tokens(tokenizer("")["input_ids"]))
        return text if text.startswith(begin) else begin + text

    def say(self, text: str, images: Sequence[str] = (), told: Callable[[str], None] | None = None) -> str:
        """The greedy answer to a question about these images and all that came before, without spaces around it.

        `told` gets the answer's pieces as they come, in whole characters; together they are the answer. The images
        stand before the question, each on a line, unless the text has an `<image>` for every one.

        Broken off, by KeyboardInterrupt or whatever else (which is raised on), what was told so far stays as the
        answer. Where that is nothing, and where a model answers nothing, the question is taken back: the conversation
        is as it was. So it is with LapilliError: for a picture that cannot be had, a conversation that may outgrow the
        language model, and a text, also of the answer, that the template has no place for.
        """
        asked, numbers = self._asked(text, images)
        encoded = encode(asked, self._codec, for_generation=True)
        remedy = "begin anew (/reset in `lapilli chat`) or ask for fewer"
        require_room(self._llava, len(encoded.ids), self._max_new_tokens, _WHERE, remedy)
        batch, unread = self._unread(encoded, numbers)
        speech = _Speech(self._llava, self._stops, self._memory.note, unread, told)
        try:
            generate(self._llava, batch, self._max_new_tokens, self._stops, self._memory.cache, speech)
        finally:
            self._keep(asked, numbers, speech.said)
        return speech.said

    def _asked(self, text: str, images: Sequence[str]) -> tuple[Sample, tuple[int, ...]]:
        """The conversation with one more question, and the numbers of its pictures: a name shown again is a new one."""
        sample, numbers = self._said
        marks = "" if IMAGE_MARK in text else f"{IMAGE_MARK}\n" * len(images)
        turns = (*sample.turns, Turn("user", marks + text))
        asked = replace(sample, images=(*sample.images, *images), turns=turns)
        return asked, (*numbers, *(next(self._numbers) for _ in images))

    def _unread(self, encoded: Encoded, numbers: Sequence[int]) -> tuple[dict[str, torch.Tensor], list[int]]:
        """What `generate` needs: all ids, and the pixels of the pictures not read yet; and what is left to be read."""
        sequence = reading(encoded.ids, encoded.layout, numbers)
        known = self._memory.begun(sequence, encoded.layout)
        seen = int(encoded.layout.image[:known].max(initial=OFF)) + 1
        pictures = [opened(self._pictures, name, _WHERE) for name in encoded.images[seen:]]
        ids = torch.tensor(encoded.ids)[None]
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if pictures:
            batch["pixel_values"] = self._llava.pixels(pictures)
        self._memory.forget(known)
        return batch, sequence[known:].tolist()

    def _keep(self, asked: Sample, numbers: tuple[int, ...], answer: str) -> None:
        """Go on from this answer, unless it is none."""
        if not answer:
            return
        answered = replace(asked, turns=(*asked.turns, Turn("assistant", answer)))
        try:
            # With a question behind it: not every template has an end for the last answer.
            encode(replace(answered, turns=(*answered.turns, Turn("user", "?"))), self._codec, for_generation=True)
        except LapilliError as error:
            raise LapilliError(f"the answer cannot be kept, the question is taken back: {error}") from error
        self._said = (answered, numbers)


class _Speech(BaseStreamer):
    """An answer as it comes: told in pieces, while `note` is told what was certainly read before each token of it."""

    def __init__(
        self,
        llava: Llava,
        stops: Sequence[int],
        note: Callable[[list[int]], None],
        unread: list[int],
        told: Callable[[str], None] | None,
    ) -> None:
        self._llava, self._stops, self._note, self._told = llava, stops, note, told
        self._unread, self._new = unread, list[int]()
        self._is_prompt = True  # what comes first
        self.said = ""

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt, and then one token after the other."""
        if self._is_prompt:
            self._is_prompt = False
            return
        self._note(self._unread)
        self._unread = [int(value)]
        self._new += self._unread
        self._tell(self._text().rstrip(_UNFINISHED).strip())

    def end(self) -> None:
        """Tell the rest, be it half a character."""
        self._tell(self._text())

    def _text(self) -> str:
        # All of it anew: what a token adds to the text depends on those before.
        return text_of(self._new[: words_of(self._new, self._stops)], self._llava)

    def _tell(self, text: str) -> None:
        piece, self.said = text[len(self.said) :], text
        if piece and self._told is not None:
            self._told(piece)
