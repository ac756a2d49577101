"""The texts of this folder, read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lapilli.core.read import checked, read_json_lines, read_text

_FOLDER = Path(__file__).parent
_REMEDY = "install lapilli again"

CONVERSATIONS = _FOLDER / "conversations.jsonl"
"""420 conversations without pictures, in LLaVA's format."""


@dataclass(frozen=True)
class Instruction:
    """Something to ask a model for, and the `rules` by which its reply is judged."""

    id: str
    question: str
    rules: Mapping[str, Any]


def instructions() -> list[Instruction]:
    """The 50 instructions, in their order; none of them is among the conversations."""
    rows = read_json_lines(_FOLDER / "instructions.jsonl", _REMEDY)
    return [checked(Instruction, value, place, _REMEDY) for place, value in rows]


def held_out_prose() -> str:
    """About 1,850 words of a story, of which no sentence is in the conversations; an empty line ends a paragraph."""
    return read_text(_FOLDER / "held_out.txt", _REMEDY).strip()
