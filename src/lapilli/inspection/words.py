"""Tokens as people read them: what each one adds to a text, and which make up one word."""

from collections.abc import Sequence
from typing import Any


def pieces_of(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text that they spell together; special tokens by their names.

    A token that ends in the middle of a character adds nothing, and the one that completes it the whole character.
    """
    texts, before = [], ""
    for end in range(1, len(ids) + 1):
        text = tokenizer.decode(list(ids[:end]), clean_up_tokenization_spaces=False)
        whole = text if not text.endswith("\ufffd") or end == len(ids) else before
        texts.append(whole[len(before) :])
        before = whole
    return texts


def words_of(pieces: Sequence[str]) -> list[tuple[int, int]]:
    """The words of a text: from which piece to before which, together all of them, in order.

    A word begins with a space, after one, or where letters follow punctuation or the other way round.
    """
    starts = [at for at in range(len(pieces)) if at == 0 or _begins(pieces[at - 1], pieces[at])]
    return list(zip(starts, [*starts[1:], len(pieces)], strict=True)) if pieces else []


def _begins(before: str, piece: str) -> bool:
    if not piece or not before:
        return False
    if piece[0].isspace() or before[-1].isspace():
        return True
    return before[-1].isalnum() != piece[0].isalnum() and "'" not in (before[-1], piece[0])
