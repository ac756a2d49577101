"""Tokens one by one, as a reader should see them."""

import re
from collections.abc import Iterable
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

_BYTES = {character: byte for byte, character in bytes_to_unicode().items()}  # how byte-level BPE writes bytes
_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


def words(tokenizer: Any, ids: Iterable[int]) -> list[str]:
    """What each token is by itself, its leading space included; for sentencepiece's and byte-level BPE tokenizers.

    Bytes that are no UTF-8, as pieces of a character are, read as \\xe4. Special tokens read as they are written, and
    an id beyond the tokenizer's, of which padded vocabularies have some, as <id>.
    """
    as_written = {index: token.content for index, token in tokenizer.added_tokens_decoder.items()}
    spelled = _byte_level if _is_byte_level(tokenizer) else _piece
    found = []
    for index in map(int, ids):
        token = tokenizer.convert_ids_to_tokens(index)
        found.append(as_written.get(index, f"<{index}>") if index in as_written or token is None else spelled(token))
    return found


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
