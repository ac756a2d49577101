"""What is printed, as a terminal may show it: names, answers and messages may hold what somebody else wrote."""

import re
from collections.abc import Iterable
from typing import Any, final
from unicodedata import category

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

_JOINER = re.compile(r"(?<=[^\x00-\x7f\u200b-\u200f])[\u200c\u200d]")  # elsewhere it only hides in a text


def printable(text: str) -> str:
    """`text` with written out what a terminal would obey instead of print, or nobody would see: ESC becomes \\x1b.

    Control characters, those that turn the direction of writing, half characters; line breaks and spaces stay, and so
    do the joiners that Persian, Hindi and emoji are written with.
    """
    if text.isprintable():
        return text
    joiners = {found.start() for found in _JOINER.finditer(text)}
    return "".join(char if at in joiners else _shown(char) for at, char in enumerate(text))


def _shown(char: str) -> str:
    if char.isprintable() or char == "\n" or category(char) == "Zs":
        return char
    return char.encode("unicode_escape").decode()


@final
class Terminal(Console):
    """A console of rich that prints text as it is, without markup or emoji, and all of it by way of `printable`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Whatever rich makes of it; the codes that rich itself sends stay as they are."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))

    def render_str(self, text: str, **settings: Any) -> Text:
        """Here first: rich would drop some characters, and measure the others as if they had no width."""
        return super().render_str(printable(text), **settings)
