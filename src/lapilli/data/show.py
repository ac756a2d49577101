"""Printing an encoded sample: the role of every token, and which tokens are learned."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from rich.console import Group
from rich.text import Text

from lapilli.core.layout import Role
from lapilli.core.prompt.codec import Codec
from lapilli.core.terminal import printable
from lapilli.data.encode import IGNORED, Encoded

_COLORS = {
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
_CONTROL = "reverse"
_LONGEST = 10_000  # tokens; more would fill the terminal for minutes
_MOST_BYTES = 4  # of a character in UTF-8


@dataclass(frozen=True)
class Piece:
    """A token as text, or the patches of a whole image, with its role and whether it is learned.

    `control` says that it is a control token which somebody wrote into a text.
    """

    text: str
    role: Role
    learned: bool
    control: bool


def as_json(encoded: Encoded, codec: Codec, control: Collection[int] = ()) -> dict[str, Any]:
    """`ids`, `labels`, `roles` (in words) and `tokens` (as the vocabulary spells them): lists of one length.

    `control` are the positions of control tokens that somebody wrote into a text.
    """
    return {
        "ids": encoded.ids.tolist(),
        "labels": encoded.labels.tolist(),
        "roles": [Role(role).name.lower() for role in encoded.layout.role],
        "tokens": codec.tokenizer.convert_ids_to_tokens(encoded.ids.tolist()),
        "control": sorted(control),
    }


def render(encoded: Encoded, codec: Codec, colored: bool = True, control: Collection[int] = ()) -> Group:
    """The tokens in the colors of their roles, the learned ones bold and underlined; one chip an image; a legend.

    Control tokens that somebody wrote into a text, at the positions `control`, are reversed. Without colors, the role
    stands before the tokens that share it, with a `+` where they are learned, and a `!` where they are such tokens. Of
    a very long sample the first tokens are shown.
    """
    text = Text()
    for piece in _colored(pieces(encoded, codec, control), colored):
        text.append(_BORDER if text else "", "bright_black").append(piece)
    count, learned = len(encoded.ids), int((encoded.labels != IGNORED).sum())
    rest = [Text(f"... the first {_LONGEST:,} of {count:,} tokens; --json has them all")] if count > _LONGEST else []
    written = f", {len(control)} control tokens in its texts" if control else ""
    counts = f"{count} tokens, {learned} learned, {encoded.layout.image_count} images{written}"
    return Group(text, *rest, Text(), _legend(encoded, bool(control)), Text(counts))


def pieces(encoded: Encoded, codec: Codec, control: Collection[int] = ()) -> Iterator[Piece]:
    """The tokens one by one, but those together that are bytes of one character, or patches of one image.

    Of a very long sample the first.
    """
    before: list[int] = []
    positions, marked = range(min(len(encoded.ids), _LONGEST)), frozenset(control)
    for (role, image, learned, written), run in groupby(positions, key=lambda at: (*_kind(encoded, at), at in marked)):
        if role == Role.IMAGE:
            rows, columns = encoded.layout.grid(image)
            yield Piece(f"[image {image}: {rows}x{columns} patches]", role, learned, written)
            continue
        for ids in _whole_characters([int(encoded.ids[at]) for at in run], codec):
            yield Piece(visible(_decoded(before, ids, codec)), role, learned, written)
            before = ids


def visible(text: str) -> str:
    """Return `text` with a sign at its line breaks; control characters are escaped."""
    return printable(text).replace("\n", "↵\n")


def _colored(pieces: Iterable[Piece], colored: bool) -> Iterator[Text]:
    before = None
    for piece in pieces:
        kind = (piece.role, piece.learned, piece.control)
        if not colored and (kind != before or piece.role == Role.IMAGE):
            yield Text(f"<{piece.role.name.lower()}{'+' if piece.learned else ''}{'!' if piece.control else ''}>")
        style = f"{_COLORS[piece.role]} {_LEARNED if piece.learned else ''} {_CONTROL if piece.control else ''}"
        yield Text(piece.text, style.strip())
        before = kind


def _kind(encoded: Encoded, at: int) -> tuple[Role, int, bool]:
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


def _legend(encoded: Encoded, control: bool) -> Text:
    legend = Text()
    for role in map(Role, np.unique(encoded.layout.role)):
        legend.append(role.name.lower(), _COLORS[role]).append("  ")
    legend.append("learned", _LEARNED)
    return legend.append("  ").append("control token", _CONTROL) if control else legend
