"""What is tuned, as a recipe says it: how each part learns, at which rate, and which layers of the language model."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from lapilli.core.errors import LapilliError
from lapilli.core.fields import Range, require_ranges
from lapilli.core.read import checked, read_json
from lapilli.model.llm_modules import LlmModule
from lapilli.training.part_recipe import COUNT, RATE

Mode: TypeAlias = Literal["frozen", "full", "lora"]
Part: TypeAlias = Literal["vision", "projector", "llm"]

_MODE = "frozen, full, or lora: low-rank updates of its matrices; null: what the stage does."
_ITS_RATE = "Its highest rate; null: learning_rate."
_ITS_DECAY = "Of its matrices; null: weight_decay."
_LAYERS = (
    "The layers that learn, from 0: a range or several (2-17 or 0,3,5-7), a list, or the path of a JSON file "
    '{"layers": [2, 3]}; null: all.'
)
_RANGES = re.compile(r"\s*\d{1,99}(\s*-\s*\d{1,99})?\s*(,\s*\d{1,99}(\s*-\s*\d{1,99})?\s*)*")
_OF_RANGES = set("0123456789-, ")
_MOST_LAYERS = 10_000


@dataclass(frozen=True)
class PartTuning:
    """How the vision encoder or the connector is tuned."""

    mode: Annotated[Mode | None, _MODE] = None
    learning_rate: Annotated[float | None, _ITS_RATE, RATE] = None
    weight_decay: Annotated[float | None, _ITS_DECAY, Range(0)] = None

    def __post_init__(self) -> None:
        """Raises ValueError for a number out of its range."""
        require_ranges(self)


@dataclass(frozen=True)
class LlmTuning:
    """How the language model is tuned, and what of it: layers, the modules in them, embeddings and head.

    Without `layers` and `modules` all of it learns, as in LLaVA; with either, that alone.
    """

    mode: Annotated[Mode | None, _MODE] = None
    learning_rate: Annotated[float | None, _ITS_RATE, RATE] = None
    weight_decay: Annotated[float | None, _ITS_DECAY, Range(0)] = None
    muon_learning_rate: Annotated[
        float | None, "That of Muon, for the matrices of its layers in mode full; null: AdamW moves them too.", RATE
    ] = None
    layers: Annotated[str | tuple[int, ...] | None, _LAYERS, Range(0, _MOST_LAYERS)] = None
    modules: Annotated[
        tuple[LlmModule, ...] | None,
        "What learns in these layers: attention's matrices, gate and up of the MLP, its down, the norms; null: all.",
    ] = None
    embeddings: Annotated[
        bool | None, "Whether the embeddings learn; null: where mode is full and neither layers nor modules are chosen."
    ] = None
    head: Annotated[bool | None, "The same of the head; one that is tied to the embeddings is one with them."] = None

    def __post_init__(self) -> None:
        """Raises ValueError for a number out of its range, layers that are none, and what LoRA cannot do."""
        if isinstance(self.layers, str) and not set(self.layers) - _OF_RANGES:
            object.__setattr__(self, "layers", layer_numbers(self.layers))
        require_ranges(self)
        if isinstance(self.layers, tuple):
            object.__setattr__(self, "layers", _sorted(self.layers))
        if self.modules is not None and not self.modules:
            raise ValueError("modules: none; name some, or set mode to frozen")
        if self.mode == "lora":
            self._require_updatable()

    def _require_updatable(self) -> None:
        """Refuse what LoRA, whose updates are of the layers' matrices, cannot do."""
        for name in ("embeddings", "head"):
            if getattr(self, name):
                raise ValueError(f"{name}: true, but with mode lora the matrices of the layers learn; set false")
        if "norms" in (self.modules or ()):
            raise ValueError("modules: norms, but with mode lora the matrices of the layers learn; leave norms out")
        if self.muon_learning_rate:
            raise ValueError("muon_learning_rate: with mode lora AdamW moves the updates; set null")

    @property
    def is_whole(self) -> bool:
        """Whether neither layers nor modules are chosen."""
        return self.layers is None and self.modules is None


@dataclass(frozen=True)
class Lora:
    """The low-rank updates of the parts whose mode is lora: W + (alpha / rank) B A (arXiv 2106.09685)."""

    rank: Annotated[int, "Rows of A and columns of B.", COUNT] = 16
    alpha: Annotated[float | None, "The update is scaled by alpha / rank; null: twice the rank.", RATE] = None
    dropout: Annotated[float, "The share of a matrix' inputs that its update does not see.", Range(0, below=1)] = 0.0
    dora: Annotated[bool, "Whether a column's length learns apart from its direction (arXiv 2402.09353)."] = False
    bits: Annotated[
        Literal[4] | None,
        "Of the frozen matrices of a language model in mode lora, on a CUDA GPU (QLoRA, arXiv 2305.14314); null: all.",
    ] = None

    def __post_init__(self) -> None:
        """Raises ValueError for a number out of its range."""
        require_ranges(self)


def layer_numbers(text: str) -> tuple[int, ...]:
    """The layers that ranges name: 0,3,5-7 are 0, 3, 5, 6 and 7. Raises ValueError for what is no range."""
    numbers: list[int] = []
    if not _RANGES.fullmatch(text):
        raise ValueError(f"layers: {text}; it must be {Range(0, _MOST_LAYERS)}, such as 2-17 or 0,3,5-7")
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        start, end = int(first), int(last if dash else first)
        if end < start:
            raise ValueError(f"layers: {part.strip()}: a range goes from the lower number to the higher, such as 2-17")
        if end > _MOST_LAYERS:
            raise ValueError(f"layers: {end}; it must be {Range(0, _MOST_LAYERS)}")
        numbers += range(start, end + 1)
    return tuple(numbers)


def ranges_of(layers: tuple[int, ...] | str) -> str:
    """Layers as ranges: 0, 3, 5, 6 and 7 are 0,3,5-7. The name of a file stays what it is."""
    if isinstance(layers, str):
        return layers
    starts = [layer for layer in layers if layer - 1 not in layers]
    ends = [layer for layer in layers if layer + 1 not in layers]
    return ",".join(f"{start}" if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True))


def _sorted(layers: tuple[int, ...]) -> tuple[int, ...]:
    if not layers:
        raise ValueError("layers: none; name at least one, or set mode to frozen")
    return tuple(sorted(set(layers)))


@dataclass(frozen=True)
class _LayerFile:
    """What a file of layers must hold."""

    layers: tuple[int, ...]


def with_layers_read(llm: LlmTuning) -> LlmTuning:
    """The same, with the layers that its file lists, where it names a file. Raises LapilliError for what is no such."""
    if not isinstance(llm.layers, str):
        return llm
    remedy = 'write {"layers": [2, 3, 4]}, or give ranges such as 2-17'
    place = f"llm.layers: {llm.layers}"
    if not Path(llm.layers).is_file():
        raise LapilliError(f"{place}: neither ranges nor a file; {remedy}")
    layers = checked(_LayerFile, read_json(Path(llm.layers), remedy), place, remedy).layers
    try:
        return replace(llm, layers=layers)
    except ValueError as error:
        raise LapilliError(f"{place}: {error}") from error
