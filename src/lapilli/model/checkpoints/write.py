"""A Checkpoint written in any layout, whole or not at all, one file of weights in memory at a time.

| target      | what it is for                                                                                   |
|-------------|--------------------------------------------------------------------------------------------------|
| `hf`        | transformers of any version, vLLM, lapilli: llava-hf's layout                                     |
| `original`  | LLaVA's own code, SGLang                                                                          |
| `split`     | llama.cpp's converters: language/, vision/ and llava.projector; the rest is as in `hf`            |
| `projector` | stage 2 of LLaVA's own code: mm_projector.bin                                                     |

Besides, every layout of `layouts` that transformers has had.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING, LlamaTokenizer, PreTrainedTokenizerFast

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.files import new_folder
from lapilli.core.plain import json_text
from lapilli.model import architecture
from lapilli.model.card import write_card
from lapilli.model.checkpoints.checkpoint import ENCODER, HEAD, TABLE, Checkpoint
from lapilli.model.checkpoints.layouts import PROJECTOR_PART, layouts
from lapilli.model.checkpoints.older import later_settings, older_tokenizer
from lapilli.model.checkpoints.original import VISION_FOLDER, Joined, original_config, restored, with_old_names
from lapilli.model.checkpoints.read import PROJECTOR
from lapilli.model.checkpoints.shards import SHARD_SIZE, write_tensors
from lapilli.model.choices import require_target
from lapilli.model.connector import named
from lapilli.model.encoders import released_name
from lapilli.model.padding import kind_of_processor
from lapilli.model.reading import quiet
from lapilli.model.stored import Source, json_object
from lapilli.model.tokenizer import PIECES, is_pieces

_NO_HUB = "connector {}: only lapilli has a class for it, and transformers' older layouts no names; use {}"
_NO_ORIGINAL = "connector {}: LLaVA's own code has none of that kind, and layout {} takes its names; use hf"
_ONE_LAYER = "layout {}: has no place for several layers of the encoder, vision_feature_layer {}; use hf"


@dataclass(frozen=True)
class Writing:
    """How it is written: bytes of a file of weights at most, and who is told the bytes that are done.

    `note` is told what programs that the layout is for will not understand of the model.
    """

    shard_size: int = SHARD_SIZE
    progress: Callable[[int], None] | None = None
    note: Callable[[str], object] = lambda _: None


def write_checkpoint(checkpoint: Checkpoint, out: Path, target: str = "hf", writing: Writing | None = None) -> None:
    """Write the LLaVA into `out`, a new or empty folder, in one of TARGETS.

    Every tensor comes out bit for bit; only what a layout has no place for is left out, which is the identity behind a
    linear connector, and rows that a conversion from `original` added. Raises UsageError for an unknown target, and
    LapilliError for a model that it has no place for, a folder in use and a full disk.
    """
    require_target(target)
    _require_held(checkpoint, target)
    writers = {"original": _original, "split": _split, "projector": _projector}
    with new_folder(out) as folder, quiet():
        if target in writers:
            writers[target](checkpoint, folder, out, writing or Writing())
        else:
            _transformers(checkpoint, target, folder, out, writing or Writing())


def _require_held(checkpoint: Checkpoint, target: str) -> None:
    """Refuse a connector, or several layers of the encoder, that the layout has no place for."""
    kind, layer = named(checkpoint.card.connector), checkpoint.config.vision_feature_layer
    if target in ("joined", "memory") and not kind.is_plain:
        raise UsageError(_NO_HUB.format(kind.name, "hf or original" if kind.is_original else "hf"))
    if target in ("original", "split", "projector") and not kind.is_original:
        raise UsageError(_NO_ORIGINAL.format(kind.name, target))
    if target in ("original", "split", "projector") and not isinstance(layer, int):
        raise UsageError(_ONE_LAYER.format(target, layer))


def _transformers(checkpoint: Checkpoint, target: str, folder: Path, out: Path, writing: Writing) -> None:
    # A connector of lapilli's own is read by lapilli alone, where transformers has no rule for the hub's names.
    plain = named(checkpoint.card.connector).is_plain
    layout = layouts(checkpoint.card.connector)["nested" if target == "hf" and not plain else target]
    describe(checkpoint, folder)
    _weigh({layout.from_hf(name): source for name, source in checkpoint.tensors.items()}, folder, out, writing)


def describe(checkpoint: Checkpoint, folder: Path) -> None:
    """Everything of a transformers' folder but the weights."""
    _, model_class = architecture.classes(checkpoint.card.connector)
    write_config(checkpoint.config, model_class.__name__, _dtype(checkpoint.tensors), folder)
    checkpoint.generation.save_pretrained(folder)
    checkpoint.processor.save_pretrained(folder)
    checkpoint.processor.image_processor.save_pretrained(folder)
    # In that file of its own, every transformers finds it; in this one, those before 4.57 stumble over it.
    _edited(folder / "processor_config.json", lambda content: content.pop("image_processor"))
    _portable(checkpoint, folder)
    write_card(checkpoint.card, folder)


def write_config(config: Any, architecture: str, dtype: str, folder: Path) -> None:
    """Write config.json, readable for programs of before transformers 5 too."""
    config.architectures, config.dtype = [architecture], getattr(torch, dtype)
    config.save_pretrained(folder)

    def older(content: dict[str, Any]) -> None:
        if "text_config" in content:
            content["text_config"] = with_old_names(content["text_config"])
        content |= {**with_old_names(content), "torch_dtype": dtype}

    _edited(folder / "config.json", older)


def _original(checkpoint: Checkpoint, folder: Path, out: Path, writing: Writing) -> None:
    tensors = _cut(_without_identity(checkpoint), checkpoint.card.original)
    rows, own, name = tensors[TABLE].shape[0], _own_folder(checkpoint), _encoder_name(checkpoint)
    settings = _original_settings(checkpoint, name or own) | {"vocab_size": rows}
    (folder / "config.json").write_text(json_text(settings, indent=2) + "\n", encoding="utf-8")
    _describe_encoder(checkpoint, folder / (VISION_FOLDER if name else own))
    if not name:  # LLaVA's own code loads the encoder from where mm_vision_tower says, and its weights with it
        _weigh(_encoder_alone(_original_names(checkpoint)), folder / own, out, Writing(writing.shard_size))
    tokenizer = _shorter(checkpoint.processor.tokenizer, rows)
    tokenizer.save_pretrained(folder)
    _portable(checkpoint, folder)
    later = later_settings(checkpoint.config.text_config)
    _edited(folder / "tokenizer.json", lambda content: later.extend(older_tokenizer(content)))
    if later:
        writing.note(f"transformers 4.37, which LLaVA's own code asks for, does not know {', '.join(later)}")
    checkpoint.generation.save_pretrained(folder)
    if (checkpoint.generation.pad_token_id or 0) >= rows:
        _edited(folder / "generation_config.json", lambda content: content.update(pad_token_id=tokenizer.pad_token_id))
    layout = layouts(checkpoint.card.connector)["original"]
    _weigh({layout.from_hf(name): source for name, source in tensors.items()}, folder, out, writing)


def _original_settings(checkpoint: Checkpoint, encoder: str) -> dict[str, Any]:
    """The original's config.json: that which it had, where it was converted from one, but for what has changed."""
    config, pad = checkpoint.config, kind_of_processor(checkpoint.processor.image_processor) == "pad"
    joined = Joined(encoder, checkpoint.card.connector, config.vision_feature_layer, pad)
    made = original_config(config.text_config, config.vision_config.hidden_size, joined, _dtype(checkpoint.tensors))
    return restored(made, checkpoint.card.original) if checkpoint.card.original else made


def _own_folder(checkpoint: Checkpoint) -> str:
    """Where an encoder without a name on the hub lies: programs tell its kind by the words in the path."""
    return f"{checkpoint.config.vision_config.model_type.partition('_')[0]}_{VISION_FOLDER}"


def _encoder_name(checkpoint: Checkpoint) -> str | None:
    """What the encoder is called where it can be fetched: as the original said, or as a released one of its make."""
    name = (checkpoint.card.original or {}).get("mm_vision_tower") or released_name(checkpoint.config.vision_config)
    return None if name == _own_folder(checkpoint) else name


def _split(checkpoint: Checkpoint, folder: Path, out: Path, writing: Writing) -> None:
    language, vision, layer = folder / "language", folder / "vision", checkpoint.config.vision_feature_layer
    describe(checkpoint, folder)
    _describe_encoder(checkpoint, vision)
    # Left out, llama.cpp's converter takes the last layer but one.
    _edited(vision / "config.json", lambda content: content.update(mm_vision_select_layer=layer))
    text = checkpoint.config.text_config
    write_config(text, _class_name(MODEL_FOR_CAUSAL_LM_MAPPING, text), _dtype(checkpoint.tensors), language)
    checkpoint.generation.save_pretrained(language)
    checkpoint.processor.tokenizer.save_pretrained(language)
    _portable(checkpoint, language)
    by_name = _original_names(checkpoint)
    language_tensors = {
        name: source for name, source in by_name.items() if not name.startswith((ENCODER, "model.mm_projector."))
    }
    _weigh(language_tensors, language, out, writing)
    _weigh(_encoder_alone(by_name), vision, out, Writing(writing.shard_size))
    torch.save(_for_numpy(by_name), folder / PROJECTOR)


def _projector(checkpoint: Checkpoint, folder: Path, out: Path, writing: Writing) -> None:
    own = {
        name: source for name, source in _original_names(checkpoint).items() if name.startswith("model.mm_projector.")
    }
    torch.save({name: source.read().clone() for name, source in own.items()}, folder / "mm_projector.bin")


def _for_numpy(tensors: Mapping[str, Source]) -> dict[str, torch.Tensor]:
    """The projector for llama.cpp's converter, which makes numpy arrays of it: numpy has no bfloat16."""
    projector = {name: source.read() for name, source in tensors.items() if name.startswith("model.mm_projector.")}
    return {
        name: tensor.float() if tensor.dtype == torch.bfloat16 else tensor.clone() for name, tensor in projector.items()
    }


def _describe_encoder(checkpoint: Checkpoint, folder: Path) -> None:
    """The encoder's configuration, and the image processor of the LLaVA."""
    folder.mkdir()
    vision = checkpoint.config.vision_config
    write_config(vision, _class_name(MODEL_MAPPING, vision), _dtype(checkpoint.tensors), folder)
    checkpoint.processor.image_processor.save_pretrained(folder)


def _encoder_alone(tensors: Mapping[str, Source]) -> dict[str, Source]:
    """The encoder's tensors by the names of its own class."""
    return {name.removeprefix(ENCODER): source for name, source in tensors.items() if name.startswith(ENCODER)}


def _original_names(checkpoint: Checkpoint) -> dict[str, Source]:
    layout = layouts(checkpoint.card.connector)["original"]
    return {layout.from_hf(name): source for name, source in _without_identity(checkpoint).items()}


def _without_identity(checkpoint: Checkpoint) -> dict[str, Source]:
    """The tensors, less the layer behind a linear connector, if it is the identity that it must be."""
    if not (identity := named(checkpoint.card.connector).identity):
        return dict(checkpoint.tensors)
    for name in (f"{PROJECTOR_PART}{identity}{kind}" for kind in ("weight", "bias")):
        tensor = checkpoint.tensors[name].read()
        same = torch.eye(len(tensor), dtype=tensor.dtype) if tensor.ndim == 2 else torch.zeros_like(tensor)
        if not torch.equal(tensor, same):
            raise LapilliError(
                f"{checkpoint.path}: {name} does something, and a linear connector of LLaVA's has one layer"
            )
    return {
        name: source for name, source in checkpoint.tensors.items() if not name.startswith(PROJECTOR_PART + identity)
    }


def _cut(tensors: dict[str, Source], original: Mapping[str, Any] | None) -> dict[str, Source]:
    """The tensors without the rows that a conversion from `original` added for tokens it does without."""
    rows = (original or {}).get("vocab_size")
    if rows is None:
        return tensors
    return {**tensors, **{name: _shortened(tensors[name], rows) for name in (TABLE, HEAD) if name in tensors}}


def _shortened(source: Source, rows: int) -> Source:
    return Source((rows, source.shape[1]), source.dtype, lambda: source.read()[:rows])


def _shorter(tokenizer: Any, rows: int) -> Any:
    """The tokenizer without the tokens that have no row; what pads is then the unknown token, as in LLaVA."""
    if len(tokenizer) <= rows:
        return tokenizer
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["id"] < rows]
    kept = {name: getattr(tokenizer, name) for name in ("bos_token", "eos_token", "unk_token", "model_max_length")}
    pads = tokenizer.pad_token if tokenizer.pad_token_id < rows else tokenizer.unk_token
    shorter = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), pad_token=pads, **kept)
    shorter.chat_template, shorter.padding_side = tokenizer.chat_template, tokenizer.padding_side
    return shorter


def _portable(checkpoint: Checkpoint, folder: Path) -> None:
    """Make the tokenizer's files readable for programs of before transformers 5, and for those that want its pieces."""
    pieces, theirs = checkpoint.tokenizer_path / PIECES, checkpoint.tokenizer_path / "tokenizer_config.json"
    if is_pieces(pieces):
        shutil.copyfile(pieces, folder / PIECES)
    stored = json_object(theirs) if theirs.is_file() else {}
    tokenizer = checkpoint.processor.tokenizer
    settings = {**_llama(tokenizer, stored), "padding_side": tokenizer.padding_side}
    _edited(folder / "tokenizer_config.json", lambda content: _make_portable(content, settings))


def _llama(tokenizer: Any, stored: Mapping[str, Any]) -> dict[str, Any]:
    """What Llama's tokenizers are told, and LLaVA's trainer asks for; transformers 5 does not write it."""
    if not isinstance(tokenizer, LlamaTokenizer) and stored.get("tokenizer_class") != "LlamaTokenizer":
        return {}
    fields = ("legacy", "add_bos_token", "add_eos_token")
    return {"tokenizer_class": "LlamaTokenizer", **{name: stored[name] for name in fields if name in stored}}


def _make_portable(content: dict[str, Any], settings: Mapping[str, Any]) -> None:
    content |= settings
    if content.get("tokenizer_class") == "TokenizersBackend":
        content["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(content.get("extra_special_tokens"), list):
        content["additional_special_tokens"] = content.pop("extra_special_tokens")
    content.setdefault("model_input_names", ["input_ids", "attention_mask"])  # not token types: no LLaVA takes them
    for name in ("is_local", "local_files_only", "trust_remote_code", "backend"):  # says how it was read here
        content.pop(name, None)


def _edited(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json_text(content, indent=2) + "\n", encoding="utf-8")


def _weigh(tensors: Mapping[str, Source], folder: Path, out: Path, writing: Writing) -> None:
    write_tensors(tensors, folder, out, writing.shard_size, writing.progress)


def _class_name(mapping: Any, config: Any) -> str:
    """The name of transformers' class for a part."""
    return str(mapping[type(config)].__name__)


def _dtype(tensors: Mapping[str, Source]) -> str:
    """The format of most parameters."""
    counts = Counter[str]()
    for source in tensors.values():
        counts[source.dtype] += source.size
    return counts.most_common(1)[0][0]
