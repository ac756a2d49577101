"""A question to a language model, and the reply of a chat completion."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypedDict

from lapilli.core.errors import LapilliError
from lapilli.core.plain import json_text
from lapilli.core.read import checked, parsed

Role = Literal["system", "user", "assistant"]
LengthName = Literal["max_tokens", "max_completion_tokens"]

_CHARACTERS_PER_TOKEN = 3  # English has four; an estimate should rather be too high
_TOKENS_PER_MESSAGE = 4


@dataclass(frozen=True)
class Message:
    """A message of a chat."""

    role: Role
    content: str


@dataclass(frozen=True)
class Sampling:
    """How the model draws its answer; what is None is not sent, as some models refuse it.

    `max_tokens` is the most that an answer may have, sent under the name `length_name`.
    """

    temperature: float | None = 0.0
    top_p: float | None = 1.0
    max_tokens: int = 1_024
    seed: int | None = 0
    length_name: LengthName = "max_tokens"


@dataclass(frozen=True)
class Call:
    """A question to `model`; `purpose` names the template and its version, `sample` counts repeated questions from 0.

    `about` is for people who read the journal, and no part of the key.
    """

    messages: tuple[Message, ...]
    model: str
    sampling: Sampling
    purpose: str
    sample: int = 0
    about: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)

    @cached_property
    def key(self) -> str:
        """The name under which the answer is kept: a hash of all that it depends on, and of nothing secret."""
        identity = [asdict(message) for message in self.messages], self.model, asdict(self.sampling)
        text = json.dumps([*identity, self.purpose, self.sample], sort_keys=True, ensure_ascii=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def input_estimate(self) -> int:
        """The tokens of the messages, estimated from above for European languages."""
        return sum(len(m.content) // _CHARACTERS_PER_TOKEN + _TOKENS_PER_MESSAGE for m in self.messages)

    def again(self, reply: str, complaint: str) -> "Call":
        """The call that shows the model its own reply, says what is wrong with it, and asks for another one."""
        more = (Message("assistant", reply), Message("user", complaint))
        return replace(self, messages=self.messages + more)

    def longer(self) -> "Call":
        """The same call with room for an answer of twice the length."""
        return replace(self, sampling=replace(self.sampling, max_tokens=2 * self.sampling.max_tokens))

    def request(self) -> dict[str, Any]:
        """The body of the request, as OpenAI's chat completions take it."""
        of = self.sampling
        drawing = {"temperature": of.temperature, "top_p": of.top_p, of.length_name: of.max_tokens, "seed": of.seed}
        return {
            "model": self.model,
            "messages": [asdict(message) for message in self.messages],
            **{name: value for name, value in drawing.items() if value is not None},
        }


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer by the four classes that are priced; `cached` and `cache_write` are no part of `input`."""

    input: int = 0
    cached: int = 0
    cache_write: int = 0
    output: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input + other.input,
            self.cached + other.cached,
            self.cache_write + other.cache_write,
            self.output + other.output,
        )

    def __sub__(self, other: "Usage") -> "Usage":
        return self + Usage(-other.input, -other.cached, -other.cache_write, -other.output)

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.input + self.cached + self.cache_write + self.output


@dataclass(frozen=True)
class Reply:
    """The answer to a call: its text, why it ended ("stop", "length", ...), what it used (None: not said), and by whom.

    `text` is "" where the message has none, as in a refusal by a content filter.
    """

    text: str
    finish_reason: str
    usage: Usage | None
    model: str


class _Message(TypedDict, total=False):
    content: Any


class _Choice(TypedDict):
    message: _Message
    finish_reason: str | None


class _Completion(TypedDict):
    choices: list[_Choice]


def read_reply(body: str) -> Reply:
    """The reply in the body of a response. Raises LapilliError for what is no chat completion."""
    where = "reply of the endpoint"
    value = parsed(body, where, "no chat completion")
    choices = checked(_Completion, value, where, "no chat completion")["choices"]
    if not choices:
        raise LapilliError(f"{where}: no choices; no chat completion")
    content = choices[0]["message"].get("content")
    model = value.get("model")
    return Reply(
        text=_text(content),
        finish_reason=choices[0]["finish_reason"] or "",
        usage=_usage(value.get("usage")),
        model=model if isinstance(model, str) else "",
    )


def _text(content: Any) -> str:
    """The text of a message: a string, or the text parts of a list. Half a character becomes a question mark."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str))
    return content.encode("utf-8", "replace").decode() if isinstance(content, str) else ""


def _usage(value: Any) -> Usage | None:
    """The tokens by class; None where the endpoint does not say, or says what cannot be."""
    if not isinstance(value, dict):
        return None
    details = value.get("prompt_tokens_details")
    details = details if isinstance(details, dict) else {}
    prompt, output = value.get("prompt_tokens"), value.get("completion_tokens")
    if not (isinstance(prompt, int) and isinstance(output, int) and prompt >= 0 and output >= 0):
        return None
    cached, written = (_count(details.get(name)) for name in ("cached_tokens", "cache_write_tokens"))
    return Usage(max(0, prompt - cached - written), cached, written, output)


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0


def spent_on(reply: Reply, input_estimate: int) -> Usage:
    """What a reply used: as the endpoint says, or estimated from the texts."""
    return reply.usage or Usage(input=input_estimate, output=len(reply.text) // _CHARACTERS_PER_TOKEN + 1)


def request_line(call: Call) -> str:
    """The call as a line of a file of requests for OpenAI's Batch API and `vllm run-batch`."""
    request = {"custom_id": call.key, "method": "POST", "url": "/v1/chat/completions", "body": call.request()}
    return json_text(request) + "\n"
