"""The places inside a LLaVA that can be watched or changed, under one set of names: those of `SITES`.

Plain PyTorch hooks: nothing of transformers is patched, and nothing stays behind.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from torch import Tensor

from lapilli.core.errors import UsageError
from lapilli.model.upstream import tensor_of

Watcher: TypeAlias = Callable[[Tensor], Tensor | None]
"""A function of the tensor at a site; the tensor that it returns, if any, takes its place."""


@dataclass(frozen=True)
class Site:
    """A kind of place; `{i}` stands for the number of a layer, from 0.

    axes      the axes of what passes it
    holds     what that is
    module    the path in transformers' model of the module whose output it is, or whose input, if `is_input`
    alias     TransformerLens' name for it, if it has one
    """

    name: str
    axes: tuple[str, ...]
    holds: str
    module: str
    is_input: bool = False
    alias: str | None = None

    @property
    def has_heads(self) -> bool:
        """Whether the module has all heads side by side, which a watcher gets apart."""
        return "head" in self.axes


_LLM, _BLOCK = "model.language_model.layers.{i}", "blocks.{i}"
_STREAM, _PATCHES = ("batch", "token", "d_model"), ("picture", "patch", "d_model")
_HEADS, _NEURONS = ("batch", "token", "head", "d_head"), ("batch", "token", "d_mlp")

SITES = (
    Site(
        "vision.layers.{i}", ("picture", "token", "d_vision"), "the output of layer i of the vision encoder",
        module="model.vision_tower.encoder.layers.{i}",
    ),
    Site(
        "projector", _PATCHES, "the vectors that take the places of `<image>`",
        module="model.multi_modal_projector",
    ),
    Site(
        "llm.layers.{i}.resid_pre", _STREAM, "the residual stream before layer i",
        module=_LLM, is_input=True, alias=f"{_BLOCK}.hook_resid_pre",
    ),
    Site(
        "llm.layers.{i}.attn_heads", _HEADS, "the output of each attention head, before `o_proj`",
        module=f"{_LLM}.self_attn.o_proj", is_input=True, alias=f"{_BLOCK}.attn.hook_z",
    ),
    Site(
        "llm.layers.{i}.attn_out", _STREAM, "what the attention adds to the stream",
        module=f"{_LLM}.self_attn.o_proj", alias=f"{_BLOCK}.hook_attn_out",
    ),
    Site(
        "llm.layers.{i}.mlp_neurons", _NEURONS, "the neurons of the MLP, before `down_proj`",
        module=f"{_LLM}.mlp.down_proj", is_input=True, alias=f"{_BLOCK}.mlp.hook_post",
    ),
    Site(
        "llm.layers.{i}.mlp_out", _STREAM, "what the MLP adds to the stream",
        module=f"{_LLM}.mlp", alias=f"{_BLOCK}.hook_mlp_out",
    ),
    Site(
        "llm.layers.{i}.resid_post", _STREAM, "the residual stream after layer i",
        module=_LLM, alias=f"{_BLOCK}.hook_resid_post",
    ),
    Site(
        "llm.final_norm", _STREAM, "the residual stream after the last layer, behind the last norm",
        module="model.language_model.norm",
    ),
    Site("logits", ("batch", "token", "vocab"), "the logits", module="lm_head"),
)  # fmt: skip
"""Every kind of place. Layers of the vision encoder after the one that is read do not run: they pass on their input."""


_CHANGED: WeakKeyDictionary[Any, list[tuple[str, bool]]] = WeakKeyDictionary()
"""Of every model the sites where blocks of `changing` replace what passes now, and whether by constants."""


@contextmanager
def watching(model: Any, watchers: Mapping[str, Watcher]) -> Iterator[None]:
    """Call each watcher with the tensor at its site of `model`, a LlavaForConditionalGeneration, within the block.

    The hooks are removed however the block ends. Blocks may be nested: the inner one sees what the outer one has
    changed. Raises UsageError for a name that is no site of this model.
    """
    with ExitStack() as hooks:
        for name, watcher in watchers.items():
            site, module = _site(model, name)
            called = _per_head(watcher, model.config.text_config.num_attention_heads) if site.has_heads else watcher
            handle = module.register_forward_pre_hook(_entering(called)) if site.is_input else None
            handle = handle or module.register_forward_hook(_leaving(called))
            hooks.callback(handle.remove)
        yield


@contextmanager
def changing(model: Any, watchers: Mapping[str, Watcher], by_constants: bool) -> Iterator[None]:
    """As `watching`, of watchers that replace what passes, which `changed_sites` and its like know within the block.

    `by_constants` says whether what they put there comes from elsewhere than from this call of the model.
    """
    changed, entered = _CHANGED.setdefault(model, []), [(name, by_constants) for name in watchers]
    with watching(model, watchers):
        changed += entered
        try:
            yield
        finally:
            for entry in entered:
                changed.remove(entry)


def changed_sites(model: Any) -> list[str]:
    """The sites of this model where blocks of `changing`, such as ablations, replace what passes now."""
    return [name for name, _ in _CHANGED.get(model, ())]


def heads_changed(model: Any) -> bool:
    """Whether the outputs of some heads are replaced now: they are no longer weighted sums of values."""
    return any((site := site_of(name)) is not None and site.has_heads for name in changed_sites(model))


def has_constants(model: Any) -> bool:
    """Whether something is replaced now by what comes from elsewhere: no path leads from there to the input."""
    return any(by_constants for _, by_constants in _CHANGED.get(model, ()))


def names_of(model: Any) -> dict[str, str]:
    """Every name of a site of this model, ours and TransformerLens', with ours for it."""
    sites: dict[str, str] = {}
    for site in SITES:
        for layer in _layers(model, site):
            name = site.name.format(i=layer)
            sites |= dict.fromkeys([name] if site.alias is None else [name, site.alias.format(i=layer)], name)
    return sites


def matching(model: Any, patterns: Iterable[str]) -> list[str]:
    """The sites of this model that these names mean, each once.

    They may be TransformerLens' names, and may have the wildcards of a shell: `llm.layers.*.resid_post`.
    Raises UsageError, with what there is and the nearest name, for one that means none.
    """
    names, sites = names_of(model), dict[str, None]()
    for pattern in patterns:
        chosen = [name for known, name in names.items() if fnmatchcase(known, pattern)]
        if not chosen:
            raise _unknown(model, pattern)
        sites |= dict.fromkeys(chosen)
    return list(sites)


def site_of(name: str) -> Site | None:
    """The kind of place that one of our names means; None where it means none."""
    return next((site for site in SITES if _layer_in(site, name)), None)


def _layer_in(site: Site, name: str) -> re.Match[str] | None:
    return re.fullmatch(re.escape(site.name).replace(r"\{i\}", r"(\d+)"), name)


def _site(model: Any, name: str) -> tuple[Site, Any]:
    """The site with this name, and its module. Raises UsageError where this model has none."""
    for site in SITES:
        if matched := _layer_in(site, name):
            try:
                return site, model.get_submodule(site.module.format(i=next(iter(matched.groups()), "")))
            except AttributeError as error:
                raise _unknown(model, name) from error
    raise _unknown(model, name)


def _layers(model: Any, site: Site) -> range:
    """The layers of this model that have such a site; a single number for one that is in no layer."""
    stack, in_layers, _ = site.module.partition(".{i}")
    count = len(model.get_submodule(stack)) if in_layers else 1
    try:
        model.get_submodule(site.module.format(i=0))
    except AttributeError:  # a language model whose layers have other parts
        count = 0
    return range(count)


def _unknown(model: Any, name: str) -> UsageError:
    """What to say of a name that is no site of this model."""
    near = difflib.get_close_matches(name, names_of(model), n=1)
    meant = f"the nearest is {near[0]}, and " if near else ""
    there = [(site.name, len(_layers(model, site))) for site in SITES]
    listed = ", ".join(kind.replace("{i}", f"{{0-{count - 1}}}") for kind, count in there if count)
    return UsageError(f"site {name!r}: unknown; {meant}this model has {listed}")


def _per_head(watcher: Watcher, heads: int) -> Watcher:
    """A watcher of heads side by side, (batch, token, head * d_head), that hands them on apart."""

    def watch(passing: Tensor) -> Tensor | None:
        changed = watcher(passing.unflatten(-1, (heads, -1)))
        return None if changed is None else changed.flatten(-2)

    return watch


def _entering(watcher: Watcher) -> Callable[..., Any]:
    def hook(module: Any, arguments: tuple[Any, ...]) -> Any:
        first = arguments[0] if arguments else None
        changed = watcher(tensor_of(first, f"the first argument of {type(module).__name__}"))
        return None if changed is None else (changed, *arguments[1:])

    return hook


def _leaving(watcher: Watcher) -> Callable[..., Any]:
    def hook(module: Any, arguments: Any, output: Any) -> Any:
        return watcher(tensor_of(output, f"the output of {type(module).__name__}"))

    return hook
