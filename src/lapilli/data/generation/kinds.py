"""The kinds of samples: conversations of several questions, descriptions, and questions that take thought."""

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["conversation", "detail", "reasoning"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Pair:
    """A question and its answer."""

    question: str
    answer: str
