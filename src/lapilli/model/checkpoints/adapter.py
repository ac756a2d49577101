"""A LoRA adapter (arXiv 2106.09685) as its folder has it: what it adds to which weight, and what it puts in its place.

Whatever would make a merge wrong is refused here: other kinds of adapters, settings that change what is added, tensors
that are empty, no numbers, or of no known meaning.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Any

from lapilli.core.errors import LapilliError
from lapilli.model.hub import model_folder
from lapilli.model.parts import listed
from lapilli.model.stored import Source, is_finite, json_object, tensors_in

_CONFIG = "adapter_config.json"
NON_LORA = "non_lora_trainables.bin"
_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_UNDONE = "merge it with peft"
_GATHER = "it was saved from a sharded run without gathering: gather the parameters (ZeRO-3, FSDP), and save it again"

_BASE_UNTOUCHED = ("gaussian", "eva", "orthogonal")  # ways of peft to begin that leave the base's weights alone
_OF_TRAINING = frozenset(
    {
        "auto_mapping", "base_model_name_or_path", "bias", "corda_config", "ensure_weight_tying", "eva_config",
        "exclude_modules", "inference_mode", "layers_pattern", "layers_to_transform", "loftq_config", "lora_dropout",
        "lora_ga_config", "megatron_config", "megatron_core", "modules_to_save", "peft_version", "qalora_group_size",
        "revision", "runtime_config", "target_modules", "task_type",
    }
)  # fmt: skip
"""What says how or on which modules it was trained: the tensors show the outcome."""
_READ = frozenset(
    {"alpha_pattern", "init_lora_weights", "lora_alpha", "peft_type", "r", "rank_pattern", "trainable_token_indices"}
    | {"use_dora", "use_rslora"}
)

_PATTERNS = {"r": "rank_pattern", "lora_alpha": "alpha_pattern"}
_LARGEST = 1e9  # of a rank and of an alpha; NaN is below nothing

_PREFIX = re.compile(r"^base_model\.model\.")
_BASE_LAYER = re.compile(r"\.(token_adapter\.)?base_layer(?=\.(weight|bias)$)")
_LOW_RANK = re.compile(
    r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(\.default)?(?P<weight>\.weight)?"
)
_LENGTHS = re.compile(r"(?P<module>.+)\.lora_magnitude_vector(\.default)?(\.weight)?")
_ROWS = re.compile(r"(?P<module>.+)\.token_adapter\.trainable_tokens_delta(\.default)?")


@dataclass(frozen=True)
class Pair:
    """A weight gains scale * up @ down, with down (rank, in) and up (out, rank).

    Those of a convolution have its kernel behind them: down (rank, in, height, width) and up (out, rank, 1, 1).
    `lengths` (out,) are those that DoRA (arXiv 2402.09353) gives the rows of the sum; None where they stay.
    """

    down: Source
    up: Source
    scale: float
    lengths: Source | None = None

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether the product is of this shape."""
        return self.up.shape[0] == shape[0] and self.down.shape[1:] == shape[1:]


@dataclass(frozen=True)
class Adapter:
    """An adapter by the names of the tensors it changes, in the layout it was trained in.

    `below` are tensors of the base that were saved with it; `whole` were trained in full, and take the place of the
    base's; of `rows`, some of a matrix were: their numbers, and what they are now. `pairs` are added to what is there.
    """

    pairs: Mapping[str, Pair]
    below: Mapping[str, Source]
    whole: Mapping[str, Source]
    rows: Mapping[str, tuple[tuple[int, ...], Source]]

    @property
    def names(self) -> list[str]:
        """Every tensor that it says something of, each once."""
        return list(dict.fromkeys([*self.pairs, *self.below, *self.whole, *self.rows]))


def is_adapter(folder: Path) -> bool:
    """Whether a folder is an adapter's."""
    return (folder / _CONFIG).is_file()


def base_of(folder: Path) -> Path:
    """The folder of the model that an adapter was trained on, as it is named in the adapter's, fetched if need be.

    Raises LapilliError where none is named there, or it is not to be found.
    """
    config = json_object(folder / _CONFIG)
    name, revision = config.get("base_model_name_or_path"), config.get("revision")
    remedy = f"`lapilli model merge {folder} OUT --base BASE` takes it from where it is"
    if not isinstance(name, str) or not name:
        raise LapilliError(f"{folder}: its {_CONFIG} names no base; {remedy}")
    named = f"{name}@{revision}" if isinstance(revision, str) and revision and not Path(name).is_dir() else name
    try:
        return model_folder(named)
    except LapilliError as error:
        raise LapilliError(f"{folder}: an adapter whose base cannot be read: {error}; {remedy}") from error


def described(folder: Path) -> Path:
    """The folder itself, or where it is an adapter's that says nothing of its model, that of its base."""
    return base_of(folder) if is_adapter(folder) and not (folder / "config.json").is_file() else folder


def read_adapter(folder: Path) -> Adapter:
    """The adapter in a folder, PEFT's or that of LLaVA's own trainer; every tensor in it has found its place.

    Raises LapilliError for one of another kind than LoRA, for settings and tensors that are not known, and for tensors
    that are empty or hold no numbers.
    """
    if not is_adapter(folder):
        raise LapilliError(f"{folder}: no adapter_config.json there; give the folder of an adapter")
    config = json_object(folder / _CONFIG)
    _require_lora(folder, config)
    tensors = _tensors(folder)
    _require_numbers(folder, tensors)
    below = {name: source for name, source in tensors.items() if _BASE_LAYER.search(name)}
    low_rank = {name: source for name, source in tensors.items() if ".lora_" in name}
    rows = {name: source for name, source in tensors.items() if _ROWS.fullmatch(name)}
    whole = {
        name: source for name, source in tensors.items() if not any(name in one for one in (below, low_rank, rows))
    }
    adapter = Adapter(
        _pairs(folder, config, low_rank),
        {_BASE_LAYER.sub("", name): source for name, source in below.items()},
        whole,
        {name: (_indices(folder, config, name), source) for name, source in _of_modules(_ROWS, rows)},
    )
    _require_one_way(folder, adapter)
    return adapter


def _require_lora(folder: Path, config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise LapilliError(f"{folder}: an adapter of kind {kind!r}; only LORA is merged here: {_UNDONE}")
    started = config.get("init_lora_weights", True)
    if isinstance(started, str) and started not in _BASE_UNTOUCHED:
        raise LapilliError(f"{folder}: its init_lora_weights, {started!r}, changed the base before training; {_UNDONE}")
    for field, value in config.items():
        if value and field not in _OF_TRAINING | _READ:
            raise LapilliError(f"{folder}: its {field} is {value!r:.80}, which is not merged here: do it with peft")


def _tensors(folder: Path) -> dict[str, Source]:
    """The adapter's tensors and what was trained in full, without the prefix of peft's wrapper."""
    file = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if file is None:
        parts = sorted(one.name for one in folder.glob("adapter_model*-of-*"))
        several = f"it is in several files ({listed(parts)}), which peft does not read either; save it as one"
        raise LapilliError(f"{folder}: neither {' nor '.join(_FILES)}; {several if parts else 'fetch it again'}")
    tensors: dict[str, Source] = {}
    for one in (file, *([folder / NON_LORA] if (folder / NON_LORA).is_file() else [])):
        for name, source in tensors_in(one):
            bare = _PREFIX.sub("", name)
            if bare in tensors:
                raise LapilliError(f"{one}: {bare} is there twice; remove the one that does not belong to the adapter")
            tensors[bare] = source
    if not tensors:
        raise LapilliError(f"{file}: no tensors in it, so that nothing would change; save the adapter again")
    return tensors


def _require_numbers(folder: Path, tensors: Mapping[str, Source]) -> None:
    """Refuse empty tensors before any is read, and those that are no numbers."""
    empty = [name for name, source in tensors.items() if source.size == 0]
    if empty:
        raise LapilliError(f"{folder}: {listed(empty)} empty; {_GATHER}")
    broken = [name for name, source in tensors.items() if not is_finite(source.read())]
    if broken:
        raise LapilliError(f"{folder}: {listed(broken)} not finite (NaN or infinite); take a checkpoint before that")


def _pairs(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Source]) -> dict[str, Pair]:
    lengths = dict(_of_modules(_LENGTHS, tensors))
    sides, embeddings = _sides(folder, [name for name in tensors if not _LENGTHS.fullmatch(name)])
    dora = bool(config.get("use_dora"))
    if dora and embeddings:
        raise LapilliError(f"{folder}: DoRA of {listed(embeddings)}, an embedding, is not merged here; {_UNDONE}")
    pairs = {}
    for module, names in sides.items():
        pair = {side: tensors[name] for side, name in names.items()}
        pairs[f"{module}.weight"] = _pair(folder, config, module, _turned(pair) if module in embeddings else pair)
    odd = [name for name in {*pairs, *lengths} if (name in lengths) != (dora and name in pairs)]
    if odd:
        raise LapilliError(f"{folder}: use_dora is {dora}, which {listed(odd)} contradicts; give one adapter's files")
    misshapen = [name for name, source in lengths.items() if source.size != pairs[name].up.shape[0]]
    if misshapen:
        raise LapilliError(f"{folder}: lengths of {listed(misshapen)} of another size than its rows; fetch it again")
    return {name: replace(pair, lengths=lengths.get(name)) for name, pair in pairs.items()}


def _sides(folder: Path, names: Collection[str]) -> tuple[dict[str, dict[str, str]], set[str]]:
    """The names of A and B of every module, and the modules that are embeddings."""
    matches = {name: _LOW_RANK.fullmatch(name) for name in names}
    # An embedding's are parameters, not modules: peft saves them without a last word.
    strange = [
        name for name, match in matches.items() if not match or bool(match["embedding"]) == bool(match["weight"])
    ]
    if strange:
        raise LapilliError(f"{folder}: {listed(strange)} of a kind that cannot be merged here; {_UNDONE}")
    sides: dict[str, dict[str, str]] = {}
    for name, match in matches.items():
        module, side = match["module"], match["side"]  # type: ignore[index]
        if side in sides.setdefault(module, {}):
            raise LapilliError(f"{folder}: {name} is there twice; save one adapter alone")
        sides[module][side] = name
    halves = [module for module, pair in sides.items() if len(pair) < 2]
    if halves:
        raise LapilliError(f"{folder}: {listed(halves)} half there; fetch it again")
    return sides, {match["module"] for match in matches.values() if match and match["embedding"]}


def _turned(pair: Mapping[str, Source]) -> dict[str, Source]:
    """The two of an embedding, A (rank, vocab) and B (d_model, rank), as those of a matrix with a row for a token."""
    if any(len(source.shape) != 2 for source in pair.values()):
        return dict(pair)
    return {"A": _transposed(pair["B"]), "B": _transposed(pair["A"])}


def _transposed(source: Source) -> Source:
    return Source(source.shape[::-1], source.dtype, lambda: source.read().T)


def _pair(folder: Path, config: Mapping[str, Any], module: str, sides: Mapping[str, Source]) -> Pair:
    """Both sides with their scale: alpha / rank, or alpha / sqrt(rank) for rank-stabilised LoRA (arXiv 2312.03732)."""
    down, up = sides["A"], sides["B"]
    if len(down.shape) not in (2, 4) or len(up.shape) != len(down.shape):
        raise LapilliError(f"{folder}: {module}: A {down.shape} and B {up.shape} are no matrices; {_GATHER}")
    rank = down.shape[0]
    if up.shape[1:] != (rank, *[1] * (len(up.shape) - 2)):
        raise LapilliError(f"{folder}: {module}: A {down.shape} and B {up.shape} do not go together; fetch it again")
    configured = _setting(folder, config, "r", module, 8)
    if configured != rank:
        both = f"rank {configured} in adapter_config.json, {rank} in its tensors"
        raise LapilliError(f"{folder}: {module}: {both}; give the two files of one adapter")
    alpha = _setting(folder, config, "lora_alpha", module, 8)
    return Pair(down, up, alpha / (sqrt(rank) if config.get("use_rslora") else rank))


def _setting(folder: Path, config: Mapping[str, Any], field: str, module: str, default: float) -> float:
    """A number that is set for all modules, or for those that a pattern fits; the first such pattern counts."""
    value: Any = config.get(field, default)
    patterns = config.get(_PATTERNS[field]) or {}
    try:
        value = next((own for key, own in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), value)
    except (re.error, AttributeError) as error:
        raise LapilliError(f"{folder}: its {_PATTERNS[field]} cannot be read: {error}; fetch it again") from error
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
        raise LapilliError(f"{folder}: {field} of {module} is {value!r}, no number; mend adapter_config.json")
    return value


def _of_modules(pattern: re.Pattern[str], tensors: Mapping[str, Source]) -> Iterator[tuple[str, Source]]:
    """The tensors by the names of the weights that they belong to."""
    for name, source in tensors.items():
        match = pattern.fullmatch(name)
        if match:
            yield f"{match['module']}.weight", source


def _indices(folder: Path, config: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """The numbers of the rows that were trained, as adapter_config.json has them for this matrix."""
    indices = config.get("trainable_token_indices")
    if isinstance(indices, dict):
        module = name.removesuffix(".weight")
        indices = next((value for key, value in indices.items() if f".{module}".endswith(f".{key}")), None)
    if not isinstance(indices, list) or not indices or any(type(one) is not int or one < 0 for one in indices):
        raise LapilliError(f"{folder}: trainable_token_indices of {name}: {indices!r:.80}; mend adapter_config.json")
    return tuple(indices)


def _require_one_way(folder: Path, adapter: Adapter) -> None:
    """Refuse what says two things of one tensor, unless the one is added to the other."""
    twice = {*adapter.whole} & {*adapter.below} | {*adapter.rows} & {*adapter.whole, *adapter.pairs}
    if twice:
        raise LapilliError(f"{folder}: says two things of {listed(twice)}; save one adapter alone")
