"""Tokenizers in folders, as they were trained; no weights are touched.

transformers 5 makes a fast tokenizer of a sentencepiece file, but merges its pieces in the order of their numbers, and
not of their scores. In Llama's vocabulary the two differ for runs of spaces: "a  b" became "▁a", "▁▁", "b" instead of
the "▁a", "▁", "▁b" that Llama, Vicuna and LLaVA were trained with. Here the scores decide, as in sentencepiece.
"""

import json
import string
from math import isqrt
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor
from tokenizers import models
from transformers import AutoTokenizer, LlamaTokenizer, TokenizersBackend

from lapilli.core.errors import LapilliError
from lapilli.core.prompt.codec import Codec, chat_template
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.core.trial import trial
from lapilli.model.hub import model_folder
from lapilli.model.reading import LOCAL, explained, quiet
from lapilli.model.stored import json_object
from lapilli.model.upstream import require_spacing

_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")  # a folder with a tokenizer has one of these
PIECES = "tokenizer.model"
_RUNS = [40 * char for char in f"{string.printable}é中🪨"]
_PAGE = " ".join(string.printable) + "\n".join(_RUNS) + "\x7f".join(_RUNS)
"""What a rule might multiply, or look for again and again: every character alone, and in runs that end in two ways."""


def read_tokenizer(path: Path, config: Any = None) -> Any:
    """The fast tokenizer in a folder: the kind that gives character offsets, of which labels are made.

    `config` is the language model's, where transformers does not know what the folder's config.json is of.
    Raises LapilliError where there is none, where its files cannot be read, for one that gives no offsets, for pieces
    alone of which transformers makes a tokenizer that is no model's (other releases make other ones), and for rules
    that take too much time or memory.
    """
    if not any((path / name).is_file() for name in _FILES):
        raise LapilliError(f"{path}: no {' or '.join(_FILES)}; copy it from where the model came from")
    only_pieces = (path / PIECES).is_file() and not (path / "tokenizer.json").is_file()
    with explained(path), quiet():
        tokenizer = (
            _llama(path)
            if only_pieces and _says_no_other(path)
            else AutoTokenizer.from_pretrained(path, config=config, **LOCAL)
        )
    if not tokenizer.is_fast:
        raise LapilliError(f"{path}: its tokenizer gives no character offsets; save it with a tokenizer.json")
    if only_pieces and type(tokenizer) is TokenizersBackend:
        raise LapilliError(
            f"{path}: a {PIECES} alone, and nothing says which model's tokenizer it is; copy tokenizer.json from where "
            "the model came from"
        )
    if only_pieces and isinstance(tokenizer, LlamaTokenizer):
        _merge_by_score(tokenizer, path / PIECES)
        require_spacing(tokenizer)
    require_bounded(path, tokenizer)
    return tokenizer


def require_bounded(path: Path, tokenizer: Any) -> None:
    """Raise LapilliError for a tokenizer whose rules take too much time or memory for a page of text: see `trial`."""

    def there_and_back() -> None:
        tokenizer.decode(tokenizer(_PAGE, verbose=False)["input_ids"])

    if wrong := trial(there_and_back):
        raise LapilliError(f"{path}: its tokenizer {wrong}: a rule of tokenizer.json; fetch the tokenizer again")


def codec_of_tokenizer(path: Path, template: str, image_tokens: int) -> Codec:
    """The codec of a tokenizer, in a folder or on the hub, without a model: it counts images, but cannot prepare them.

    `<image>` becomes a special token where it is none, in memory. An image is a square of `image_tokens` patches where
    that is a square number, and one row of them elsewhere. Raises LapilliError as `read_tokenizer` and `chat_template`.
    """
    tokenizer = read_tokenizer(model_folder(path, weights="none"))
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_MARK]}, replace_extra_special_tokens=False)
    chat_template(template, tokenizer)
    side = isqrt(image_tokens)
    grid = (side, side) if side * side == image_tokens else (1, image_tokens)
    image_id = tokenizer.convert_tokens_to_ids(IMAGE_MARK)
    return Codec(tokenizer, template, IMAGE_MARK, image_id, grid, image_processor=None)


def is_pieces(file: Path) -> bool:
    """Whether the file is there, and is what sentencepiece writes."""
    try:
        return file.is_file() and bool(SentencePieceProcessor(model_file=str(file)).get_piece_size())
    except (OSError, RuntimeError):
        return False


def _says_no_other(path: Path) -> bool:
    """Whether nothing beside a file of pieces says that it is another model's than Llama's."""
    if (path / "tokenizer_config.json").is_file():
        return False
    config = path / "config.json"
    return not config.is_file() or json_object(config).get("model_type") == "llama"


def _llama(path: Path) -> Any:
    """Llama 2's tokenizer, of its file of pieces alone: such a file does not say whose it is, nor that <s> begins."""
    return LlamaTokenizer.from_pretrained(path, local_files_only=True, add_bos_token=True, legacy=False)


def _merge_by_score(tokenizer: LlamaTokenizer, file: Path) -> None:
    """Put the merges in sentencepiece's order: by score, and of equal ones, runs of spaces, the longer left piece."""
    pieces = SentencePieceProcessor(model_file=str(file))
    score = {pieces.id_to_piece(index): pieces.get_score(index) for index in range(pieces.get_piece_size())}
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    pairs = [(left, right) for left, right in model["merges"] if left + right in score]
    pairs.sort(key=lambda pair: (score["".join(pair)], len(pair[0]), len(pair[1])), reverse=True)
    tokenizer.backend_tokenizer.model = models.BPE(model["vocab"], pairs, fuse_unk=True, byte_fallback=True)
