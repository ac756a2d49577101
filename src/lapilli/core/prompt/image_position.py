"""The position of the pictures in a question: as written, or before its text, as LLaVA puts them.

LLaVA's training code (`preprocess_multimodal`, v1.2.2) takes the mark out of a question, strips the rest, and puts the
mark and a line break before it. It does so in every sample with a picture, wherever the mark is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lapilli.core.prompt.template import IMAGE_MARK, ChatTemplate, Segment, SpokenTurn, Template

ImagePosition: TypeAlias = Literal["as_written", "first"]
"""The position of the pictures in a question; `first` is LLaVA's."""


def images_first(text: str) -> str:
    """Return a question with all its marks before its text, each with a line break; without a mark it is unchanged."""
    marks = text.count(IMAGE_MARK)
    return (f"{IMAGE_MARK}\n" * marks + text.replace(IMAGE_MARK, "").strip()).strip() if marks else text


@dataclass(frozen=True)
class ImagesFirst:
    """A chat template whose questions begin with their pictures; all else is that of the template `inner`."""

    inner: ChatTemplate

    @property
    def name(self) -> str:
        """The name by which the template is chosen."""
        return self.inner.name

    @property
    def stop(self) -> str:
        """The text that ends an answer."""
        return self.inner.stop

    @property
    def ends_answers(self) -> bool:
        """Whether a fixed text follows an answer and marks its end."""
        return self.inner.ends_answers

    @property
    def caption(self) -> bool:
        """Whether the template is for one picture and its caption."""
        return bool(getattr(self.inner, "caption", False))

    def segments(self, turns: Sequence[SpokenTurn], for_generation: bool = False) -> list[Segment]:
        """The prompt of a conversation, in pieces: that of `inner` for the turns with their pictures first."""
        return self.inner.segments([_moved(turn) for turn in turns], for_generation)

    def jinja(self) -> str:
        """The template as a Hugging Face `chat_template`, which moves the pictures itself."""
        prefix = _AS_TEXT if isinstance(self.inner, Template) else _AS_GIVEN
        return prefix + as_written(self.inner.jinja())


def as_written(jinja: str) -> str:
    """Return the `chat_template` without the prefix that moves the pictures."""
    return jinja.removeprefix(_AS_TEXT).removeprefix(_AS_GIVEN)


@dataclass(frozen=True)
class _Turn:
    role: str
    text: str


def _moved(turn: SpokenTurn) -> SpokenTurn:
    return _Turn(turn.role, images_first(turn.text)) if turn.role == "user" else turn


_JINJA = """\
{% set moved = namespace(messages=[]) %}
{% for message in messages %}
{% set text %}
{% if message['content'] is string %}{{ message['content'] }}
{% else %}
{% for part in message['content'] %}
{% if part['type'] == 'image' %}{{ '@MARK' }}{% else %}{{ part['text'] }}{% endif %}
{% endfor %}
{% endif %}
{% endset %}
{% set content = @OTHERWISE %}
{% if message['role'] == 'user' and '@MARK' in text %}
{% set marks = (text.split('@MARK') | length) - 1 %}
{% set words = text.replace('@MARK', '').strip() %}
{% if content is string %}{% set content = ('@MARK\\n' * marks + words).strip() %}
{% else %}{% set content = [{'type': 'image'}] * marks + [{'type': 'text', 'text': words}] %}{% endif %}
{% endif %}
{% set moved.messages = moved.messages + [dict(message, content=content)] %}
{% endfor %}
{% set messages = moved.messages %}""".replace("\n", "").replace("@MARK", IMAGE_MARK)

_AS_TEXT = _JINJA.replace("@OTHERWISE", "text")
_AS_GIVEN = _JINJA.replace("@OTHERWISE", "message['content']")  # a tokenizer's own may read parts, and those alone
