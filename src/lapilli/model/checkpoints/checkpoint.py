"""A LLaVA on the disk, in no layout: its tensors by one set of names, and what goes with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lapilli.core.errors import LapilliError
from lapilli.core.prompt.template import TEMPLATES
from lapilli.core.prompt.tokenizer_template import OWN
from lapilli.model import architecture
from lapilli.model.card import Card
from lapilli.model.checkpoints.layouts import PROJECTOR_PART, VISION_PARTS, layouts, recognised
from lapilli.model.connector import Connector, named
from lapilli.model.hub import model_folder
from lapilli.model.parts import listed
from lapilli.model.reading import explained, quiet
from lapilli.model.stored import Source, in_memory, json_object, stored_tensors

HEAD = "language_model.lm_head.weight"
TABLE = "language_model.model.embed_tokens.weight"
"""The two matrices with a row for every token, by their names in `hf`."""

ENCODER = "model.vision_tower.vision_tower."
"""What comes before the names of an encoder of its own in an original LLaVA."""

_RECOMPUTED = (".rotary_emb.inv_freq", ".embeddings.position_ids")  # old programs stored them; they follow from configs


@dataclass(frozen=True)
class Choices:
    """What a folder may leave open: the chat template's name, the encoder's folder, and whether pictures are padded."""

    template: str | None = None
    vision: Path | None = None
    pad: bool | None = None

    def resolved(self) -> Choices:
        """The same, with the encoder's folder as `model_folder` has it."""
        return replace(self, vision=self.vision and model_folder(self.vision))


@dataclass(frozen=True)
class Checkpoint:
    """A LLaVA on the disk, and where its tokenizer's files are.

    `tensors` go by their names in layout `hf`; `layout` is the one they were read from.
    """

    path: Path
    tokenizer_path: Path
    layout: str
    config: Any
    tensors: Mapping[str, Source]
    processor: Any
    generation: Any
    card: Card


def in_hf_names(path: Path, tensors: Mapping[str, Source], connector: str) -> tuple[str, dict[str, Source]]:
    """The layout of the tensors, and the tensors by their names in `hf`.

    Raises LapilliError with the names that no layout has a place for.
    """
    kept = {name: source for name, source in tensors.items() if not name.endswith(_RECOMPUTED)}
    try:
        layout = recognised(kept, connector)
    except LapilliError as error:
        raise LapilliError(f"{path}: {error}") from error
    of_hf = {layout.to_hf(name): source for name, source in kept.items()}
    if layout.name == "original" and named(connector).identity:
        of_hf |= _identity(of_hf, named(connector))
    return layout.name, of_hf


def vision_tensors(path: Path, stored: Callable[[Path], dict[str, Source]] = stored_tensors) -> dict[str, Source]:
    """The tensors of the vision encoder in a folder by the names of CLIPVisionModel's files; no text encoder's."""
    tensors = {}
    for name, source in stored(path).items():
        inner = name.removeprefix("vision_model.")
        if not name.endswith(_RECOMPUTED) and inner.startswith(VISION_PARTS):
            tensors["vision_model." + inner] = source
    return tensors


def stored_template(path: Path) -> str | None:
    """The name of the chat template in a folder: one of ours where the text is the same, else `own`; or None."""
    file = path / "chat_template.jinja"
    if file.is_file():
        text = _text(file)
    else:
        files = [path / "chat_template.json", path / "tokenizer_config.json"]
        templates = (json_object(one).get("chat_template") for one in files if one.is_file())
        text = next((one for one in templates if one), "")
    return next((name for name, template in TEMPLATES.items() if template.jinja() == text), OWN if text else None)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LapilliError(f"{file}: no text in UTF-8: {error}; fetch the file again") from error


def tokens_before(vision: Any) -> int:
    """CLIP puts a class token before the patches; SigLIP does not."""
    return 1 if vision.model_type == "clip_vision_model" else 0


def require_fitting(checkpoint: Checkpoint) -> None:
    """Compare names and shapes with those of the model that the configuration makes, built without memory."""
    expected = _expected(checkpoint.path, checkpoint.config, checkpoint.card.connector)
    tied = {HEAD} if checkpoint.config.tie_word_embeddings else set()
    have = checkpoint.tensors
    faults = {
        "missing": [name for name in expected if name not in have and name not in tied],
        "superfluous": [name for name in have if name not in expected],
        "of another shape": [name for name, shape in expected.items() if name in have and have[name].shape != shape],
    }
    complaints = [f"{listed(names)} {what}" for what, names in faults.items() if names]
    if complaints:
        raise LapilliError(
            f"{checkpoint.path}: the weights do not fit config.json: {'; '.join(complaints)}; fetch it again"
        )


def _expected(path: Path, config: Any, connector: str) -> dict[str, tuple[int, ...]]:
    _, model_class = architecture.classes(connector)
    with explained(path), quiet(), torch.device("meta"):
        state = model_class(config).state_dict()
    memory = layouts(connector)["memory"]
    try:
        return {memory.to_hf(name): tuple(tensor.shape) for name, tensor in state.items()}
    except KeyError as error:
        kind, known = config.text_config.model_type, "only one of tensors named as LLaMA's can be converted"
        raise LapilliError(f"{path}: its language model, {kind}, has {error}; {known}") from error


def _identity(tensors: Mapping[str, Source], connector: Connector) -> dict[str, Source]:
    """The layer that is the identity, such as transformers' projector has after a linear connector."""
    last = tensors.get(f"{PROJECTOR_PART}{list(connector.layers)[-1]}weight")
    if last is None:  # will be listed with what else is missing
        return {}
    width, dtype, name = last.shape[0], getattr(torch, last.dtype), PROJECTOR_PART + connector.identity
    return {
        f"{name}weight": in_memory(torch.eye(width, dtype=dtype)),
        f"{name}bias": in_memory(torch.zeros(width, dtype=dtype)),
    }
