"""Whether every token of a tokenizer, and every special one that a configuration names, has a row in the embedding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lapilli.core.errors import LapilliError
from lapilli.model.stored import json_object

_SHOWN = 4
_SPECIAL = ("pad_token_id", "bos_token_id", "eos_token_id")


def rows_needed(tokenizer: Any) -> int:
    """How many rows an embedding must have for this tokenizer, whose ids may have gaps."""
    return max(tokenizer.get_vocab().values(), default=-1) + 1


def added_without_rows(path: Path, tokenizer: Any, rows: int) -> list[str]:
    """The tokens that somebody added to the tokenizer in a folder, and not to the embedding of so many rows.

    Raises LapilliError where tokens that were not added have no row either: such a tokenizer is another model's.
    """
    missing = _without(tokenizer.get_vocab(), rows)
    if len(missing) > sum(index >= rows for index in tokenizer.added_tokens_decoder):
        raise LapilliError(f"{path}: {_too_large(missing, rows)}; copy the tokenizer from where the model came from")
    return missing


def require_rows(path: Path, tokenizer: Any, rows: int) -> None:
    """Raise LapilliError where the tokenizer of a LLaVA makes ids that an embedding of so many rows has none for."""
    missing = _without(tokenizer.get_vocab(), rows)
    if missing:
        remedy = "fetch the tokenizer's files again, or build the model anew, which gives added tokens rows"
        raise LapilliError(f"{path}: {_too_large(missing, rows)}; {remedy}")


def stored_excess(path: Path, rows: int) -> str | None:
    """What `require_rows` would say, of the folder's tokenizer.json alone; None where it has nothing to say."""
    file = path / "tokenizer.json"
    missing = _without(dict(_vocabulary(json_object(file))), rows) if file.is_file() else []
    return _too_large(missing, rows) if missing else None


def require_ids(path: Path, config: Any, rows: int) -> None:
    """Raise LapilliError where a configuration names a special token that an embedding of so many rows has none for."""
    for field in _SPECIAL:
        ids = getattr(config, field, None)
        for index in ids if isinstance(ids, list | tuple) else [ids]:
            if isinstance(index, int) and not -rows <= index < rows:  # -1 is an old way to say none
                raise LapilliError(f"{path}: its {field} is {index}, but the embedding has {rows} rows; mend that")


def _without(vocabulary: Mapping[str, int], rows: int) -> list[str]:
    """The tokens beyond the rows, in the order of their ids."""
    beyond = sorted((index, token) for token, index in vocabulary.items() if index >= rows)
    return [f"{token} ({index})" for index, token in beyond]


def _too_large(missing: list[str], rows: int) -> str:
    shown = ", ".join(missing[:_SHOWN]) + (f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else "")
    return f"its tokenizer is larger than its embedding: of {rows} rows, none is for {shown}"


def _vocabulary(content: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Tokens and ids in a tokenizer.json: its model has a table, or pieces with scores; others were added."""
    model, added = content.get("model"), content.get("added_tokens")
    words = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(words, dict):
        yield from ((token, index) for token, index in words.items() if isinstance(index, int))
    elif isinstance(words, list):
        yield from ((str(piece[0]), index) for index, piece in enumerate(words) if isinstance(piece, list) and piece)
    for token in added if isinstance(added, list) else []:
        if isinstance(token, dict) and isinstance(token.get("id"), int):
            yield str(token.get("content")), token["id"]
