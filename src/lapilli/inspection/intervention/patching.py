"""Patching: layers and other parts of one model put into another, and what the hybrids answer.

The two models are a base and its tuned version, in either order: parts of the source go into the target. Where a tuned
layer put into the base brings part of the gain, it is sufficient for it; where the base's put into the tuned model
takes it away, it is necessary.

Hybrids of many patches share what they have in common. Each is a path through the layers, of the target's or the
source's at every depth; a state that several paths have is computed once. All windows of a model of L layers cost
(L + 2) / (3 L) of what running each hybrid costs, and the 256 hybrids of eight blocks 64 runs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from lapilli.core.errors import LapilliError
from lapilli.inspection.decoder import Decoder, decoder
from lapilli.inspection.intervention.mixed_layer import mixed
from lapilli.model.llava import Llava
from lapilli.model.llm_modules import LLM_MODULES, LlmModule
from lapilli.model.placement import placed
from lapilli.model.stored import dtype_name
from lapilli.model.upstream import attention_of, tensor_of

_EMBEDDINGS, _NORM = "model.language_model.embed_tokens", "model.language_model.norm"
_VISION, _CONNECTOR, _HEAD = "model.vision_tower", "model.multi_modal_projector", "lm_head"

_SETTINGS = (
    "num_attention_heads", "num_key_value_heads", "hidden_act", "rms_norm_eps", "rope_parameters", "rope_theta",
    "rope_scaling", "sliding_window", "layer_types", "use_sliding_window",
)  # fmt: skip
"""What a layer does beside its weights: `patched` calls the source's layers as the target's are called."""


Positions: TypeAlias = Literal["all", "image", "text"]
"""Where layers are exchanged: everywhere, at the image tokens, or at all tokens but these."""


@dataclass(frozen=True)
class Patch:
    """Which parts of a hybrid are the source's; the others are the target's.

    layers      (layer,)
    modules     the kinds of modules of these layers, in the order of LLM_MODULES
    positions   the positions at which they are; every token's keys and values are of the model that has its position
    embeddings  the vectors of the text's tokens
    connector   the vectors that take the places of `<image>`, with the vision encoder that they were made of
    norm, head  the last norm, and what makes the logits
    """

    layers: tuple[bool, ...]
    embeddings: bool = False
    connector: bool = False
    norm: bool = False
    head: bool = False
    modules: tuple[LlmModule, ...] = LLM_MODULES
    positions: Positions = "all"

    @property
    def choices(self) -> tuple["_Choice", ...]:
        """What of every layer is the source's."""
        of_source = (self.modules, self.positions)
        return tuple(of_source if exchanged else _NOTHING for exchanged in self.layers)


_Choice: TypeAlias = tuple[tuple[LlmModule, ...], Positions]
_NOTHING: _Choice = ((), "all")
_WHOLE: _Choice = (LLM_MODULES, "all")


def nothing(depth: int) -> Patch:
    """The target itself."""
    return Patch((False,) * depth)


def everything(depth: int) -> Patch:
    """The source itself."""
    return Patch((True,) * depth, embeddings=True, connector=True, norm=True, head=True)


def window(depth: int, start: int, stop: int) -> Patch:
    """The layers from `start` to before `stop`. Raises ValueError unless 0 <= start < stop <= depth."""
    if not 0 <= start < stop <= depth:
        raise ValueError(f"layers {start} to before {stop} of {depth}")
    return Patch(tuple(start <= layer < stop for layer in range(depth)))


def windows(depth: int, widths: Sequence[int] | None = None) -> list[Patch]:
    """Every window of adjacent layers, of these widths or of all: single ones, cumulative ones from both ends too."""
    return [
        window(depth, start, start + width)
        for width in (range(1, depth + 1) if widths is None else widths)
        for start in range(depth - width + 1)
    ]


def block_sets(depth: int, blocks: int) -> list[Patch]:
    """Every set of `blocks` blocks of adjacent layers, as even as can be, (2 ** blocks,).

    Bit i of a set's number says whether block i, from the input on, is in it: the order that `shapley_shares` takes.
    """
    of_layer = [layer * blocks // depth for layer in range(depth)]
    return [Patch(tuple(bool(number >> block & 1) for block in of_layer)) for number in range(2**blocks)]


@dataclass(frozen=True, eq=False)
class _Path:
    """A model's own run: its layers, what it called each with, and the states before them and behind the last."""

    layers: Any
    keywords: Sequence[Mapping[str, Any]]
    states: Sequence[Tensor]

    def step(self, layer: int, state: Tensor) -> Tensor:
        """The state behind a layer, called as in the model's own run."""
        return tensor_of(self.layers[layer](state, **self.keywords[layer]), "what a layer puts out")


@contextmanager
def patched(target: Llava, source: Llava, patch: Patch) -> Iterator[None]:
    """Within it the target is the hybrid, by the source's modules in the place of its own; afterwards it is itself.

    For what needs a whole model, such as generation. Raises LapilliError as `hybrids` does, and ValueError for a patch
    at some positions: which they are depends on what is read.
    """
    _require_pair(target, source, [patch])
    if patch.positions != "all":
        raise ValueError(f"a patch at {patch.positions} positions is no whole model")
    switches = {_EMBEDDINGS: patch.embeddings, _NORM: patch.norm, _HEAD: patch.head}
    switches |= {_VISION: patch.connector, _CONNECTOR: patch.connector}
    layers = {f"model.language_model.layers.{layer}": choice for layer, choice in enumerate(patch.choices)}
    switches |= {name: choice == _WHOLE for name, choice in layers.items()}
    chosen = [name for name, of_source in switches.items() if of_source]
    own = {name: target.model.get_submodule(name) for name in chosen}
    with ExitStack() as parts:
        for name, (kinds, _) in layers.items():
            if name not in chosen:
                parts.enter_context(mixed(target.model.get_submodule(name), source.model.get_submodule(name), kinds))
        try:
            for name in chosen:
                target.model.set_submodule(name, source.model.get_submodule(name))
            yield
        finally:
            for name, module in own.items():
                target.model.set_submodule(name, module)


@torch.inference_mode()
def hybrids(
    target: Llava,
    source: Llava,
    batch: Mapping[str, Tensor],
    at: tuple[Tensor, Tensor],
    patches: Sequence[Patch],
    *,
    read: Callable[[Tensor], Tensor],
) -> list[Tensor]:
    """What `read` makes of the logits of every hybrid, in the order of the patches.

    `batch` are input_ids and attention_mask (batch, token) and pixel_values, if any. `at` are the sequence and the
    token of every position whose logits are read, (position,) each; `read` gets them as (position, vocab) float32.
    Nothing is changed in the models. A hybrid's numbers are those of `patched`, to the bit, as its layers are called as
    their own model calls them.

    Raises LapilliError for models that are not built like LLaMA and for two whose parts differ in shape, format, device
    or in what a layer does beside its weights, and ValueError for a patch of another depth.
    """
    _require_pair(target, source, patches)
    roots = _Roots(target, source, batch)
    results: dict[int, Tensor] = {}
    for root in sorted({(patch.embeddings, patch.connector) for patch in patches}):
        numbers = [n for n, patch in enumerate(patches) if (patch.embeddings, patch.connector) == root]
        walk = _Walk(_Pair(roots, root), [patches[number].choices for number in numbers])
        for which, state in walk.ends():
            for index in which:
                results[numbers[index]] = read(_logits((target, source), patches[numbers[index]], state, at))
    return [results[number] for number in range(len(patches))]


@torch.inference_mode()
def local_changes(
    base: Llava, tuned: Llava, batch: Mapping[str, Tensor], at: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """How much each layer itself has changed: both models' layer on the same state, float32, (layer, position) each.

    |tuned layer(h) - base layer(h)| / |base layer(h) - h|, with h the state before the layer in the base, and then in
    the tuned model. A state's change over depth holds what all layers before have changed; this does not. `batch` and
    `at` as for `hybrids`; raises LapilliError as it does.
    """
    _require_pair(base, tuned, [])
    roots = _Roots(base, tuned, batch)
    first, second = (_changes(_Pair(roots, (own, own)), own, at) for own in (False, True))
    return first, second


def _changes(pair: "_Pair", own: bool, at: tuple[Tensor, Tensor]) -> Tensor:
    """The change of every layer on the states of the model's own run, (layer, position)."""
    states = pair.path(own).states
    rows: list[Tensor] = []
    for layer, state in enumerate(states[:-1]):
        same, other = states[layer + 1][at].float(), pair.path(not own).step(layer, state)[at].float()
        added = (other if own else same) - state[at].float()
        rows.append((other - same).norm(dim=-1) / added.norm(dim=-1))
    return torch.stack(rows)


def _logits(models: tuple[Llava, Llava], patch: Patch, state: Tensor, at: tuple[Tensor, Tensor]) -> Tensor:
    norm = decoder(models[patch.norm].model).norm
    logits: Tensor = decoder(models[patch.head].model).head(norm(state)[at])
    return logits.float()


class _Roots:
    """The runs of both models over the vectors that a hybrid begins with, each made when it is wanted."""

    def __init__(self, target: Llava, source: Llava, batch: Mapping[str, Tensor]) -> None:
        self._models = target, source
        self._batch = batch
        self._own: dict[bool, tuple[dict[str, Any], _Path]] = {}
        self._paths: dict[tuple[bool, bool, bool], _Path] = {}
        self.at_images = batch["input_ids"] == target.processor.image_token_id

    def path(self, embeddings: bool, connector: bool, is_source: bool) -> _Path:
        """The target's or the source's run over the text's vectors of one model and the pictures' of one."""
        place = (embeddings, connector, is_source)
        if place not in self._paths:
            arguments, own = self._run(embeddings)
            language = self._models[is_source].model.model.language_model
            if embeddings != connector:
                arguments = arguments | {"inputs_embeds": self._both(arguments["inputs_embeds"], connector)}
            known = is_source == embeddings == connector
            self._paths[place] = own if known else _path(language, partial(language, **arguments))
        return self._paths[place]

    def _both(self, text: Tensor, connector: bool) -> Tensor:
        """The vectors of one model's text and one's pictures."""
        pictures: Tensor = self._run(connector)[0]["inputs_embeds"]
        return torch.where(self.at_images[..., None].to(pictures.device), pictures, text)

    def _run(self, is_source: bool) -> tuple[dict[str, Any], _Path]:
        """What a model calls its language model with, and that's run."""
        if is_source not in self._own:
            model: Any = self._models[is_source].model
            arguments: dict[str, Any] = {}
            hook = model.model.language_model.register_forward_pre_hook(
                lambda module, positional, keywords: arguments.update(keywords), with_kwargs=True
            )
            with ExitStack() as hooks:
                hooks.callback(hook.remove)
                inputs = placed(dict(self._batch), model)
                path = _path(model.model.language_model, partial(model.model, **inputs, use_cache=False))
            self._own[is_source] = arguments, path
        return self._own[is_source]


def _path(language: Any, run: Callable[[], object]) -> _Path:
    """Note what passes the layers of a language model while it is run."""
    states: list[Tensor] = []
    calls: list[dict[str, Any]] = []

    def enter(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        states.append(arguments[0])
        calls.append(keywords)

    def leave(module: Any, arguments: Any, output: Any) -> None:
        states.append(tensor_of(output, "what a layer puts out"))

    with ExitStack() as hooks:
        for layer in language.layers:
            hooks.callback(layer.register_forward_pre_hook(enter, with_kwargs=True).remove)
        hooks.callback(language.layers[-1].register_forward_hook(leave).remove)
        run()
    return _Path(language.layers, calls, states)


@dataclass(frozen=True, eq=False)
class _Pair:
    """The runs of both models over the same vectors: the text's and the pictures', of the source or of the target."""

    roots: _Roots
    root: tuple[bool, bool]

    def path(self, is_source: bool) -> _Path:
        """A model's own run."""
        return self.roots.path(*self.root, is_source)

    def step(self, layer: int, state: Tensor, choice: _Choice) -> Tensor:
        """The state behind a layer of which `choice` is the source's."""
        if choice in (_NOTHING, _WHOLE):
            return self.path(choice == _WHOLE).step(layer, state)
        (kinds, positions), at_images = choice, self.roots.at_images
        chosen = {"all": None, "image": at_images, "text": ~at_images}[positions]
        with mixed(self.path(False).layers[layer], self.path(True).layers[layer], kinds, chosen):
            return self.path(False).step(layer, state)

    def known(self, prefix: tuple[_Choice, ...]) -> Tensor | None:
        """The state behind the first layers, where a model's own run has it."""
        (choice, *others) = {*prefix}
        if others or choice not in (_NOTHING, _WHOLE):
            return None
        return self.path(choice == _WHOLE).states[len(prefix)]


class _Walk:
    """A walk through the tree of hybrids, depth first: one state is kept for every depth, beside the models' own."""

    def __init__(self, pair: _Pair, choices: Sequence[tuple[_Choice, ...]]) -> None:
        self._pair = pair
        self._choices = choices

    def ends(self) -> Iterator[tuple[list[int], Tensor]]:
        """The state behind the last layer of every hybrid, with the numbers of the choices that lead there."""
        first = self._pair.path(self._choices[0][0] == _WHOLE).states[0]  # the same in both runs
        yield from self._below((), first, list(range(len(self._choices))))

    def _below(
        self, prefix: tuple[_Choice, ...], state: Tensor, numbers: list[int]
    ) -> Iterator[tuple[list[int], Tensor]]:
        depth = len(prefix)
        if depth == len(self._choices[0]):
            yield numbers, state
            return
        for choice in dict.fromkeys(self._choices[number][depth] for number in numbers):
            chosen = [number for number in numbers if self._choices[number][depth] == choice]
            path = (*prefix, choice)
            behind = self._pair.known(path)
            yield from self._below(path, self._pair.step(depth, state, choice) if behind is None else behind, chosen)


def _require_pair(target: Llava, source: Llava, patches: Sequence[Patch]) -> None:
    """Raise LapilliError unless the parts that are exchanged fit, and ValueError for a patch of another depth."""
    first, second = (decoder(model.model) for model in (target, source))
    for part in ["blocks", "norm", *["head"] * any(patch.head for patch in patches)]:
        _require_same(part, _shapes(first, part), _shapes(second, part))
    _require_same("config", *({name: getattr(one.config, name, None) for name in _SETTINGS} for one in (first, second)))
    _require_same("attention", *({"implementation": attention_of(one)} for one in (first, second)))
    for patch in patches:
        if len(patch.layers) != first.depth:
            raise ValueError(f"a patch of {len(patch.layers)} layers for models of {first.depth}")


def _shapes(model: Decoder, part: str) -> dict[str, str]:
    return {
        name: f"{tuple(weight.shape)} in {dtype_name(weight)} on {weight.device}"
        for name, weight in getattr(model, part).named_parameters()
    }


def _require_same(part: str, first: Mapping[str, object], second: Mapping[str, object]) -> None:
    for name in sorted(first.keys() | second.keys()):
        if first.get(name) != second.get(name):
            values = f"{first.get(name, 'nothing')} of one model, {second.get(name, 'nothing')} of the other"
            raise LapilliError(f"{part}.{name}: {values}; patch a base and its tuned version, loaded alike")
