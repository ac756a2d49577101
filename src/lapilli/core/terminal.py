"""Safe printing to a terminal: names, answers and messages may hold text that somebody else wrote."""

import re
from collections.abc import Iterable
from typing import Any, final
from unicodedata import category

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_JOINER = re.compile(r"(?<=[^\x00-\x7f\u200b-\u200f])[\u200c\u200d]")  # elsewhere it only hides in a text


def printable(text: str) -> str:
    """Return `text` with every character escaped that a terminal obeys or hides: ESC becomes \\x1b.

    Escaped are control characters, those that change the direction of writing, and half characters. Line breaks and
    spaces stay, and so do the joiners that Persian, Hindi and emoji are written with.
    """
    if text.isprintable():
        return text
    joiners = {match.start() for match in _JOINER.finditer(text)}
    return "".join(char if at in joiners else _escaped(char) for at, char in enumerate(text))


def one_line(text: str, width: int = 80) -> str:
    """Return `text` as a printable part of a line: spaces and line breaks become single spaces, cut behind `width`."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= width else f"{line[: width - 1].rstrip()}…"


def _escaped(char: str) -> str:
    if char.isprintable() or char == "\n" or category(char) == "Zs":
        return char
    return char.encode("unicode_escape").decode()


@final
class Terminal(Console):
    """A console of rich that prints text without markup or emoji, and passes all of it through `printable`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments that rich renders, made printable; the codes that rich itself sends stay as they are."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))

    def render_str(self, text: str, **settings: Any) -> Text:
        """The text that rich renders, made printable before: rich would drop some characters and miscount others."""
        return super().render_str(printable(text), **settings)
