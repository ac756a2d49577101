r"""Chat templates: how the turns of a conversation become the one string that a model reads.

`Template.segments` cuts that string into pieces that know their role, their turn and whether the model learns them.
Joined, they are the prompt without the beginning-of-sequence token, which the tokenizer adds. `Template.jinja` is
the same template for Hugging Face tokenizers and for servers; a test holds the two together.

Where a space belongs. Most tokenizers glue a space to the word after it, so that "ASSISTANT: red" ends in ":" and
" red", and the generation prompt therefore ends in "ASSISTANT:". The model produces " red": the space before an answer
is part of the ANSWER segment, and with it

    prompt for generation + ANSWER and STOP segments = the whole prompt,

character for character, after the last question. The space before a question stays with the TEMPLATE text. Hence the
rule for a token that lies across a boundary: it belongs to the segment that holds its first character that is not a
space. A token of nothing but spaces belongs to the segment that holds its first character. So the lone "▁" with which a
Llama tokenizer starts " 42" is learned, as it must be, for the model has to produce it.

The strings are those that released checkpoints were trained with (LLaVA, arXiv 2304.08485 and 2310.03744).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.layout import Role

IMAGE_MARK = "<image>"
"""Stands for one picture in the text of a turn."""

_ORDER = ("user", "assistant")


class SpokenTurn(Protocol):
    """A turn as a template reads it: its role and its text."""

    @property
    def role(self) -> str:
        """Either "user" or "assistant"."""

    @property
    def text(self) -> str:
        """The words, with `<image>` where a picture stands."""


@dataclass(frozen=True)
class Segment:
    """A piece of the prompt. `turn` is its exchange, from 0, or -1 outside; `learned` pieces have labels."""

    text: str
    role: Role
    turn: int
    learned: bool


class ChatTemplate(Protocol):
    """The interface of a template: one of those below, or a tokenizer's own (`tokenizer_template`)."""

    @property
    def name(self) -> str:
        """The name by which the template is chosen."""

    @property
    def stop(self) -> str:
        """The text that ends an answer."""

    @property
    def ends_answers(self) -> bool:
        """Whether a fixed text follows an answer and marks its end; without it, nothing can be learned."""

    def segments(self, turns: Sequence[SpokenTurn], for_generation: bool = False) -> list[Segment]:
        """The prompt of a conversation, in pieces: see `Template.segments`."""

    def jinja(self) -> str:
        """The template as a Hugging Face `chat_template`."""


def in_order(turns: Sequence[SpokenTurn], for_generation: bool) -> list[SpokenTurn]:
    """Return the turns to render: for generation without a last answer.

    Raises LapilliError unless they alternate, the user first, and end with an answer; for generation, with a question.
    """
    spoken = list(turns)
    if for_generation and spoken and spoken[-1].role == "assistant":
        spoken.pop()
    for index, turn in enumerate(spoken):
        if turn.role != _ORDER[index % 2]:
            raise LapilliError(f"turn {index}: {_ORDER[index % 2]} expected, {turn.role} found; turns alternate")
    last = "user" if for_generation else "assistant"
    if not spoken or spoken[-1].role != last:
        raise LapilliError(f"the last of {len(spoken)} turns must be the {last}'s")
    return spoken


@dataclass(frozen=True)
class Template:
    """The fixed texts of one chat format; the fields stand in the order in which the prompt has them."""

    name: str
    opening: tuple[tuple[str, Role], ...]  # before the first turn
    first_user: str  # before the first question
    later_user: str  # before every other question
    assistant: str  # between a question and its answer: with it ends the prompt for generation
    before_answer: str  # the space that the answer's first token carries
    before_stop: str
    stop: str  # ends an answer
    caption: bool = False  # one exchange, of which only the pictures and the answer are kept
    ends_answers = True  # with `stop`

    def segments(self, turns: Sequence[SpokenTurn], for_generation: bool = False) -> list[Segment]:
        """The prompt of a conversation, in pieces; none is empty.

        `turns` alternate, the user first, and end with an answer. `for_generation` leaves out a last answer and ends
        with the text that asks for it. Raises LapilliError on any other order.
        """
        spoken = in_order(turns, for_generation)
        if self.caption and len(spoken) > 2:
            raise LapilliError(f"template {self.name}: one picture and its caption expected, {len(spoken)} turns found")
        pieces = [Segment(text, role, -1, False) for text, role in self.opening]
        for index, turn in enumerate(spoken):
            pieces += (self._question if turn.role == "user" else self._answer)(turn.text, index // 2)
        return [piece for piece in pieces if piece.text]

    def _question(self, text: str, turn: int) -> list[Segment]:
        words = IMAGE_MARK * text.count(IMAGE_MARK) if self.caption else text
        return [
            Segment(self.later_user if turn else self.first_user, Role.TEMPLATE, turn, False),
            Segment(words, Role.QUESTION, turn, False),
            Segment(self.assistant, Role.TEMPLATE, turn, False),
        ]

    def _answer(self, text: str, turn: int) -> list[Segment]:
        return [
            Segment(self.before_answer + text, Role.ANSWER, turn, True),
            Segment(self.before_stop + self.stop, Role.STOP, turn, True),
        ]

    def jinja(self) -> str:
        """The template as a Hugging Face `chat_template`.

        A message's content is a string, or a list of {"type": "text", "text": ..} and {"type": "image"} parts. An image
        part becomes "<image>" and a line break, as in LLaVA's training data; in a string `<image>` stays where it is.
        """
        words = f"'{IMAGE_MARK}' * (text.split('{IMAGE_MARK}') | length - 1)" if self.caption else "text"
        texts = {
            "OPENING": "".join(text for text, _ in self.opening),
            "FIRST_USER": self.first_user,
            "LATER_USER": self.later_user,
            "ASSISTANT": self.assistant,
            "BEFORE_ANSWER": self.before_answer,
            "STOP": self.before_stop + self.stop,
        }
        source = _JINJA.replace("\n", "").replace("@PARTS", PARTS).replace("@WORDS", words)
        source = source.replace("@LIMIT", "2" if self.caption else "none")
        for name, text in texts.items():
            source = source.replace(f"@{name}", json.dumps(text))
        return source


PARTS = (
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ @IMAGE }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}"
).replace("@IMAGE", json.dumps(IMAGE_MARK + "\n"))
"""The Jinja source that renders the parts of a message as text."""

# The line breaks here are for the reader; what is rendered comes from the expressions alone.
_JINJA = """\
{{ @OPENING }}
{% for message in messages %}
{% set text %}
{% if message['content'] is string %}{{ message['content'] }}
{% else %}
@PARTS
{% endif %}
{% endset %}
{% if message['role'] != ['user', 'assistant'][loop.index0 % 2] %}
{{ raise_exception('turns must alternate user and assistant, the user first') }}
{% elif @LIMIT is not none and loop.index0 >= @LIMIT %}
{{ raise_exception('this template takes one picture and its caption') }}
{% elif message['role'] == 'user' %}
{{ @FIRST_USER if loop.first else @LATER_USER }}{{ @WORDS }}
{% else %}
{{ @ASSISTANT }}{{ @BEFORE_ANSWER }}{{ text }}{{ @STOP }}
{% endif %}
{% endfor %}
{% if add_generation_prompt %}{{ @ASSISTANT }}{% endif %}"""


VICUNA_V1 = Template(
    name="vicuna_v1",
    opening=(
        (
            "A chat between a curious user and an artificial intelligence assistant. "
            "The assistant gives helpful, detailed, and polite answers to the user's questions.",
            Role.SYSTEM,
        ),
    ),
    first_user=" USER: ",
    later_user="USER: ",
    assistant=" ASSISTANT:",
    before_answer=" ",
    before_stop="",
    stop="</s>",
)

# The format of LLaVA's own programs for its checkpoints, which were trained with "user": it differs in two words
# (llava_v1).
LLAVA_V1 = replace(
    VICUNA_V1,
    name="llava_v1",
    opening=(
        (
            "A chat between a curious human and an artificial intelligence assistant. "
            "The assistant gives helpful, detailed, and polite answers to the human's questions.",
            Role.SYSTEM,
        ),
    ),
)

PLAIN = Template(
    name="plain",
    opening=(),
    first_user="",
    later_user="",
    assistant="",
    before_answer="",
    before_stop="",
    stop="\n",
    caption=True,
)

# The format of the LLaVA checkpoints on Llama 2 chat, with the system text they were trained with (llava_llama_2).
LLAMA_2 = Template(
    name="llama_2",
    opening=(
        ("[INST] <<SYS>>\n", Role.TEMPLATE),
        (
            "You are a helpful language and vision assistant. "
            "You are able to understand the visual content that the user provides, "
            "and assist the user with a variety of tasks using natural language.",
            Role.SYSTEM,
        ),
    ),
    first_user="\n<</SYS>>\n\n",
    later_user="<s>[INST] ",
    assistant=" [/INST]",
    before_answer=" ",
    before_stop=" ",
    stop="</s>",
)

# The format of Mistral's instruct models, without a system text (mistral_instruct).
MISTRAL = Template(
    name="mistral",
    opening=(),
    first_user="[INST] ",
    later_user="[INST] ",
    assistant=" [/INST]",
    before_answer=" ",
    before_stop=" ",
    stop="</s>",
)

# LLaVA's own ChatML (chatml_direct): no line break after <|im_end|>.
CHATML = Template(
    name="chatml",
    opening=(
        ("<|im_start|>system\n", Role.TEMPLATE),
        ("Answer the questions.", Role.SYSTEM),
    ),
    first_user="<|im_end|><|im_start|>user\n",
    later_user="<|im_start|>user\n",
    assistant="<|im_end|><|im_start|>assistant\n",
    before_answer="",
    before_stop="",
    stop="<|im_end|>",
)

TEMPLATES = {template.name: template for template in (VICUNA_V1, LLAVA_V1, PLAIN, LLAMA_2, MISTRAL, CHATML)}
"""The templates by name. No template is guessed from the name of a checkpoint."""


def template_named(name: str) -> Template:
    """Return the template of that name. Raises UsageError that lists the names; `own`, a tokenizer's, is not one."""
    if name not in TEMPLATES:
        raise UsageError(f"template {name!r}: unknown; choose one of {', '.join(TEMPLATES)}, or own")
    return TEMPLATES[name]
