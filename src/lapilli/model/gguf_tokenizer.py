"""The tokenizer of a GGUF file, as the model was trained with it.

transformers makes one of the vocabulary and the merges in the file. How text is cut before they apply the file says by
a name alone (`tokenizer.ggml.pre`), and by flags. transformers knows some of the names, and cuts all other text as
GPT-2 does: SmolLM2's digits, for one, stuck to the spaces before them. What it leaves out is added here, of the names
that are known; the others are refused, because a wrong rule shows in no error, only in worse answers.

The flags of tokens are transformers' choice: that a token swallows the spaces beside it, no GGUF file says.
"""

from pathlib import Path
from typing import Any

from tokenizers import decoders, normalizers, pre_tokenizers
from transformers import AutoTokenizer

from lapilli.core.errors import LapilliError
from lapilli.core.terminal import one_line
from lapilli.model.gguf_header import Header
from lapilli.model.reading import LOCAL
from lapilli.model.tokenizer import require_bounded
from lapilli.model.upstream import gguf_pre_tokenizers

_BYTE_PAIRS, _PIECES = "gpt2", "llama"  # kinds of vocabularies: of bytes, and sentencepiece's

_AS_GPT2 = {"gpt-2", "phi-2"}
_SINGLE_DIGITS = {"smollm", "starcoder", "refact"}
_COMPOSED = {"qwen2", "qwen35"}  # text is brought into Unicode's form C first
_WHOLE_WORDS = {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "tekken"}
"""Names of rules; by the last, a word of the vocabulary is one token, even where the merges do not lead to it."""


def read_gguf_tokenizer(path: Path, header: Header, empty: str) -> Any:
    """The tokenizer in a GGUF file, mended; `empty` is a folder in which transformers finds nothing else.

    Raises LapilliError for text that is cut by a rule that is not known, and for rules that take too long.
    """
    kind, rule = (header.settings.get(f"tokenizer.ggml.{name}") for name in ("model", "pre"))
    known = {*_AS_GPT2, *_SINGLE_DIGITS, *gguf_pre_tokenizers()}
    if kind == _BYTE_PAIRS and rule not in known:
        cut = f"cuts text by the rule {one_line(repr(rule))}" if rule else "does not say by which rule it cuts text"
        remedy = "give the folder of the model that the file was made from"
        raise LapilliError(f"{path}: its tokenizer {cut}, and any other than its own makes other tokens; {remedy}")
    tokenizer = AutoTokenizer.from_pretrained(empty, gguf_file=str(path.resolve()), **LOCAL)
    if kind == _BYTE_PAIRS:
        _mend_byte_pairs(tokenizer, str(rule), header)
    elif kind == _PIECES and header.settings.get("tokenizer.ggml.add_space_prefix") is False:
        _forbid_prefix(tokenizer)
    require_bounded(path, tokenizer)
    return tokenizer


def _mend_byte_pairs(tokenizer: Any, rule: str, header: Header) -> None:
    backend = tokenizer.backend_tokenizer
    if rule in _SINGLE_DIGITS:
        rest = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), rest])
    if rule in _COMPOSED:
        backend.normalizer = normalizers.NFC()
    if rule in _WHOLE_WORDS:
        backend.model.ignore_merges = True
        if "tokenizer.ggml.add_bos_token" not in header.settings:  # older files leave to the rule what it implies
            tokenizer.add_bos_token = tokenizer.bos_token is not None


def _forbid_prefix(tokenizer: Any) -> None:
    """Put no space before a text, where transformers does as for Llama, and takes the first one away in decoding."""
    backend = tokenizer.backend_tokenizer
    if isinstance(backend.pre_tokenizer, pre_tokenizers.Metaspace):
        backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never", split=False)
        spaces = decoders.Replace("▁", " ")
        backend.decoder = decoders.Sequence([spaces, decoders.ByteFallback(), decoders.Fuse()])
