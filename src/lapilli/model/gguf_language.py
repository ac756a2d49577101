"""A language model in a GGUF file, its weights unpacked: transformers reads it, and what it would leave out is refused.

Such a file holds a model as llama.cpp runs it, most often quantised. transformers passes over tensors and settings that
it does not know, without a word: a model would come of it that answers otherwise. Here every tensor must have become a
part of the model, and every setting that is left out must be one that changes nothing.
"""

from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lapilli.core.errors import LapilliError
from lapilli.core.terminal import one_line
from lapilli.model.gguf_header import Header, read_header
from lapilli.model.gguf_tokenizer import read_gguf_tokenizer
from lapilli.model.parts import Language, listed
from lapilli.model.reading import LOCAL, explained, quiet
from lapilli.model.stored import is_finite
from lapilli.model.upstream import gguf_architectures, gguf_tensors, rotary_frequencies

_NEUTRAL = (None, 0, "none", "")  # values of a setting by which nothing changes
_WIDTHS = {"attention.key_length", "attention.value_length"}  # what a head's width implies
_INCIDENTAL = {"tensor_data_layout", "rope.scaling.finetuned", "rope.scaling.original_context_length"}
_FACTORS = "rope_freqs.weight"  # by which the frequencies of the positions are divided
_LLAMA_3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
_KINDS: dict[str, type | tuple[type, ...]] = {
    "split.count": int,
    "tokenizer.ggml.model": str,
    "tokenizer.ggml.pre": str,
    "tokenizer.chat_template": str,
    **dict.fromkeys((f"tokenizer.ggml.add_{name}" for name in ("bos_token", "eos_token", "space_prefix")), bool),
    **dict.fromkeys((f"tokenizer.ggml.{name}_token_id" for name in ("bos", "eos", "unknown", "padding")), int),
}
"""What settings hold that are read, by us or by transformers; those of the network are numbers, or a number a layer."""

_NAMES = {int: "a whole number", str: "a text", bool: "true or false", (int, float, list): "a number"}
_ORIGINAL = "give the folder of the model that the file was made from"


def read_gguf(path: Path) -> Language:
    """The causal language model in a GGUF file, in float32, with its tokenizer, and notes of where it came from.

    Raises LapilliError for a file that is torn or one of several, for an architecture that transformers does not read,
    and for tensors, settings and rules of its tokenizer that it leaves out.
    """
    header = read_header(path)
    settings: dict[str, Any] = {"gguf_file": str(path.resolve()), **LOCAL}
    with TemporaryDirectory() as empty, explained(path), quiet():  # beside the file other models' files may lie
        _require_kinds(path, header)
        _require_known(path, header)
        config = AutoConfig.from_pretrained(empty, **settings)
        _require_settings(path, header, config)
        _scale_positions(path, header, config)
        _require_tensors(path, header, config)
        tokenizer = read_gguf_tokenizer(path, header, empty)
        with redirect_stderr(StringIO()):  # a bar that `quiet` does not reach
            loader: Any = AutoModelForCausalLM
            model, report = loader.from_pretrained(
                empty, config=config, dtype=torch.float32, output_loading_info=True, **settings
            )
    if missing := report["missing_keys"]:
        raise LapilliError(f"{path}: {listed(missing)} not in the file; {_ORIGINAL}")
    if broken := [name for name, weight in model.named_parameters() if not is_finite(weight)]:
        raise LapilliError(f"{path}: {listed(broken)} not finite (NaN or infinite); fetch it again")
    model.hf_quantizer = None  # it is unpacked: whoever saves it saves plain weights
    del model.config.quantization_config
    return Language(model.eval(), tokenizer, _notes(header))


def _require_kinds(path: Path, header: Header) -> None:
    """Refuse settings that hold something else than they should, before anybody computes with them."""
    heeded = gguf_architectures().get(header.architecture, ())
    kinds = _KINDS | dict.fromkeys((f"{header.architecture}.{name}" for name in heeded), (int, float, list))
    for key, kind in kinds.items():
        value = header.settings.get(key)
        if value is not None and not isinstance(value, kind):
            raise LapilliError(f"{path}: {key} is {one_line(repr(value))}, {_NAMES[kind]} expected; fetch it again")


def _require_known(path: Path, header: Header) -> None:
    """Refuse what transformers has no reader for, before it is asked."""
    if (parts := header.settings.get("split.count", 0)) > 1:
        remedy = "join them with llama.cpp's `llama-gguf-split --merge`"
        raise LapilliError(f"{path}: one of {parts} files of a model; {remedy}")
    known = gguf_architectures()
    if header.architecture not in known:
        raise LapilliError(
            f"{path}: its architecture, {one_line(header.architecture)}, is none that transformers reads from GGUF "
            f"({', '.join(sorted(known))}); {_ORIGINAL}"
        )
    layers, tensors = header.settings.get(f"{header.architecture}.block_count"), len(header.tensors)
    if not isinstance(layers, int) or layers > tensors:
        raise LapilliError(f"{path}: {layers} layers, but {tensors} tensors; fetch it again")


def _require_settings(path: Path, header: Header, config: Any) -> None:
    """Refuse a setting of the network that transformers does not heed, such as a scaling of its positions."""
    heeded = gguf_architectures()[header.architecture]
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    for key, value in header.settings.items():
        architecture, _, name = key.partition(".")
        if architecture != header.architecture or name in heeded or name in _INCIDENTAL:
            continue
        if value not in _NEUTRAL and not (name in _WIDTHS and value == width):
            raise LapilliError(
                f"{path}: {one_line(key)} is {one_line(repr(value))}, which transformers does not read; {_ORIGINAL}"
            )


def _scale_positions(path: Path, header: Header, config: Any) -> None:
    """Put into the configuration the scaling of positions that Llama 3.1 and later have, and their files as a tensor.

    Raises LapilliError for another scaling than theirs, which differ in the largest factor alone.
    """
    if (stored := header.tensors.get(_FACTORS)) is None:
        return
    factors = np.fromfile(path, "<f4", stored.elements, offset=header.start + stored.offset)
    plain = {"rope_type": "default", "rope_theta": config.rope_parameters["rope_theta"]}
    width = config.head_dim
    unscaled = plain["rope_theta"] ** (-np.arange(0, width, 2) / width)
    config.rope_parameters = plain | _LLAMA_3 | {"rope_type": "llama3", "factor": float(factors.max())}
    scaled = rotary_frequencies(config).numpy()
    if stored.kind or scaled.shape != factors.shape or not np.allclose(unscaled / scaled, factors, rtol=1e-4):
        raise LapilliError(f"{path}: {_FACTORS} scales positions otherwise than Llama 3.1 does; {_ORIGINAL}")


def _require_tensors(path: Path, header: Header, config: Any) -> None:
    """Refuse tensors that would become no part of the model, before memory is taken for it."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    described = sum(parameter.numel() for parameter in model.parameters())
    stored = sum(tensor.elements for name, tensor in header.tensors.items() if name != _FACTORS)
    if described != stored:
        unread = header.tensors.keys() - gguf_tensors(model) - {_FACTORS}
        names = f", among them {listed(unread)}" if unread else ""
        counts = f"{stored:,} numbers in its tensors{names}, but {described:,} in a {type(model).__name__}"
        raise LapilliError(f"{path}: {counts}; {_ORIGINAL}")


def _notes(header: Header) -> tuple[str, ...]:
    """What the card is to say: that the weights were unpacked, and what the file says of its origin."""
    names = ("name", "organization", "author", "license")
    origin = {name: header.settings.get(f"general.{name}") for name in names}
    stated = ", ".join(f"{name} {one_line(str(value))}" for name, value in origin.items() if value)
    return (
        f"language model: unpacked from GGUF ({header.formats}) into float32; the file states {stated or 'nothing'}",
    )
