"""One encoded sample made visible: what every token is for, and which of them are learned."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from rich.console import Group
from rich.text import Text

from lapilli.core.codec import Codec
from lapilli.core.layout import Role
from lapilli.core.terminal import printable
from lapilli.data.encode import IGNORED, Encoded

_COLOURS = {
    Role.TEMPLATE: "bright_black",
    Role.SYSTEM: "blue",
    Role.QUESTION: "cyan",
    Role.IMAGE: "magenta",
    Role.ANSWER: "green",
    Role.STOP: "yellow",
    Role.PADDING: "dim",
}
_LEARNED = "bold underline"
_BORDER = "│"  # between two tokens
_UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what decoders print for the first bytes of a character
_MOST_BYTES = 4  # of a character in UTF-8


def as_json(encoded: Encoded, codec: Codec) -> dict[str, Any]:
    """`ids`, `labels`, `roles` (in words) and `tokens` (as the vocabulary spells them): lists of one length."""
    return {
        "ids": encoded.ids.tolist(),
        "labels": encoded.labels.tolist(),
        "roles": [Role(role).name.lower() for role in encoded.layout.role],
        "tokens": codec.tokenizer.convert_ids_to_tokens(encoded.ids.tolist()),
    }


def render(encoded: Encoded, codec: Codec, coloured: bool = True) -> Group:
    """The tokens in the colours of their roles, the learned ones bold and underlined; one chip an image; a legend.

    Without colours, the role stands before the tokens that share it, with a `+` where they are learned.
    """
    text = Text()
    for piece in _pieces(encoded, codec, coloured):
        text.append(_BORDER if text else "", "bright_black").append(piece)
    learned = int((encoded.labels != IGNORED).sum())
    counts = f"{len(encoded.ids)} tokens, {learned} learned, {encoded.layout.image_count} images"
    return Group(text, Text(), _legend(encoded), Text(counts))


def visible(text: str) -> str:
    """`text` with a sign at its line breaks, and written out what a terminal would obey instead of print."""
    return printable(text).replace("\n", "↵\n")


def _pieces(encoded: Encoded, codec: Codec, coloured: bool) -> Iterator[Text]:
    before: list[int] = []
    for (role, image, learned), run in groupby(range(len(encoded.ids)), key=lambda at: _look(encoded, at)):
        style = f"{_COLOURS[role]} {_LEARNED}" if learned else _COLOURS[role]
        if not coloured:
            yield Text(f"<{role.name.lower()}{'+' if learned else ''}>")
        if role == Role.IMAGE:
            rows, columns = encoded.layout.patches(image).shape
            yield Text(f"[image {image}: {rows}x{columns} patches]", style)
            continue
        for ids in _whole_characters([int(encoded.ids[at]) for at in run], codec):
            yield Text(visible(_decoded(before, ids, codec)), style)
            before = ids


def _look(encoded: Encoded, at: int) -> tuple[Role, int, bool]:
    return Role(encoded.layout.role[at]), int(encoded.layout.image[at]), bool(encoded.labels[at] != IGNORED)


def _whole_characters(ids: list[int], codec: Codec) -> Iterator[list[int]]:
    """The tokens one by one, but those together that are bytes of one character."""
    group: list[int] = []
    for token in ids:
        group.append(token)
        if len(group) == _MOST_BYTES or not _text(group, codec).endswith(_UNFINISHED):
            yield group
            group = []
    if group:
        yield group


def _decoded(before: list[int], ids: list[int], codec: Codec) -> str:
    """The text of `ids` after `before`: decoders take the first space off what they decode."""
    return _text(before + ids, codec)[len(_text(before, codec)) :]


def _text(ids: list[int], codec: Codec) -> str:
    return str(codec.tokenizer.decode(ids))


def _legend(encoded: Encoded) -> Text:
    legend = Text()
    for role in sorted({Role(role) for role in encoded.layout.role}):
        legend.append(role.name.lower(), _COLOURS[role]).append("  ")
    return legend.append("learned", _LEARNED)
