"""The parts a LLaVA is joined from: vision encoders and language models in folders as Hugging Face writes them."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
)

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.terminal import one_line
from lapilli.model.connector import encoder_grid
from lapilli.model.gguf_named import gguf_named
from lapilli.model.hub import hub_name, model_folder, pinned
from lapilli.model.reading import LOCAL, explained, quiet
from lapilli.model.stored import is_finite, model_config, stored_tensors, tensors_in
from lapilli.model.tokenizer import read_tokenizer

ENCODERS = ("clip_vision_model", "siglip_vision_model")
"""The kinds of vision encoders whose tensors have names in every layout of a LLaVA."""

SHIPPED = ("pebble-vision", "pebble-lm")
"""The small parts that come with the package."""

_OURS = f"or a shipped part ({', '.join(SHIPPED)})"
_PICTURE_FILES = ("preprocessor_config.json", "processor_config.json")
_KEYS_SHOWN = 8
_SPARE = 2  # times as many parameters as are stored: tied ones, and a few that are missing and will be listed


@dataclass(frozen=True)
class Origin:
    """Where a part came from: the name of its folder or, on the hub, its id and commit; the SHA-256 of its weights."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Vision:
    """A vision encoder and what it needs to be fed: `tokens_before` (0 or 1) precede the patches."""

    tower: Any  # a PreTrainedModel, as all models here: their own types say too little
    image_processor: Any
    image_size: int  # pixels, both ways
    tokens_before: int  # a class token, or none


@dataclass(frozen=True)
class Language:
    """A causal language model and its tokenizer; `notes` say for the card what was done to it as it was read."""

    model: Any
    tokenizer: Any
    notes: tuple[str, ...] = ()


def part_path(name: str) -> Path:
    """The folder of a part: one of the shipped ones by its name, or that of any other, as `model_folder` has it.

    Raises LapilliError when there is no such folder.
    """
    shipped = Path(__file__).parent / "shipped" / name
    path = shipped if name in SHIPPED else model_folder(pinned_part(name))
    if not (path / "config.json").is_file():
        raise LapilliError(f"{name}: no folder with a config.json; give a model's folder, {_OURS}")
    return path


def language_path(name: str) -> Path:
    """The folder of a language model, as `part_path` has it, or the GGUF file that is meant by `gguf_named`."""
    return gguf_named(name) or part_path(name)


def pinned_part(name: str) -> str:
    """The name of a part, shipped or other, with the commit that it has on the hub; nothing is fetched.

    Raises UsageError when there is no such folder, and LapilliError as `pinned`.
    """
    try:
        return name if name in SHIPPED else str(pinned(name))
    except UsageError as error:
        raise UsageError(f"{error}, {_OURS}") from error


def origin(path: Path) -> Origin:
    """The name and the checksum of the weights in a part's folder, or of the one file that it is."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else weight_files(path):
        with file.open("rb") as opened:
            while block := opened.read(1 << 22):
                digest.update(block)
    return Origin(name_of(path), digest.hexdigest())


def name_of(path: Path) -> str:
    """What a model's folder is called where nobody has to find it: its name or, of a hub's snapshot, id and commit."""
    return hub_name(path) or path.resolve().name


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a model's folder, sorted by name.

    Raises LapilliError when there are none: no other format is read, because unpickling one runs code.
    """
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise LapilliError(
            f"{path}: no *.safetensors; only that format is loaded: of a LLaVA, `lapilli model convert` makes it; save "
            "any other model with safetensors first"
        )
    return files


def read_vision(path: Path, feature_layer: int = -2) -> Vision:
    """The vision encoder in `path`: a vision model of its own, or the vision half of one such as CLIPModel.

    A blank image is run through it once, to see how many tokens come before those of the patches. Raises LapilliError
    for missing or superfluous weights, and for an encoder whose tokens are not one per patch, after at most one other.
    """
    model_config(path)
    with explained(path), quiet():
        config = AutoConfig.from_pretrained(path, **LOCAL)
    whole = hasattr(config, "vision_config")
    config = config.vision_config if whole else config
    if config.model_type not in ENCODERS:
        raise LapilliError(f"{path}: an encoder of kind {config.model_type}; a LLaVA takes {' or '.join(ENCODERS)}")
    for field in ("image_size", "patch_size"):
        _require_square(config, field, path)
    rows, columns = encoder_grid(config)
    _require_one_of(path, _PICTURE_FILES)
    tower = read_model(AutoModel, path, config=config, only="vision_model." if whole else "")
    with explained(path), quiet():
        image_processor = AutoImageProcessor.from_pretrained(path, backend="pil", **LOCAL)
    with torch.inference_mode():
        blank = torch.zeros(1, config.num_channels, config.image_size, config.image_size, dtype=tower.dtype)
        states = tower(blank, output_hidden_states=True).hidden_states
    _require_layer(feature_layer, len(states), path)
    before = states[feature_layer].shape[1] - rows * columns
    if before not in (0, 1):
        raise LapilliError(
            f"{path}: {rows * columns + before} tokens for {rows} x {columns} patches; a LLaVA takes an encoder with "
            "one token a patch, after at most one class token"
        )
    return Vision(tower, image_processor, config.image_size, before)


def read_language(path: Path) -> Language:
    """The causal language model in `path`, with its tokenizer. Raises LapilliError as `read_model` does."""
    model_config(path)
    model = read_model(AutoModelForCausalLM, path)  # first: it knows what is no language model at all
    return Language(model, read_tokenizer(path))


def read_model(loader: Any, path: Path, only: str = "", **settings: Any) -> Any:
    """The model that `loader.from_pretrained` makes of the folder, in eval mode, every weight of it read from there.

    `only` is the prefix of the weights that are wanted where the folder holds more. Raises LapilliError naming the
    weights that are missing, superfluous, of another shape, NaN or infinite: transformers would go on.
    """
    weight_files(path)
    _require_all_there(loader, path, settings.get("config"))
    with explained(path), quiet():
        model, report = loader.from_pretrained(
            path,
            use_safetensors=True,
            **LOCAL,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they come back in the report, to be listed with the others
            **settings,
        )
    superfluous = [key for key in report["unexpected_keys"] if key.startswith(only)]
    mismatched = [key[0] if isinstance(key, tuple) else key for key in report["mismatched_keys"]]
    faults = {"missing": report["missing_keys"], "superfluous": superfluous, "of another shape": mismatched}
    complaints = [f"{listed(keys)} {what}" for what, keys in faults.items() if keys]
    if complaints:
        raise LapilliError(
            f"{path}: the weights do not fit {type(model).__name__}: {'; '.join(complaints)}; fetch it again"
        )
    _require_numbers(model, path)
    return model.eval()


def _require_numbers(model: Any, path: Path) -> None:
    """Refuse weights that are NaN or infinite: what is computed with them is nonsense. Each is passed over once."""
    if all(is_finite(weight) for weight in model.parameters()):
        return
    for file in weight_files(path):
        broken = [name for name, source in tensors_in(file) if not is_finite(source.read())]
        if broken:
            raise LapilliError(f"{file}: {listed(broken)} not finite (NaN or infinite); fetch it again")
    name = next(name for name, weight in model.named_parameters() if not is_finite(weight))
    raise LapilliError(f"{path}: {name} is not finite in {model.dtype}, in which it is read; choose another format")


def _require_all_there(loader: Any, path: Path, config: Any) -> None:
    """Refuse a configuration of far more than the files hold, before memory is taken for it."""
    stored = sum(source.size for source in stored_tensors(path).values())
    with explained(path), quiet(), torch.device("meta"):
        if config is None:
            config = _class_of(loader).from_pretrained(path, **LOCAL)
        model = loader.from_config(config) if hasattr(loader, "from_config") else loader(config)
    described = sum(parameter.numel() for parameter in model.parameters())
    if described > _SPARE * max(stored, 1):
        counts = f"config.json describes {described:,} parameters, but the weights are {stored:,}"
        raise LapilliError(f"{path}: {counts}; fetch the folder again")


def _class_of(loader: Any) -> Any:
    """The class that reads the configuration of what `loader` loads."""
    return getattr(loader, "config_class", None) or AutoConfig


def listed(keys: Collection[str]) -> str:
    """Names for a message: the first of them, and how many more there are."""
    shown = sorted(keys)[:_KEYS_SHOWN]
    more = len(keys) - len(shown)
    return ", ".join(map(one_line, shown)) + (f" and {more} more" if more else "")


def _require_square(config: Any, field: str, path: Path) -> None:
    value = getattr(config, field, None)
    if not isinstance(value, int):
        raise LapilliError(f"{path}: {field} is {value!r}; an encoder of square images and patches is needed")


def _require_one_of(path: Path, names: Sequence[str]) -> None:
    if not any((path / name).is_file() for name in names):
        raise LapilliError(f"{path}: no {' or '.join(names)}; copy it from where the model came from")


def _require_layer(layer: int, states: int, path: Path) -> None:
    if not -states <= layer < states:
        raise LapilliError(f"{path}: feature layer {layer}, but there are {states}: choose -{states} to {states - 1}")
