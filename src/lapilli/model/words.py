"""Tokens as a reader should see them: one by one, in a text, and as words."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

_BYTES = {character: byte for byte, character in bytes_to_unicode().items()}  # how byte-level BPE writes bytes
_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


def texts_of(tokenizer: Any, ids: Iterable[int]) -> list[str]:
    """What each token is by itself, its leading space included; for sentencepiece's and byte-level BPE tokenizers.

    Bytes that are no UTF-8, as pieces of a character are, read as \\xe4. Special tokens read as they are written, and
    an id beyond the tokenizer's, of which padded vocabularies have some, as <id>.
    """
    as_written = {index: token.content for index, token in tokenizer.added_tokens_decoder.items()}
    spelled = _byte_level if _is_byte_level(tokenizer) else _piece
    texts = []
    for index in map(int, ids):
        token = tokenizer.convert_ids_to_tokens(index)
        texts.append(as_written.get(index, f"<{index}>") if index in as_written or token is None else spelled(token))
    return texts


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


def _is_byte_level(tokenizer: Any) -> bool:
    decoder = tokenizer.backend_tokenizer.decoder
    return decoder is not None and decoder.decode(["aĠa"]) == "a a"


def _byte_level(token: str) -> str:
    return _text(bytes(_BYTES[character] for character in token))


def _piece(token: str) -> str:
    if byte := _BYTE_PIECE.fullmatch(token):
        return _text(bytes.fromhex(byte[1]))
    return token.replace("▁", " ")


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="backslashreplace")


def _begins(before: str, piece: str) -> bool:
    if not piece or not before:
        return False
    if piece[0].isspace() or before[-1].isspace():
        return True
    return before[-1].isalnum() != piece[0].isalnum() and "'" not in (before[-1], piece[0])
