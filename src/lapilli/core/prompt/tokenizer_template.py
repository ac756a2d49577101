"""The template `own`: the chat template that a tokenizer brings with it, in Jinja, cut into the same segments.

Nothing about it is guessed. A conversation is rendered twice, with its texts and with a mark in the place of each. What
stands between the marks is the template's; what stands in the place of a mark must be the text, or the text without the
white space around it. A template that does more to a text is refused.

A message's content is a string where the template renders strings, with `<image>` where a picture stands. It is a list
of parts, {"type": "image"} and {"type": "text", "text": ..}, where the template renders those alone, or both and not
alike: other programs send parts. What it writes between the parts of a question belongs to the question.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from textwrap import shorten
from typing import Any, TypeAlias

from jinja2 import TemplateError

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Role
from lapilli.core.prompt.flatten import flattening
from lapilli.core.prompt.template import IMAGE_MARK, Segment, SpokenTurn, in_order
from lapilli.core.trial import tokenizing, trial

OWN = "own"
"""The name of this template in recipes, in a model's card and on the command line."""

Message: TypeAlias = dict[str, Any]
_Span: TypeAlias = tuple[int, int]  # first character and end
_End: TypeAlias = tuple[int, Role, int]  # of a segment: where it ends, its role and its turn

_REFUSALS = (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError)
FAILURES = (*_REFUSALS, MemoryError)
"""The exceptions that a template, a program that somebody else wrote, may end with."""

_LONGEST_REASON = 200  # characters
_PLACE = re.compile(rf"mark\d+of\d+text|{re.escape(IMAGE_MARK)}")  # of a text or an image; letters survive any template


@dataclass(frozen=True)
class _Turn:
    role: str
    text: str


@dataclass(frozen=True, eq=False)
class OwnTemplate:
    """The chat template of `tokenizer`, a Hugging Face tokenizer that has one; it is used like a `Template`.

    The text before an answer that the prompt for generation does not hold is part of the answer. The stop is the
    special token behind an answer, with the white space before it; what comes after it is the template's.
    """

    tokenizer: Any

    @property
    def name(self) -> str:
        """Always `own`."""
        return OWN

    @cached_property
    def stop(self) -> str:
        """The text that ends an answer: the special token behind it, or the tokenizer's end token without one.

        Raises LapilliError where there is neither.
        """
        stop = self._stop_behind_answers or self.tokenizer.eos_token
        if not stop:
            raise LapilliError(f"template {OWN}: no special token ends an answer, and the tokenizer has no end token")
        return str(stop)

    @property
    def ends_answers(self) -> bool:
        """Whether a special token follows an answer."""
        return self._stop_behind_answers is not None

    def jinja(self) -> str:
        """The template as the tokenizer has it, made to read parts where it reads strings alone (`core.flatten`).

        Other programs, which send pictures as parts, then make the same prompt. Raises LapilliError where the template
        renders no text.
        """
        if self._takes_strings and not self._reads_both_alike:
            return flattening(self._source)
        return self._source

    def messages(self, turns: Sequence[SpokenTurn]) -> list[Message]:
        """The turns as this template's `apply_chat_template` takes them.

        In parts, an image stands for `<image>` and the line break behind it, as other programs send it.
        """
        return [{"role": turn.role, "content": self._content(turn)} for turn in turns]

    def segments(self, turns: Sequence[SpokenTurn], for_generation: bool = False) -> list[Segment]:
        """The prompt of a conversation, in pieces, which joined are what `apply_chat_template` renders; none is empty.

        `turns` and `for_generation` are those of `Template.segments`. Raises LapilliError for another order of turns
        and where the template refuses the conversation or changes its texts. For training it also raises LapilliError
        where no special token follows an answer, and where an answer does not begin with the prompt that asks for it,
        in characters or in this tokenizer's tokens.
        """
        spoken = in_order(turns, for_generation)
        text, contents = self._rendered(spoken, for_generation)
        pieces, start = [], 0
        for end, role, turn in self._ends(spoken, text, contents, for_generation):
            if end > start:
                pieces.append(Segment(text[start:end], role, turn, role in (Role.ANSWER, Role.STOP)))
            start = end
        if not for_generation and not self._keeps_prompts:
            what = "this tokenizer reads the end of a prompt otherwise once an answer follows"
            raise LapilliError(f"template {OWN}: {what}; train in a named template")
        return pieces

    def _ends(
        self, turns: Sequence[SpokenTurn], text: str, contents: Sequence[_Span], for_generation: bool
    ) -> Iterator[_End]:
        """The ends of all segments, ascending; some may be empty."""
        yield from self._opening(text, contents[0][0])
        starts = [first for first, _ in contents[1:]] + [len(text)]
        for index, ((_, end), next_start) in enumerate(zip(contents, starts, strict=True)):
            turn, last = index // 2, index == len(turns) - 1
            if turns[index].role == "user":
                yield end, Role.QUESTION, turn
                so_far = turns[: index + 1]
                prompt_end = next_start if last else self._prompt_end(so_far, text, next_start, for_generation)
                yield prompt_end, Role.TEMPLATE, turn
            else:
                yield end, Role.ANSWER, turn
                yield end + self._stop_length(text[end:next_start], for_generation), Role.STOP, turn
                yield next_start, Role.TEMPLATE, turn if last else turn + 1

    def _opening(self, text: str, end: int) -> Iterator[_End]:
        """Yield the ends of the segments before the first question: the template's system text and what is around."""
        before, after = self._around_system
        has_system = before and text.startswith(before) and text.endswith(after, len(before), end)
        if has_system and len(before) < end - len(after):
            yield len(before), Role.TEMPLATE, -1
            yield end - len(after), Role.SYSTEM, -1
        yield end, Role.TEMPLATE, 0

    def _prompt_end(self, turns: Sequence[SpokenTurn], text: str, answer: int, for_generation: bool) -> int:
        """Return where in `text` the prompt for an answer to the last of `turns` ends; the answer begins at `answer`.

        Raises LapilliError for training where the text does not begin with that prompt.
        """
        prompt = self._render(self.messages(turns), True)
        if text.startswith(prompt) and len(prompt) <= answer:
            return len(prompt)
        if for_generation:
            return answer  # an earlier answer, of which nothing is learned
        what = "does not begin with the prompt that asks for it, so that nothing could be learned rightly"
        raise LapilliError(f"template {OWN}: turn {len(turns)}: its answer {what}; train in a named template")

    def _stop_length(self, behind: str, for_generation: bool) -> int:
        """The number of characters behind an answer that are its stop."""
        white = len(behind) - len(behind.lstrip())
        stop = self._stop_behind_answers
        if stop is not None and behind.startswith(stop, white):
            return white + len(stop)
        if for_generation:
            return 0
        what = "no special token follows an answer, so that none could be learned as its stop"
        raise LapilliError(f"template {OWN}: {what}; train in a named template")

    @cached_property
    def _keeps_prompts(self) -> bool:
        """Whether a prompt has the same tokens when a word follows. Two line breaks are one token to GPT-2's kind of
        tokenizer, and two before a word: no token lies across the border, and yet the model would learn another prompt.
        """
        prompt, _ = self._rendered([_Turn("user", "a")], True)
        answered, _ = self._rendered([_Turn("user", "a"), _Turn("assistant", "b")], False)
        with tokenizing():
            ids, whole = (self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, answered))
        return bool(whole[: len(ids)] == ids)

    @cached_property
    def _stop_behind_answers(self) -> str | None:
        """The special token that follows the last answer of a conversation."""
        text, contents = self._rendered([_Turn("user", "a"), _Turn("assistant", "b")], False)
        behind = text[contents[-1][1] :].lstrip()
        added = self.tokenizer.added_tokens_decoder.values()
        special = {str(token) for token in added if token.special} | {self.tokenizer.eos_token or ""}
        return max((token for token in special if token and behind.startswith(token)), key=len, default=None)

    @cached_property
    def _around_system(self) -> tuple[str, str]:
        """The text before a system text, and after it up to the first question; "" where the template takes none."""
        try:
            text, contents = self._rendered([_Turn("system", "a"), _Turn("user", "b")], True)
        except LapilliError:
            return "", ""
        (first, end), (question, _) = contents
        return text[:first], text[end:question]

    def _content(self, turn: SpokenTurn) -> str | list[dict[str, str]]:
        if self._takes_strings:
            return turn.text
        return _parts(turn.text) if turn.role == "user" else [_text_part(turn.text)]

    @cached_property
    def _takes_strings(self) -> bool:
        """Whether messages go in as strings. A template for lists makes nothing of a string, or single characters."""
        mark = _mark(0, 0)
        try:
            strings = self._render([{"role": "user", "content": mark}], True).count(mark) == 1
        except LapilliError:
            strings = False
        if strings:
            return self._reads_both_alike or not self._reads_parts
        if self._render([{"role": "user", "content": [_text_part(mark)]}], True).count(mark) != 1:
            raise LapilliError(f"template {OWN}: it renders no text of a user's, neither a string nor a list of parts")
        return False

    @cached_property
    def _reads_both_alike(self) -> bool:
        """Whether parts render to the same prompt as strings."""
        return all(
            self._outcome([{"role": role, "content": text} for role, text in turns])
            == self._outcome([{"role": role, "content": _parts(text)} for role, text in turns])
            for turns in (_TALK[:1], _TALK)
        )

    @cached_property
    def _reads_parts(self) -> bool:
        """Whether a conversation in parts comes out whole, its image as `<image>`."""
        text = self._outcome([{"role": role, "content": _parts(text)} for role, text in _TALK]) or ""
        marks = [words.removeprefix(f"{IMAGE_MARK}\n") for _, words in _TALK]
        return all(text.count(mark) == 1 for mark in (IMAGE_MARK, *marks))

    def _outcome(self, messages: Sequence[Message]) -> str | None:
        """The prompt that the template makes of these messages for an answer; None where it refuses them."""
        try:
            return self._render(messages, True)
        except LapilliError:
            return None

    def _rendered(self, turns: Sequence[SpokenTurn], for_generation: bool) -> tuple[str, list[_Span]]:
        """The conversation as one string, and where in it the content of every turn is."""
        messages = self.messages(turns)
        marked, texts = _marked(messages)
        text, skeleton = self._render(messages, for_generation), self._render(marked, for_generation)
        places, fixed = _PLACE.findall(skeleton), _PLACE.split(skeleton)
        owners = _owners(places, messages, texts)
        spans = _spans(text, fixed, [texts.get(place, place) for place in places])
        of_turn = [
            [span for owner, span in zip(owners, spans, strict=True) if owner == turn] for turn in range(len(turns))
        ]
        return text, [(own[0][0], own[-1][1]) for own in of_turn]

    def _render(self, messages: Sequence[Message], for_generation: bool) -> str:
        if wrong := unbounded(self.tokenizer, self._source):
            raise LapilliError(f"template {OWN}: it {wrong} for a short conversation; choose a named one")
        with _refusals():
            return _applied(self.tokenizer, messages, for_generation)

    @property
    def _source(self) -> str:
        with _refusals():
            return str(self.tokenizer.get_chat_template())


@lru_cache(maxsize=4)
def unbounded(tokenizer: Any, source: str) -> str | None:
    """The reason to refuse a chat template that needs too much time or memory for a short text, or None."""

    def render() -> None:
        for content in ("a", [{"type": "image"}, _text_part("a")]):
            turns = [{"role": role, "content": content} for role in ("user", "assistant", "user")]
            for messages, for_generation in ((turns[:1], True), (turns[:2], False), (turns, True)):
                with suppress(*_REFUSALS):
                    _applied(tokenizer, messages, for_generation, source)

    return trial(render)


def _applied(tokenizer: Any, messages: Sequence[Message], for_generation: bool, source: str | None = None) -> str:
    return str(
        tokenizer.apply_chat_template(
            messages, chat_template=source, tokenize=False, add_generation_prompt=for_generation
        )
    )


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except FAILURES as error:
        reason = shorten(str(error) or type(error).__name__, _LONGEST_REASON, placeholder=" …")
        raise LapilliError(f"template {OWN}: it refuses the conversation: {reason}; choose a named one") from error


def _text_part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _parts(text: str) -> list[dict[str, str]]:
    """A text as parts: its images where their marks are, less a line break behind each, and the text between them."""
    parts: list[dict[str, str]] = []
    for number, words in enumerate(text.split(IMAGE_MARK)):
        if number:
            parts.append({"type": "image"})
            words = words.removeprefix("\n")
        if words:
            parts.append(_text_part(words))
    return parts or [_text_part("")]


def _mark(turn: int, part: int) -> str:
    return f"mark{part}of{turn}text"


_TALK = (("user", f"{IMAGE_MARK}\n{_mark(0, 0)}"), ("assistant", _mark(1, 0)), ("user", _mark(2, 0)))


def _marked(messages: Sequence[Message]) -> tuple[list[Message], dict[str, str]]:
    """The messages with a mark for every text, and the text of every mark."""
    texts: dict[str, str] = {}

    def keep(text: str, turn: int, part: int) -> str:
        texts[_mark(turn, part)] = text
        return _mark(turn, part)

    marked = []
    for turn, message in enumerate(messages):
        content = message["content"]
        if isinstance(content, str):
            content = keep(content, turn, 0)
        else:
            content = [_text_part(keep(p["text"], turn, n)) if "text" in p else p for n, p in enumerate(content)]
        marked.append({**message, "content": content})
    return marked, texts


def _owners(places: Sequence[str], messages: Sequence[Message], texts: dict[str, str]) -> list[int]:
    """The turn of every place; raises LapilliError unless every text and image has one, turn after turn."""
    contents = [message["content"] for message in messages]
    image_turns = [turn for turn, parts in enumerate(contents) for part in parts if part == {"type": "image"}]
    images, written = iter(image_turns), [place for place in places if place != IMAGE_MARK]
    if sorted(written) != sorted(texts) or places.count(IMAGE_MARK) != len(image_turns):
        counts = f"{len(written)} of {len(texts)} texts and {places.count(IMAGE_MARK)} of {len(image_turns)}"
        what = f"{counts} {IMAGE_MARK} of the conversation"
        raise LapilliError(f"template {OWN}: it renders {what}; choose a named template")
    owners = [next(images) if place == IMAGE_MARK else int(place[:-4].partition("of")[2]) for place in places]
    if owners != sorted(owners):
        raise LapilliError(f"template {OWN}: it renders the turns in another order; choose a named template")
    return owners


def _spans(text: str, fixed: Sequence[str], contents: Sequence[str]) -> list[_Span]:
    """The span of every content in `text`, whose other pieces are `fixed`: one before, between and after them."""
    spans, at = [], len(fixed[0])
    whole = text.startswith(fixed[0])
    for content, after in zip(contents, fixed[1:], strict=True):
        ways = (content, content.strip(), content.lstrip(), content.rstrip(), content.strip("\n"))
        rendered = next((way for way in ways if text.startswith(way + after, at)), None)
        if rendered is None or not whole:
            raise _changed(content)
        spans.append((at, at + len(rendered)))
        at += len(rendered) + len(after)
    if at != len(text):
        raise _changed(contents[-1])
    return spans


def _changed(content: str) -> LapilliError:
    excerpt = shorten(content, 60, placeholder=" …")
    return LapilliError(
        f"template {OWN}: it does more to the text {excerpt!r} than to strip white space, so that nobody can say where "
        "the text begins; choose a named template"
    )
