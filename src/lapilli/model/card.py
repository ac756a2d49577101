"""What a model's folder says about itself: lapilli.json for programs, README.md for people."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lapilli
from lapilli.core.errors import LapilliError
from lapilli.core.prompt.image_position import ImagePosition
from lapilli.core.read import MissingFileError, checked, read_json
from lapilli.model.connector import named
from lapilli.model.parts import Origin

CARD = "lapilli.json"
BASE = "base"  # the part of an adapter's card that is the LLaVA it was trained on
_FORMAT = 1


@dataclass(frozen=True)
class Card:
    """How a model was made.

    `parts` says where the vision encoder and the language model came from, `notes` what was done to them since.
    `original` is the configuration of the original LLaVA that it was converted from: with it, it can become one again.
    `image_position` says where it was trained to find the pictures of a question.
    """

    template: str
    connector: str
    parts: dict[str, Origin]
    notes: tuple[str, ...] = ()
    original: Mapping[str, Any] | None = None
    image_position: ImagePosition = "as_written"


def write_card(card: Card, folder: Path) -> None:
    """Write both files into an existing folder."""
    content = {"format": _FORMAT, "lapilli": lapilli.__version__, **asdict(card)}
    if card.original is None:
        del content["original"]
    if card.image_position == "as_written":
        del content["image_position"]
    (folder / CARD).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_readme(card), encoding="utf-8")


def read_card(folder: Path) -> Card:
    """The card in a folder. Raises LapilliError when there is none that this version can read."""
    file = folder / CARD
    try:
        content = read_json(file, "build the model again")
    except MissingFileError:
        if not folder.is_dir():
            raise LapilliError(f"{folder}: no such folder; give that of a model") from None
        if (folder / "recipe.yaml").is_file():
            raise LapilliError(
                f"{folder}: the folder of a run; its model is in {folder / 'model'} when it is done"
            ) from None
        raise LapilliError(f"{folder}: no config.json there; give the folder of a LLaVA") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise LapilliError(f"{file}: format {_FORMAT} expected; build the model again, or use the lapilli it came from")
    return checked(Card, content, str(file), "not what lapilli writes: build the model again")


def _readme(card: Card) -> str:
    plain = named(card.connector).is_plain
    lines = [
        "# A LLaVA, written by lapilli",
        "",
        *(f"* {role}: {part.name} (SHA-256 of its weights: {part.sha256})" for role, part in card.parts.items()),
        f"* connector: {card.connector}",
        f"* chat template: {card.template}" + (", pictures first" if card.image_position == "first" else ""),
        *(f"* {note}" for note in card.notes),
        "",
        "`lapilli ask FOLDER PICTURE QUESTION` asks it." + (" So does plain transformers:" if plain else ""),
        *(["", "```python", *_EXAMPLE, "```"] if plain else []),
    ]
    return "\n".join(lines) + "\n"


_EXAMPLE = (
    "from transformers import pipeline",
    "",
    'content = [{"type": "image", "url": "picture.png"}, {"type": "text", "text": "What is this?"}]',
    'ask = pipeline("image-text-to-text", model="FOLDER")',
    'print(ask(text=[{"role": "user", "content": content}], max_new_tokens=32, return_full_text=False))',
)
